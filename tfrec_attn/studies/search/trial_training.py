"""The training of one trial, on the training and validation events only, and its result."""

import contextlib
import dataclasses
import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tfrec_attn import config as configuration
from tfrec_attn.config import Config
from tfrec_attn.data.sequences.splits import Split, item_counts
from tfrec_attn.errors import ConfigError, DataError, NotFiniteError
from tfrec_attn.files.work_folder import remove
from tfrec_attn.runs import run
from tfrec_attn.runs.partial_run import KNOWN
from tfrec_attn.runs.run_files import CONFIG
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.studies.search.search_space import with_point
from tfrec_attn.training.progress import Progress
from tfrec_attn.training.settings import check_loss
from tfrec_attn.training.training_run import prepare_process

COMPLETED, PRUNED, FAILED = "completed", "pruned", "failed"


class Pruned(Exception):
    """Ends a trial after an epoch, because it is unlikely to become the best."""


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """A finished trial.

    Attributes:
        state: "completed", "pruned" or "failed".
        values: Values of the searched keys.
        metrics: Validation metrics of the best epoch; empty if no epoch was completed.
        best_epoch: The best epoch, from 1; 0 if no epoch was completed.
        epochs: Number of completed epochs.
        seconds: Seconds of training, over all processes that trained the trial.
        parameters: Number of trainable weights; 0 if the model was not built.
        error: Why the trial failed, or None.
    """

    state: str
    values: dict[str, Any]
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    best_epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0
    parameters: int = 0
    error: str | None = None

    def with_progress(self, progress: Progress, metric: str) -> "TrialResult":
        """Returns the result with the epochs of a training and the metrics of its best epoch."""
        if not progress.history:
            return self
        best = progress.best_epoch(metric)
        row = progress.history[best]
        metrics = {key[4:]: value for key, value in row.items() if key.startswith("val_")}
        return dataclasses.replace(
            self, metrics=metrics, best_epoch=best + 1, epochs=len(progress.history)
        )


def without_test_events(split: Split) -> Split:
    """Returns a split without its test events. Training and validation events stay the same."""
    changes: dict[str, Any] = {"test": split.test[:0]}
    positions = getattr(split, "positions", None)
    if positions is not None:
        changes["positions"] = positions._replace(test=positions.test * 0 - 1)
    return dataclasses.replace(split, **changes)


class TrialTraining:
    """Trains one trial after the other.

    Args:
        base: The resolved configuration, with `evaluate.repeats` set.
        split: The data, without test events.
        folder: Folder for the checkpoints of the current trial.
        stop: Checked after each step.
    """

    def __init__(self, base: Config, split: Split, folder: Path, stop: StopSignals):
        self._base, self._split, self._folder, self._stop = base, split, folder, stop

    def run(
        self, values: dict[str, Any], after_epoch: Callable[[Progress, Config], None]
    ) -> TrialResult:
        """Trains with values of the searched keys, or resumes the training with these values.

        Args:
            values: Key -> value.
            after_epoch: Called after each epoch with the progress and the configuration of the
                trial. It raises `Pruned` to end the trial.

        Raises:
            TrainingError: If the folder cannot be written.
            Interrupted: If a signal was received. The checkpoint stays.
        """
        begin, progress = time.monotonic(), Progress()
        state, error, parameters, setup = COMPLETED, None, 0, 0.0

        def note(reached: Progress) -> None:
            nonlocal progress
            progress = reached
            after_epoch(progress, config)

        try:
            config = with_point(self._base, values)
            check_loss(config)
            self._open(config)
            strategy = prepare_process(config)
            from tfrec_attn.training.fitting import fit

            with strategy.scope():
                model = self._build(config)
                parameters = sum(one.shape.num_elements() for one in model.trainable_variables)
                setup = time.monotonic() - begin
                with _quiet(), _memory_errors():
                    fit(model, config, self._split, self._folder, None, self._stop, note)
        except Pruned:
            state = PRUNED
        except (NotFiniteError, ConfigError, DataError) as refused:
            state, error = FAILED, str(refused)
        # For a resumed training, `progress` has the seconds of all its processes.
        seconds = max(time.monotonic() - begin, setup + progress.train_seconds)
        result = TrialResult(
            state, values, seconds=seconds, parameters=parameters, error=error
        ).with_progress(progress, self._base.evaluate.metric)
        model = None
        # TensorFlow functions have reference cycles, so only the collector frees the model.
        gc.collect()
        return result

    def clear(self) -> None:
        """Removes the files of a trial."""
        remove(self._folder, KNOWN)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _open(self, config: Config) -> None:
        """Clears the folder, unless it holds a training of this configuration."""
        path, text = self._folder / CONFIG, configuration.to_yaml(config)
        try:
            same = path.read_text(encoding="utf-8") == text
        except (OSError, UnicodeDecodeError):
            same = False
        if not same:
            self.clear()
            self._folder.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _build(self, config: Config) -> Any:
        from tfrec_attn.training.inputs import trained_rows

        split, sequences = self._split, self._split.sequences
        users, items = sequences.user_vocabulary, sequences.item_vocabulary
        trained = trained_rows(config, split)
        return run.build_model(config, users, items, item_counts(split), trained)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        yield


@contextlib.contextmanager
def _memory_errors() -> Iterator[None]:
    import tensorflow as tf

    try:
        yield
    except tf.errors.ResourceExhaustedError:
        raise ConfigError("The training does not fit into the memory.") from None
