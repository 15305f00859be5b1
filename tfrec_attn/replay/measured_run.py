"""Reads the held-out events, the items and the metrics of a run for a replay."""

import json
import re
from pathlib import Path

import polars as pl

from tfrec_attn.errors import ConfigError
from tfrec_attn.files.checksums import first_damage
from tfrec_attn.files.readable import readable_parquet

COLUMNS = {"user_id": pl.String, "history": pl.List(pl.String), "target": pl.String}
_METRIC = re.compile(r"(HR|NDCG)@[1-9]\d*|MRR")


def not_written(run: str | Path, name: str) -> ConfigError:
    """Makes the error for a file that a run does not have."""
    return ConfigError(f"{run} has no {name}; train again.")


REMEDY = "restore the run as the training wrote it, or train again."


def check_files(folder: Path, *names: str) -> None:
    """Compares files of a run with its checksums. A run without checksums passes.

    Args:
        folder: The run.
        names: Paths of files in the run. A path that ends with `*` stands for all files with this
            prefix, at least one.

    Raises:
        ConfigError: If a file is missing or damaged.
    """
    if what := first_damage(folder, names):
        raise ConfigError(f"{what}: {REMEDY}")


def run_file(run: str | Path, name: str) -> Path:
    """Returns the path of a file of a run, after `check_files`."""
    check_files(Path(run), name)
    return Path(run) / name


def read_report(run: str | Path, needed: dict | None = None) -> dict:
    """Reads the metrics.json of a run.

    Args:
        run: The run directory.
        needed: Tree of required keys. A dictionary stands for a dictionary with at least its keys,
            and a number for any number. The key "*" stands for all keys of the report.

    Raises:
        ConfigError: If the folder is not a finished run, or metrics.json is damaged.
    """
    path = run_file(run, "metrics.json")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(
            f"{run} is not a finished run: it has no {path.name}; "
            "give a folder that tfrec_attn.train has written."
        ) from None
    except (ValueError, RecursionError):
        report = None
    if not _has(report, {"data": {}, **(needed or {})}) or not all(
        isinstance(section, dict)
        for section in (report["data"].get("after", {}), report.get("protocol", {}))
    ):
        raise ConfigError(f"{path} does not hold what a training writes: {REMEDY}")
    return report


def _has(tree: object, needed: object) -> bool:
    if not isinstance(needed, dict):
        return isinstance(tree, (int, float)) and not isinstance(tree, bool)
    if not isinstance(tree, dict):
        return False
    return all(
        all(_has(one, part) for one in tree.values()) if key == "*" else _has(tree.get(key), part)
        for key, part in needed.items()
    )


def metrics_of(report: dict, run: str | Path, split: str) -> dict[str, float]:
    """Returns the metrics of "test" or "valid" in the report of a run.

    Raises:
        ConfigError: If there are no metrics, or one is not HR@k, NDCG@k or MRR.
    """
    expected = report.get(split)
    if not isinstance(expected, dict) or not expected:
        raise ConfigError(f"metrics.json of {run} has no metrics of {split}; train again.")
    for name, value in expected.items():
        if not isinstance(value, (int, float)):
            raise ConfigError(f"metrics.json of {run} has no number for {name}; train again.")
        if not _METRIC.fullmatch(name):
            raise ConfigError(
                f"metrics.json of {run} has the metric {name}, "
                "but only HR@k, NDCG@k and MRR can be computed; train again."
            )
    return expected


def repeats_of(report: dict) -> str:
    """Returns the rule for items of the history: "include" if they compete, else "exclude"."""
    return report.get("protocol", {}).get("repeats", "exclude")


def read_events(run: str | Path, split: str = "test") -> pl.DataFrame:
    """Reads the held-out events of a split, with raw ids.

    Args:
        run: The run directory.
        split: "test" (default) or "valid".

    Returns:
        A row for each event, with the columns `user_id`, `history` (all earlier items, oldest
        first) and `target`.

    Raises:
        ConfigError: If the run does not have the file, or it is damaged.
    """
    path = run_file(run, f"{split}.parquet")
    if not path.is_file():
        raise not_written(run, path.name)
    with readable_parquet(path, ConfigError, "; train again"):
        events = pl.read_parquet(path)
    if dict(events.schema) != COLUMNS or not len(events):
        raise ConfigError(
            f"{path} must have rows with the columns {', '.join(COLUMNS)} of texts, "
            f"but has {len(events)} with {dict(events.schema)}; train again."
        )
    return events


def read_items(run: str | Path) -> list[str]:
    """Reads the ids of all items of a run, in the order of their numbers.

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    return read_lines(run_file(run, "vocabulary/items.txt"))


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a UTF-8 file.

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    try:
        return path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError):
        raise ConfigError(f"{path} is missing or not text; export or train again.") from None
