"""The weights that a run validates and keeps, which can differ from the trained weights."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfrec_attn.keras_versions.variables import averages_of, variable_of


class ValidatedWeights(tf.keras.callbacks.Callback):
    """Validates a model with moving averages (`train.ema`) and smoothed item vectors."""

    def __init__(self):
        super().__init__()
        self._inside = contextlib.ExitStack()

    def on_test_begin(self, logs=None):
        self._inside.enter_context(validated(self.model))

    def on_test_end(self, logs=None):
        self._inside.close()


def keeps_other_weights(model: Any) -> bool:
    """Returns whether the weights that a run keeps differ from the trained weights."""
    return bool(averages_of(model.optimizer)) or model.smoothing() is not None


@contextlib.contextmanager
def validated(model: Any) -> Iterator[None]:
    """Inside the context, a model has the weights that a run keeps.

    With `train.ema`, these are the moving averages of the weights, with the constraints of the
    tables. With smoothing, the item vectors are smoothed as in training. Otherwise, nothing
    changes.

    Args:
        model: A model whose optimizer is built.
    """
    if not keeps_other_weights(model):
        yield
        return
    weights = [variable_of(one) for one in model.trainable_variables]
    before = [tf.identity(one) for one in weights]
    constraints = {table.ref(): constraint for table, constraint in model.constrained_tables()}
    averages, smoothing = averages_of(model.optimizer), model.smoothing()
    for weight, average in zip(weights, averages, strict=False):
        constraint = constraints.get(weight.ref())
        weight.assign(average if constraint is None else constraint(average))
    for table in model.vector_tables() if smoothing is not None else ():
        variable_of(table.embeddings).assign(smoothing(table.rows()))
    try:
        yield
    finally:
        for weight, value in zip(weights, before, strict=True):
            weight.assign(value)
