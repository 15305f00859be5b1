"""Experiment trackers, which get the values that TensorBoard gets."""

import contextlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrec_attn.config import Config, flatten, to_dict
from tfrec_attn.errors import TrainingError, first_line
from tfrec_attn.training.progress import Progress

_AT_ONCE = 50  # parameters of a request; MLflow takes at most 100
_NOT_IN_NAMES = re.compile(r"[^\w\-. /]")


class Tracker:
    """The interface of the trackers, and one that does nothing.

    A resumed training is a new run of the tracker, with all epochs. The library reads its own
    environment variables.
    """

    def start(self, name: str, parameters: dict[str, Any]) -> None:
        """Begins a run.

        Args:
            name: Its name.
            parameters: The keys of the configuration with their values.
        """

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Sends metrics of an epoch, or of the whole run."""

    def finish(self, complete: bool) -> None:
        """Ends the run as finished or failed."""


class Mlflow(Tracker):
    """MLflow; `@` in the name of a metric becomes `_at_`."""

    def __init__(self):
        self._library = importlib.import_module("mlflow")

    def start(self, name: str, parameters: dict[str, Any]) -> None:
        self._library.start_run(run_name=name)
        items = list(parameters.items())
        for begin in range(0, len(items), _AT_ONCE):
            self._library.log_params(dict(items[begin : begin + _AT_ONCE]))

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        named = {
            _NOT_IN_NAMES.sub("_", name.replace("@", "_at_")): value
            for name, value in metrics.items()
        }
        self._library.log_metrics(named, step=step)

    def finish(self, complete: bool) -> None:
        self._library.end_run("FINISHED" if complete else "FAILED")


class WeightsAndBiases(Tracker):
    """Weights & Biases."""

    def __init__(self):
        self._library, self._run = importlib.import_module("wandb"), None

    def start(self, name: str, parameters: dict[str, Any]) -> None:
        self._run = self._library.init(name=name, config=parameters)

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        if step is None:
            self._run.summary.update(metrics)
        else:
            self._run.log(metrics, step=step)

    def finish(self, complete: bool) -> None:
        self._run.finish(exit_code=0 if complete else 1)


TRACKERS = {"mlflow": Mlflow, "wandb": WeightsAndBiases}


class Tracking:
    """The tracker of a configuration as a context that a training runs in.

    Args:
        config: With `train.tracker` and `run_dir`.
        is_chief: Whether this process trains alone, or is the chief of a cluster. Others do
            nothing.

    Raises:
        TrainingError: If the library cannot be imported, or the tracker does not take the run.
    """

    def __init__(self, config: Config, is_chief: bool = True):
        self._config, self._is_chief = config, is_chief
        self._name, self._tracker = config.train.tracker, Tracker()

    def __enter__(self) -> "Tracking":
        if self._name is not None and self._is_chief:
            with self._explained():
                self._tracker = TRACKERS[self._name]()
                self._tracker.start(Path(self._config.run_dir).name, flatten(to_dict(self._config)))
        return self

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Sends metrics of an epoch, or of the whole run."""
        with self._explained():
            self._tracker.log(metrics, step)

    def __exit__(self, kind: Any, *_: Any) -> None:
        # The first error is the one to report.
        with self._explained() if kind is None else contextlib.suppress(Exception):
            self._tracker.finish(kind is None)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # Each library raises errors of its own, and those of its network.
            raise TrainingError(
                f"train.tracker={self._name} failed ({first_line(error)}); correct its settings, "
                "or leave it out."
            ) from None


class TrackingCallback(tf.keras.callbacks.Callback):
    """Sends the epochs of a training, those of earlier processes first.

    Args:
        tracking: The tracker.
        progress: Its `history` has the epochs, and is extended before this callback is called.
    """

    def __init__(self, tracking: Tracking, progress: Progress):
        super().__init__()
        self._tracking, self._progress = tracking, progress

    def on_train_begin(self, logs=None):
        for epoch in range(self._progress.epoch):
            self._tracking.log(self._progress.history[epoch], epoch)

    def on_epoch_end(self, epoch, logs=None):
        self._tracking.log(self._progress.history[epoch], epoch)
