"""Moving averages, compared with those of the weights after each step, and smoothed vectors."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn import models
from tfrec_attn.config import load
from tfrec_attn.data.batches import HeldOut, NextItems, Windows
from tfrec_attn.data.sequences.transitions import count_transitions
from tfrec_attn.errors import ConfigError
from tfrec_attn.keras_versions import IS_KERAS_3, keras
from tfrec_attn.keras_versions.variables import averages_of
from tfrec_attn.layers import EmbeddingSmoothing
from tfrec_attn.optimizers import make_optimizer
from tfrec_attn.training.checkpoints import Checkpoints
from tfrec_attn.training.progress import Progress
from tfrec_attn.training.validated_weights import ValidatedWeights, validated

USERS, ITEMS, DECAY = 20, 12, 0.8


class Steps(tf.keras.callbacks.Callback):
    """Keeps the weights after each step, and in the validation."""

    def __init__(self):
        super().__init__()
        self.steps, self.validated = [], []

    def _values(self):
        return [weight.numpy() for weight in self.model.trainable_variables]

    def on_train_begin(self, logs=None):
        self.steps.append(self._values())

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self._values())

    def on_test_batch_end(self, batch, logs=None):
        self.validated = self._values()


@pytest.mark.parametrize("name", ["adagrad", "lazy_adam"])
def test_the_average_of_the_steps(name, make_leave_one_out):
    random = np.random.default_rng(3)
    split = make_leave_one_out([random.permutation(ITEMS)[:7] + 1 for _ in range(USERS)], ITEMS)
    model = models.AttRec(USERS, ITEMS, 3, dim=4, stddev=1.0, max_norm=1.0)
    settings = [f"train.ema={DECAY}", f"train.optimizer={name}", "train.learning_rate=0.5"]
    model.compile(make_optimizer(load(None, settings), steps_per_epoch=3), "hinge")
    windows = Windows(split, max_length=3, targets=1, negatives=2, batch_size=16, seed=1)
    steps = Steps()
    model.fit(
        windows.dataset(),
        epochs=1,
        steps_per_epoch=3,
        validation_data=HeldOut(split, "valid", max_length=3, batch_size=20).dataset(),
        callbacks=[ValidatedWeights(), steps],
        verbose=0,
    )
    last = [weight.numpy() for weight in model.trainable_variables]
    # The first average is the weights before the first step, and in Keras 3 those after it.
    expected, *rest = steps.steps[IS_KERAS_3:]
    for values in rest:
        expected = [
            DECAY * one + (1 - DECAY) * other for one, other in zip(expected, values, strict=True)
        ]
    tables = {id(table) for table in model.tables("items") + model.tables("users")}
    with validated(model):
        found = [weight.numpy() for weight in model.trainable_variables]
    for weight, before, one, other in zip(
        model.trainable_variables, last, found, expected, strict=True
    ):
        np.testing.assert_array_equal(weight.numpy(), before)
        if id(weight) in tables:
            # The steps were in the ball, and their average was taken before the projection.
            assert np.linalg.norm(one, axis=1).max() <= 1 + 1e-6
        else:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
            assert np.abs(one - before).max() > 1e-3
    for one, other in zip(steps.validated, found, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(steps.steps[-1], last, strict=True):
        np.testing.assert_array_equal(one, other)


def test_averages_start_at_the_weights():
    # Not at 0, where an overflow would leave those of step 1, and a warm start those of new rows.
    model = models.AttRec(USERS, ITEMS, 3, dim=4)
    optimizer = make_optimizer(load(None, [f"train.ema={DECAY}"]), steps_per_epoch=3)
    keras.build(optimizer, model.trainable_variables)
    for weight, average in zip(model.trainable_variables, averages_of(optimizer), strict=True):
        np.testing.assert_array_equal(average, weight)


@pytest.mark.parametrize("ema", [None, DECAY])
def test_smoothed_item_vectors_are_validated_and_kept(ema, make_leave_one_out, tmp_path):
    random = np.random.default_rng(3)
    split = make_leave_one_out([random.permutation(ITEMS)[:7] + 1 for _ in range(USERS)], ITEMS)
    smoothing = EmbeddingSmoothing(count_transitions(split, 1), 0.5)
    model = models.SASRec(USERS, ITEMS, 3, dim=4, stddev=1.0)
    settings = ["train.optimizer=adam"] + ([f"train.ema={ema}"] if ema else [])
    model.compile(
        make_optimizer(load(None, settings), steps_per_epoch=2),
        "softmax",
        distillation=smoothing,
    )
    batches = NextItems(split, max_length=3, batch_size=10)
    steps = Steps()
    model.fit(
        batches.dataset(),
        epochs=1,
        steps_per_epoch=2,
        validation_data=HeldOut(split, "valid", max_length=3, batch_size=20).dataset(),
        callbacks=[ValidatedWeights(), steps],
        verbose=0,
    )
    last = model.items.embeddings.numpy()
    place = [one.shape for one in model.trainable_variables].index(last.shape)
    rows = averages_of(model.optimizer)[place] if ema else last
    expected = smoothing(tf.convert_to_tensor(rows))
    np.testing.assert_array_equal(steps.validated[place], expected)
    assert np.abs(expected - last).max() > 0.1
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(model, Progress(), 2, is_best=True)
    np.testing.assert_array_equal(model.items.embeddings, last)
    checkpoints.restore(model)
    np.testing.assert_array_equal(model.items.embeddings, last)
    checkpoints.finish(model)
    np.testing.assert_array_equal(model.items.embeddings, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.ema=1"], "train.ema must be greater than 0 and less than 1, but is 1.0."),
        (
            ["train.optimizer_options={use_ema: true}"],
            "train.optimizer_options must not have use_ema; set train.ema.",
        ),
    ],
)
def test_invalid_options(arguments, message):
    with pytest.raises(ConfigError) as raised:
        load(None, arguments)
    assert str(raised.value) == message
