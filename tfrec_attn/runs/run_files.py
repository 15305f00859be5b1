"""The files of a finished run: known to be what the training wrote before anything is read."""

import json
from pathlib import Path

import numpy as np

from tfrec_attn.errors import ConfigError
from tfrec_attn.files.checksums import SUMS, damage, read_sums

_REMEDY = "bring the run back as the training wrote it, or train again."


def check_files(folder: Path, *names: str) -> None:
    """Compares files of a run with its checksums; a run of an earlier version has none.

    Args:
        folder: The run.
        names: Paths in it; one that ends with `*` means all that begin so, one at least.

    Raises:
        ConfigError: If one is missing or not what the training wrote.
    """
    sums = _sums(folder)
    if sums is None:
        return
    for wanted in names:
        prefix = wanted.removesuffix("*")
        found = [
            name
            for name in sums
            if name == wanted or (prefix != wanted and name.startswith(prefix))
        ]
        if not found:
            raise ConfigError(f"{folder}/{SUMS} is damaged, it has no line for {wanted}: {_REMEDY}")
        for name in found:
            if what := damage(folder / name, sums[name]):
                raise ConfigError(f"{folder / name} {what}: {_REMEDY}")


def _sums(folder: Path) -> dict[str, str] | None:
    """The checksums of a run; None for one of an earlier version."""
    if not (folder / SUMS).exists():
        return None
    try:
        return read_sums(folder)
    except ValueError as error:
        raise ConfigError(f"{folder}/{error}: {_REMEDY}") from None


def read_metrics(folder: Path, name: str) -> dict:
    """Returns the metrics of a run with what it says of its data.

    Args:
        folder: The run.
        name: Of the file.

    Raises:
        ConfigError: If the file is damaged.
    """
    check_files(folder, name)
    path = folder / name
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        parts = [tree["valid"], tree["test"]]
        if not all(isinstance(value, (int, float)) for part in parts for value in part.values()):
            raise ValueError("a metric is no number")
        sections = [tree["data"], tree["data"].get("after", {}), tree.get("protocol", {})]
        if not all(isinstance(section, dict) for section in sections):
            raise ValueError("a section is none")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{path} does not hold what a training writes: {_REMEDY}") from None
    return tree


def read_item_counts(folder: Path, name: str, items: int) -> np.ndarray:
    """Returns the training events of each item of a run, [N].

    Args:
        folder: The run.
        name: Of the file.
        items: N.

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    path = folder / name
    check_files(folder, name)
    try:
        counts = np.load(path)
        shape, whole = counts.shape, counts.dtype.kind in "iu" and bool((counts >= 0).all())
    except FileNotFoundError:
        raise ConfigError(
            f"{folder} has no {name}, which trainings of earlier versions did not write; train again."
        ) from None
    except Exception:
        # Of a damaged header NumPy raises nearly everything that Python knows.
        raise ConfigError(f"{path} cannot be read; train again.") from None
    if shape != (items,):
        raise ConfigError(
            f"{path} must have one number for each of {items} items, but has the shape {shape}; train again."
        )
    if not whole:
        raise ConfigError(
            f"{path} must have whole numbers of 0 or more, but has others; train again."
        )
    return counts


def read_trained(folder: Path, name: str, rows: int) -> np.ndarray:
    """Returns which rows of a table the training of a run has touched, bool [R]; all where an
    earlier version has not written it.

    Args:
        folder: The run.
        name: Of the file.
        rows: R.

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    path = folder / name
    if not path.exists() and name not in (_sums(folder) or {}):
        return np.ones(rows, bool)
    check_files(folder, name)
    try:
        trained = np.load(path)
        shape, kind = trained.shape, trained.dtype.kind
    except Exception:
        # Of a damaged header NumPy raises nearly everything that Python knows.
        raise ConfigError(f"{path} cannot be read; train again.") from None
    if (shape, kind) != ((rows,), "b"):
        raise ConfigError(
            f"{path} must say of each of {rows} rows whether it is trained, but has the shape {shape}; train again."
        )
    return trained
