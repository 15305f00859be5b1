"""Keras callbacks of the training command; what they know of a training is in its `Progress`."""

import csv
import math
import os
import time
from pathlib import Path

import tensorflow as tf

from tfrec_attn.config import Config
from tfrec_attn.errors import TrainingError
from tfrec_attn.files.work_folder import remove
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.training.checkpoints import Checkpoints, writing
from tfrec_attn.training.diagnostics import Health, first_not_finite
from tfrec_attn.training.progress import Progress


class Session(tf.keras.callbacks.CallbackList):
    """Callbacks of one training that takes several calls of `fit`: one for the rest of an
    interrupted epoch, one for the others.

    Args:
      callbacks: in the order in which they are called.
      model, verbose, epochs: as in `fit`.
      steps: of a whole epoch.
    """

    def __init__(self, callbacks, model, *, verbose, epochs, steps):
        super().__init__(
            callbacks, add_history=True, model=model, verbose=verbose, epochs=epochs, steps=steps
        )
        self.first_step = 0

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
        super().on_train_batch_end(self.first_step + batch, logs)


class FiniteLoss(tf.keras.callbacks.Callback):
    """Stops training with a TrainingError as soon as the mean loss of the epoch is not a finite
    number.

    Args:
      advice: what is likely to help, as the end of a sentence.
    """

    def __init__(self, advice):
        super().__init__()
        self.advice = advice
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            culprit = (
                first_not_finite(self.model)
                or "all weights are finite, so the loss itself overflowed"
            )
            raise TrainingError(
                f"The loss became {loss} by step {batch + 1} of epoch {self._epoch + 1}: {culprit}; {self.advice}."
            )


class TrainingClock(tf.keras.callbacks.Callback):
    """Adds the seconds of training steps, without validation, to a progress.

    Args:
      progress: its `seconds` and `begun` are kept.
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


class Recorder(tf.keras.callbacks.Callback):
    """Writes metrics and health of each epoch to `history.csv` and to TensorBoard's events, and
    health in a line.

    Args:
      folder: the run's.
      progress: its `history` is kept; what it holds at the start is written again.
      health: a `Health`.
      say: takes a line.
    """

    def __init__(self, folder: Path, progress: Progress, health: Health, say):
        super().__init__()
        self.folder = folder
        self.progress = progress
        self.health = health
        self.say = say
        self._writers = {}

    def on_train_begin(self, logs=None):
        events = self.folder / "tensorboard"
        with writing(events):
            remove(events, ["*/events.out.tfevents.*"])
            self._writers = {
                part: tf.summary.create_file_writer(str(events / part))
                for part in ("train", "validation")
            }
        for epoch in range(self.progress.epoch):
            self._write_events(epoch)

    def on_epoch_end(self, epoch, logs=None):
        figures = self.health()
        self.progress.history.append(
            {**{key: float(value) for key, value in (logs or {}).items()}, **figures}
        )
        self._write_events(epoch)
        write_history(self.folder / "history.csv", self.progress.history)
        self.say(self.health.describe(figures))

    def on_train_end(self, logs=None):
        for writer in self._writers.values():
            writer.close()

    def _write_events(self, epoch):
        with writing(self.folder / "tensorboard"):
            for name, value in self.progress.history[epoch].items():
                part = "validation" if name.startswith("val_") else "train"
                with self._writers[part].as_default():
                    tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value, step=epoch)
            for writer in self._writers.values():
                writer.flush()


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Writes a row an epoch, numbered from 0, the columns in alphabetical order; the file is
    replaced as a whole.
    """
    draft = path.with_name(f".{path.name}")
    with writing(path):
        with open(draft, "w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, ["epoch", *sorted(history[0])])
            table.writeheader()
            table.writerows({"epoch": epoch, **row} for epoch, row in enumerate(history))
        os.replace(draft, path)


class Saver(tf.keras.callbacks.Callback):
    """Saves the state at the end of each epoch, every so often within one, and when a signal asks
    to stop.

    Args:
      checkpoints: where to.
      progress: how far the training is; its `epoch`, `step` and `train_seconds` are kept.
      config: of which `runtime.checkpoint_seconds` and `evaluate.metric` count.
      steps: of an epoch.
      stop: a `StopSignals`.
      advice: what is likely to help where weights are not finite, as the end of a sentence.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        progress: Progress,
        config: Config,
        *,
        steps,
        stop: StopSignals,
        advice,
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
            self.model.metrics[0].set_weights(self._loss)
            self._loss = []

    def on_train_batch_end(self, batch, logs=None):
        progress, progress.step = self.progress, batch + 1
        late = self.seconds and time.monotonic() - self._saved >= self.seconds
        # The state after the last step of an epoch is saved when that has been validated.
        if progress.step < self.steps and (late or self.stop.received is not None):
            progress.loss = [float(value) for value in self.model.metrics[0].get_weights()]
            self._save(is_best=False)

    def on_epoch_end(self, epoch, logs=None):
        progress = self.progress
        progress.epoch, progress.step, progress.loss = epoch + 1, 0, []
        self._save(is_best=progress.best_epoch(self.metric) == epoch)

    def _save(self, is_best):
        progress = self.progress
        if found := first_not_finite(self.model):
            raise TrainingError(
                f"After epoch {progress.epoch} and {progress.step} steps {found}; {self.advice}."
            )
        progress.train_seconds = self._before + time.monotonic() - self._begin
        self.checkpoints.save(
            self.model, progress, progress.epoch * self.steps + progress.step, is_best
        )
        self._saved = time.monotonic()
        self.stop.check()


class EpochOnly(tf.keras.callbacks.Callback):
    """A callback that takes a whole epoch as one batch, its last.

    Processes that look at their own clocks or signals after each step would not do the same.

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

    def on_epoch_begin(self, epoch, logs=None):
        self.callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.callback.on_train_batch_end(self.steps - 1, logs)
        self.callback.on_epoch_end(epoch, logs)


class EarlyStop(tf.keras.callbacks.Callback):
    """Ends the training when its progress says that it is over.

    Args:
      progress: of which `is_over` is asked.
      metric: validation metric.
      epochs: at most.
      patience: epochs without a better value.
    """

    def __init__(self, progress: Progress, *, metric, epochs, patience):
        super().__init__()
        self.progress = progress
        self.limits = (epochs, metric, patience)

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = self.progress.is_over(*self.limits)
