"""Keras callbacks of the training command."""

import math
import time

import tensorflow as tf

from tfrec_attn.errors import TrainingError


class FiniteLoss(tf.keras.callbacks.Callback):
    """Stops training with a TrainingError as soon as the mean loss of the epoch is not a finite number."""

    def __init__(self):
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss} by step {batch + 1} of epoch {self._epoch + 1}; lower train.learning_rate, or set model.max_norm."
            )


class TrainingClock(tf.keras.callbacks.Callback):
    """Seconds of each epoch's training steps, without validation, as `seconds`."""

    def __init__(self):
        super().__init__()
        self.seconds = []
        self._begin = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = time.perf_counter()
        self.seconds.append(0.0)

    def on_train_batch_end(self, batch, logs=None):
        self.seconds[-1] = time.perf_counter() - self._begin

    def steady_seconds(self) -> float:
        """Mean seconds an epoch, without the first where there are more: it traces the step."""
        steady = self.seconds[1:] or self.seconds
        return sum(steady) / len(steady)
