"""Experiment trackers, which get the same values as TensorBoard.

A resumed training is a new run of the tracker, with all epochs. The libraries of the trackers read
their own environment variables.
"""

import contextlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfrec_attn.config import Config, flatten, to_dict
from tfrec_attn.errors import TrainingError, first_line
from tfrec_attn.training.progress import Progress

_AT_ONCE = 50  # parameters in a request; MLflow takes at most 100
_NOT_IN_NAMES = re.compile(r"[^\w\-. /]")


class _Mlflow:
    """A run of MLflow; `@` in the name of a metric becomes `_at_`."""

    def __init__(self, name: str, parameters: dict[str, Any]):
        self._library = importlib.import_module("mlflow")
        self._library.start_run(run_name=name)
        items = list(parameters.items())
        for begin in range(0, len(items), _AT_ONCE):
            self._library.log_params(dict(items[begin : begin + _AT_ONCE]))

    def log(self, metrics: dict[str, float], step: int | None) -> None:
        named = {
            _NOT_IN_NAMES.sub("_", name.replace("@", "_at_")): value
            for name, value in metrics.items()
        }
        self._library.log_metrics(named, step=step)

    def finish(self, complete: bool) -> None:
        self._library.end_run("FINISHED" if complete else "FAILED")


class _WeightsAndBiases:
    """A run of Weights & Biases."""

    def __init__(self, name: str, parameters: dict[str, Any]):
        self._run = importlib.import_module("wandb").init(name=name, config=parameters)

    def log(self, metrics: dict[str, float], step: int | None) -> None:
        if step is None:
            self._run.summary.update(metrics)
        else:
            self._run.log(metrics, step=step)

    def finish(self, complete: bool) -> None:
        self._run.finish(exit_code=0 if complete else 1)


_TRACKERS = {"mlflow": _Mlflow, "wandb": _WeightsAndBiases}


class Tracking:
    """The tracker of a configuration, as a context manager around a training.

    Args:
        config: The configuration; `train.tracker` and `run_dir` are used.
        is_chief: Whether this process trains alone, or is the chief of a cluster. Other processes
            send nothing.

    Raises:
        TrainingError: If the library cannot be imported, or the tracker does not take the run.
    """

    def __init__(self, config: Config, is_chief: bool = True):
        self._config, self._name = config, config.train.tracker if is_chief else None
        self._tracker, self._epochs = None, 0

    def __enter__(self) -> "Tracking":
        if self._name is not None:
            name, parameters = Path(self._config.run_dir).name, flatten(to_dict(self._config))
            with self._explained():
                self._tracker = _TRACKERS[self._name](name, parameters)
        return self

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Sends the metrics of an epoch (`step`), or of the whole run (None)."""
        if self._tracker is not None:
            with self._explained():
                self._tracker.log(metrics, step)

    def log_epochs(self, progress: Progress) -> None:
        """Sends the completed epochs that were not sent yet."""
        for epoch in range(self._epochs, progress.epoch):
            self.log(progress.history[epoch], epoch)
        self._epochs = progress.epoch

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._tracker is not None:
            # The first error is the one to report.
            with self._explained() if kind is None else contextlib.suppress(Exception):
                self._tracker.finish(kind is None)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # Each library raises errors of its own, and errors of the network.
            raise TrainingError(
                f"train.tracker={self._name} failed ({first_line(error)}); correct its settings, "
                "or leave it out."
            ) from None
