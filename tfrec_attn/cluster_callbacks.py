"""Keras callbacks where several processes train."""

from collections.abc import Callable

import tensorflow as tf


class EpochOnly(tf.keras.callbacks.Callback):
    """A callback that takes a whole epoch as one batch, its last.

    Processes that look at their own clocks or signals after each step would not do the same; and the coordinator of parameter servers does
    not know what its workers' steps gave until the epoch is over.

    Args:
      callback: whose methods are called.
      steps: of an epoch.
    """

    def __init__(self, callback, steps):
        super().__init__()
        self.callback = callback
        self.steps = steps

    def set_model(self, model):
        super().set_model(model)
        self.callback.set_model(model)

    def on_train_begin(self, logs=None):
        self.callback.on_train_begin(logs)

    def on_epoch_begin(self, epoch, logs=None):
        self.callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.callback.on_train_batch_end(self.steps - 1, logs)
        self.callback.on_epoch_end(epoch, logs)

    def on_train_end(self, logs=None):
        self.callback.on_train_end(logs)


class Validation(EpochOnly):
    """A clock of training steps that is stopped before metrics are added to the logs of an epoch, for the callbacks after it.

    Args:
      clock: a callback.
      steps: of an epoch.
      metrics: gives name -> value.
    """

    def __init__(self, clock, steps, metrics: Callable[[], dict[str, float]]):
        super().__init__(clock, steps)
        self.metrics = metrics

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        logs.update({f"val_{name}": value for name, value in self.metrics().items()})
