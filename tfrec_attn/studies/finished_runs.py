"""What a table or a page needs of a finished run: its figures and its ranks."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrec_attn.data.sequences.leakage import LeakReport
from tfrec_attn.errors import ConfigError
from tfrec_attn.replay.measured_run import REMEDY, read_report
from tfrec_attn.runs import run_files

# Figures of a run that a row of a table has the mean of.
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
        metric: A test metric that it must have, or None.
        sizes: Whether it must have the sizes of the log. Default False.

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

    None for a temporal split, for which a training does not report it.

    Raises:
        ConfigError: If its metrics.json is damaged.
    """
    if "leaks" not in read_report(folder)["data"]:
        return None
    names = [field.name for field in dataclasses.fields(LeakReport)]
    leaks = read_report(folder, {"data": {"leaks": dict.fromkeys(names, 0)}})["data"]["leaks"]
    return LeakReport(**{name: leaks[name] for name in names})


def load_ranks(folder: Path, events: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Returns what `run_files.load_ranks` returns, where each event has a rank and a user.

    Args:
        folder: The run.
        events: Number of the "valid" or "test" events that it must have ranks of; None: any.

    Raises:
        ConfigError: If the file is missing, damaged or of other events.
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
