"""The figures and the ranks of a finished run, for tables and pages."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrec_attn.data.sequences.leakage import LeakReport
from tfrec_attn.errors import ConfigError
from tfrec_attn.replay.measured_run import REMEDY, read_report
from tfrec_attn.runs import run_files

# Figures of a run. A row of a table has their means over the seeds.
FIGURES = (
    "best_epoch",
    "epochs",
    "seconds_per_epoch",
    "examples_per_second",
    "train_seconds",
    "parameters",
    "peak_memory_mb",
)
_PROTOCOL = {"split", "ranked_against", "repeats", "k", "hash"}


def load_report(folder: Path, metric: str | None = None, sizes: bool = False) -> dict[str, Any]:
    """Returns the metrics.json of a finished run, with all figures.

    Args:
        folder: The run.
        metric: A test metric that the file must have, or None (default).
        sizes: Whether the file must have the sizes of the log. Default False.

    Raises:
        ConfigError: If the file is damaged.
    """
    test = {"*": 0} if metric is None else {"*": 0, metric: 0}
    needed = {"valid": {"*": 0}, "test": test, "protocol": {}, **dict.fromkeys(FIGURES, 0)}
    if sizes:
        needed["data"] = {"after": dict.fromkeys(("events", "users", "items"), 0)}
    report = read_report(folder, needed)
    if not report["protocol"].keys() >= _PROTOCOL:
        raise _damaged(folder / run_files.METRICS)
    return report


def load_leaks(folder: Path) -> LeakReport | None:
    """Returns what the training of a finished run knows of later events.

    Returns None for a temporal split, because its trainings do not report leaks.

    Raises:
        ConfigError: If metrics.json is damaged.
    """
    if "leaks" not in read_report(folder)["data"]:
        return None
    names = [field.name for field in dataclasses.fields(LeakReport)]
    leaks = read_report(folder, {"data": {"leaks": dict.fromkeys(names, 0)}})["data"]["leaks"]
    return LeakReport(**{name: leaks[name] for name in names})


def load_ranks(folder: Path, events: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Returns the checked result of `run_files.load_ranks`.

    Args:
        folder: The run.
        events: "valid" or "test" -> the number of events that must have ranks. None (default): any.

    Raises:
        ConfigError: If the file is missing or damaged, or has another number of events.
    """
    found, path = run_files.load_ranks(folder), folder / run_files.RANKS
    parts = [name for name in found if name.removesuffix("_alone") in ("valid", "test")]
    both = {"valid", "test"}, {"valid", "test", "valid_alone", "test_alone"}
    if set(parts) not in both or not all(_are_ranks(found[part]) for part in parts):
        raise _damaged(path)
    for name in {*parts, "test_users"} & found.keys():
        if found[name].shape != found[name.partition("_")[0]].shape:
            raise _damaged(path)
    for part, count in (events or {}).items():
        if len(found[part]) != count:
            raise ConfigError(
                f"{path} must have ranks of {count} {part} events, but has {len(found[part])}: "
                f"{REMEDY}"
            )
    return found


def _are_ranks(array: np.ndarray) -> bool:
    return array.ndim == 1 and array.dtype.kind in "iu" and len(array) > 0 and array.min() > 0


def _damaged(path: Path) -> ConfigError:
    return ConfigError(f"{path} does not hold what a training writes: {REMEDY}")
