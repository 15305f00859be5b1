"""Checkpoints of a training, and what remains of them at its end."""

import numpy as np

from tfrec_attn import models
from tfrec_attn.keras_versions import keras
from tfrec_attn.training.checkpoints import Checkpoints
from tfrec_attn.training.progress import Progress


def test_the_best_weights_come_back_with_their_optimizer(tmp_path):
    # A prior writes both again, and a warm start continues them.
    model, checkpoints = models.AttRec(3, 4, 2, dim=2), Checkpoints(tmp_path)
    model.compile("sgd")
    keras.build(model.optimizer, model.trainable_variables)
    table, iterations = model.trainable_variables[0], model.optimizer.iterations
    for steps in (5, 9):
        table.assign(np.full(table.shape, steps))
        iterations.assign(steps)
        checkpoints.save(model, Progress(), steps, is_best=steps == 5)
    checkpoints.finish(model)
    np.testing.assert_array_equal(table, np.full(table.shape, 5))
    assert int(iterations.numpy()) == 5
