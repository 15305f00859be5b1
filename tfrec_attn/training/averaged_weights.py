"""The moving average of the weights, which is validated and kept instead of them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfrec_attn.keras_versions.variables import averages_of, variable_of


class AveragedWeights(tf.keras.callbacks.Callback):
    """Validates a model with the averages that its optimizer keeps (`train.ema`)."""

    def __init__(self):
        super().__init__()
        self._inside = contextlib.ExitStack()

    def on_test_begin(self, logs=None):
        self._inside.enter_context(averaged(self.model))

    def on_test_end(self, logs=None):
        self._inside.close()


@contextlib.contextmanager
def averaged(model: Any) -> Iterator[None]:
    """Gives a model the averages of its weights inside, within the constraints of its tables.

    Without averages, nothing changes.

    Args:
        model: A model whose optimizer is built.
    """
    weights = [variable_of(one) for one in model.trainable_variables]
    averages = averages_of(model.optimizer)
    if not averages:
        yield
        return
    constraints = {table.ref(): constraint for table, constraint in model.constrained_tables()}
    before = [tf.identity(one) for one in weights]
    for weight, average in zip(weights, averages, strict=True):
        constraint = constraints.get(weight.ref())
        weight.assign(average if constraint is None else constraint(average))
    try:
        yield
    finally:
        for weight, value in zip(weights, before, strict=True):
            weight.assign(value)
