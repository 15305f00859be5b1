"""A step on a batch of windows is that of the same windows several times, with the mean loss."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import make, training_features
from tfrec_attn.optimizers import Adagrad


def after_steps(name, loss, batch, start):
    model = make(name)
    model.set_weights(start)
    model.compile(Adagrad(0.1), loss, l2=0.05, reduction="mean")
    for _ in range(2):
        model.train_step(batch)
    return [variable.numpy() for variable in model.trainable_variables]


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("attrec", "hinge"),
        ("fpmc", "bpr"),
        ("fmc", "softmax"),
        ("fpmc", "softmax"),
        ("caser", "softmax"),
    ],
)
def test_l2_does_not_depend_on_the_size_of_the_batch(name, loss):
    batch = training_features(name, 1, 1, loss)
    many = {key: tf.repeat(value, 30, axis=0) for key, value in batch.items()}
    start = make(name).get_weights()
    found = [after_steps(name, loss, each, start) for each in (batch, many)]
    for one, more in zip(*found, strict=True):
        np.testing.assert_allclose(more, one, rtol=1e-4, atol=1e-5)
