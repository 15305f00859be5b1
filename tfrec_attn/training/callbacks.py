"""Keras callbacks of the training, which can be resumed within an epoch."""

import math
import time
from typing import Any

import tensorflow as tf

from tfrec_attn.cli.terminal import write_line
from tfrec_attn.config import Config
from tfrec_attn.errors import NotFiniteError, counted
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.training.checkpoints import Checkpoints
from tfrec_attn.training.diagnostics import first_not_finite
from tfrec_attn.training.progress import Progress


class ResumableCallbacks(tf.keras.callbacks.CallbackList):
    """A list of callbacks for a training with several calls of `fit`.

    One call trains the rest of an interrupted epoch, and another call the other epochs. As a
    context manager, the list calls `on_train_begin` and `on_train_end` of the callbacks once.

    Args:
        callbacks: Callbacks in the order of their calls.
        model: As for Keras' `CallbackList`.
        verbose: As for Keras' `CallbackList`.
        epochs: As for Keras' `CallbackList`.
        steps: Steps of a whole epoch.

    Attributes:
        first_step: Step of its epoch at which the next call of `fit` begins.
    """

    def __init__(self, callbacks: list, model: Any, *, verbose: int, epochs: int, steps: int):
        super().__init__(
            callbacks, add_history=True, model=model, verbose=verbose, epochs=epochs, steps=steps
        )
        self.first_step, self.steps = 0, steps

    def __enter__(self):
        super().on_train_begin()
        return self

    def __exit__(self, *_):
        super().on_train_end()

    def on_train_begin(self, logs=None):
        pass

    def on_train_end(self, logs=None):
        pass

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        self.first_step = 0

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(self.first_step + batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        # With several steps per execution, Keras 3 passes a number beyond the last step if fewer
        # steps are left.
        super().on_train_batch_end(min(self.first_step + batch, self.steps - 1), logs)


class FiniteLoss(tf.keras.callbacks.Callback):
    """Raises a NotFiniteError as soon as the mean loss of the epoch is not finite.

    Args:
        advice: What is likely to help, as the end of a sentence.
    """

    def __init__(self, advice: str):
        super().__init__()
        self.advice = advice
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            cause = first_not_finite(self.model)
            cause = cause or "all weights are finite, so the loss itself overflowed"
            raise NotFiniteError(
                f"The loss became {loss} by step {batch + 1} of epoch {self._epoch + 1}: {cause}; "
                f"{self.advice}."
            )


class TrainingClock(tf.keras.callbacks.Callback):
    """Measures the seconds of the training steps, without validation.

    Args:
        progress: Its `seconds` and `begun` are updated.
    """

    def __init__(self, progress: Progress):
        super().__init__()
        self.progress = progress
        self._begin = 0.0
        self._before = 0.0

    def on_train_begin(self, logs=None):
        self.progress.begun.append(self.progress.epoch)

    def on_epoch_begin(self, epoch, logs=None):
        seconds = self.progress.seconds
        if len(seconds) == epoch:
            seconds.append(0.0)
        self._begin, self._before = time.perf_counter(), seconds[-1]

    def on_train_batch_end(self, batch, logs=None):
        self.progress.seconds[-1] = self._before + time.perf_counter() - self._begin


class CheckpointSaver(tf.keras.callbacks.Callback):
    """Saves a checkpoint after each epoch, at intervals within it, and when a signal is received.

    Args:
        checkpoints: The checkpoints.
        progress: Its `epoch`, `step`, `loss` and `train_seconds` are updated.
        config: Its `runtime.checkpoint_seconds` and `evaluate.metric` are used.
        steps: Steps of an epoch.
        stop: The received signals.
        advice: What is likely to help if weights are not finite, as the end of a sentence.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        progress: Progress,
        config: Config,
        *,
        steps: int,
        stop: StopSignals,
        advice: str,
    ):
        super().__init__()
        self.checkpoints = checkpoints
        self.progress = progress
        self.steps = steps
        self.seconds = config.runtime.checkpoint_seconds
        self.metric = config.evaluate.metric
        self.stop = stop
        self.advice = advice
        self._loss = list(progress.loss)
        self._begin = self._saved = time.monotonic()
        self._before = progress.train_seconds

    def on_epoch_begin(self, epoch, logs=None):
        if self._loss:  # Keras has just reset it.
            for variable, value in zip(self.model.metrics[0].variables, self._loss, strict=True):
                variable.assign(value)
            self._loss = []

    def on_train_batch_end(self, batch, logs=None):
        progress = self.progress
        progress.step = batch + 1
        late = self.seconds and time.monotonic() - self._saved >= self.seconds
        # The state after the last step of an epoch is saved after the validation.
        if progress.step < self.steps and (late or self.stop.received is not None):
            progress.loss = [float(one.numpy()) for one in self.model.metrics[0].variables]
            self._save(is_best=False)

    def on_epoch_end(self, epoch, logs=None):
        progress = self.progress
        progress.epoch, progress.step, progress.loss = epoch + 1, 0, []
        self._save(is_best=progress.best_epoch(self.metric) == epoch)

    def _save(self, is_best: bool) -> None:
        progress = self.progress
        if found := first_not_finite(self.model):
            raise NotFiniteError(
                f"After epoch {progress.epoch} and {progress.step} steps {found}; {self.advice}."
            )
        progress.train_seconds = self._before + time.monotonic() - self._begin
        steps = progress.epoch * self.steps + progress.step
        self.checkpoints.save(self.model, progress, steps, is_best)
        self._saved = time.monotonic()
        self.stop.check()


class EpochOnly(tf.keras.callbacks.Callback):
    """Calls a callback only at the end of an epoch, as if the epoch had one batch.

    The processes of a cluster must make the same decisions. Within an epoch, their clocks and
    signals differ, and each process has the loss of its own replica. At the end of an epoch, each
    process has the loss of all replicas.
    """

    def __init__(self, callback: tf.keras.callbacks.Callback, steps: int):
        super().__init__()
        self.callback = callback
        self.steps = steps

    def set_model(self, model):
        super().set_model(model)
        self.callback.set_model(model)

    def on_epoch_begin(self, epoch, logs=None):
        self.callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.callback.on_train_batch_end(self.steps - 1, logs)
        self.callback.on_epoch_end(epoch, logs)


class EarlyStop(tf.keras.callbacks.Callback):
    """Ends the training after all epochs, or after `patience` epochs without a better metric.

    Args:
        progress: The progress.
        metric: Validation metric.
        epochs: Maximum number of epochs.
        patience: Epochs without a better value.
    """

    def __init__(self, progress: Progress, *, metric: str, epochs: int, patience: int):
        super().__init__()
        self.progress = progress
        self.limits = (epochs, metric, patience)

    def on_epoch_end(self, epoch, logs=None):
        epochs, metric, patience = self.limits
        self.model.stop_training = self.progress.is_over(*self.limits)
        if self.model.stop_training and self.progress.epoch < epochs:
            rest = f"{counted(patience, 'epoch')} (train.patience)"
            write_line(f"Training stops: no better {metric} in {rest}.")
