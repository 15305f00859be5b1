"""The limits that a new version, the canary, must meet to replace the old version."""

import contextlib
import dataclasses
import difflib
import math
from pathlib import Path

import yaml

from tfrec_attn.cli.terminal import align
from tfrec_attn.errors import ConfigError, first_line

from .paired_replay import Replayed, empty_share, error_share, mean_overlap, popular_share, quantile


@dataclasses.dataclass(frozen=True)
class CanaryLimits:
    """Limits on the responses of a new version. A file of limits must have all of them.

    Attributes:
        requests: Most held-out events that are replayed.
        k: Number of items of a request.
        min_overlap: Least mean share of items that both versions recommend, 0 to 1.
        max_popular_share: Largest share of responses with popular items, where nothing of the
            request is known, 0 to 1.
        max_empty_share: Largest share of responses without items, 0 to 1.
        max_error_share: Largest share of requests that fail, 0 to 1.
        max_p50_ms: Largest median latency in milliseconds.
        max_p99_ms: Largest 99th percentile of the latency in milliseconds.
        max_p99_ratio: Largest ratio of the new version's p99 to the old version's.
    """

    requests: int
    k: int
    min_overlap: float
    max_popular_share: float
    max_empty_share: float
    max_error_share: float
    max_p50_ms: float
    max_p99_ms: float
    max_p99_ratio: float


def read_limits(path: str | Path) -> CanaryLimits:
    """Reads the limits from a YAML file.

    Raises:
        ConfigError: If the file cannot be read, or a limit is missing, unknown or invalid.
    """
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} cannot be read as YAML ({first_line(error)}); give a file of limits."
        ) from None
    names = {field.name: field.type for field in dataclasses.fields(CanaryLimits)}
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path} must have one limit a line, such as k: 10, but is something else."
        )
    for name in found:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            raise ConfigError(
                f"{path} has {name}, which is not a limit; "
                f"{f'did you mean {near[0]}?' if near else 'leave it out.'}"
            )
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigError(
            f"{path} lacks {missing[0]}; give every limit, so that none is forgotten."
        )
    return CanaryLimits(
        **{name: _number(path, name, found[name], kind) for name, kind in names.items()}
    )


def _number(path, name, value, kind):
    whole, share = kind is int, name == "min_overlap" or name.endswith("_share")
    low, high = (1, 10**9) if whole else (0.0, 1.0 if share else float("inf"))
    if isinstance(value, str) and not whole:
        # PyYAML reads 1e-3 as text.
        with contextlib.suppress(ValueError):
            value = float(value)
    if (
        isinstance(value, bool)
        or not isinstance(value, int if whole else (int, float))
        or not low <= value <= high
    ):
        expected = (
            "a whole number from 1"
            if whole
            else "a share from 0 to 1"
            if share
            else "a number from 0"
        )
        raise ConfigError(f"{name} in {path} must be {expected}, but is {value!r}.")
    return value


@dataclasses.dataclass(frozen=True)
class Row:
    """A measure of both versions, its limit, and whether the canary meets the limit.

    `stable` is None for a measure that compares the two versions.
    """

    name: str
    stable: float | None
    canary: float
    limit: str
    kept: bool


def judge(stable: Replayed, canary: Replayed, limits: CanaryLimits) -> list[Row]:
    """Computes all measures of `CanaryLimits`. A missing measure, NaN, does not meet its limit."""
    rows = [_row(f"overlap@{limits.k}", None, mean_overlap(stable, canary), limits.min_overlap)]
    for name, measure, most in (
        ("popular share", popular_share, limits.max_popular_share),
        ("empty share", empty_share, limits.max_empty_share),
        ("error share", error_share, limits.max_error_share),
        ("p50 ms", lambda one: 1000 * quantile(one.seconds, 0.5), limits.max_p50_ms),
        ("p99 ms", lambda one: 1000 * quantile(one.seconds, 0.99), limits.max_p99_ms),
    ):
        rows.append(_row(name, measure(stable), measure(canary), most=most))
    slower = rows[-1].canary / rows[-1].stable if rows[-1].stable else float("nan")
    return [*rows, _row("p99 ratio", None, slower, most=limits.max_p99_ratio)]


def _row(name, stable, canary, least=None, *, most=None):
    # Comparisons with NaN are false.
    kept = canary >= least if most is None else canary <= most
    limit = f"at least {least:g}" if most is None else f"at most {most:g}"
    return Row(name, stable, canary, limit, bool(kept))


def problem_of(rows: list[Row], canary: str) -> str | None:
    """Returns a clause about the first limit that the new version does not meet, or None."""
    for row in rows:
        if not row.kept:
            return f"{row.name} of {canary} must be {row.limit}, but is {row.canary:.4g}"
    return None


def table(rows: list[Row], head: list[str]) -> str:
    """Formats rows as a table. `head` names the first three columns: measure, old, new version."""
    lines = [[*head, "limit", ""]]
    for row in rows:
        numbers = ["" if value is None else f"{value:.4g}" for value in (row.stable, row.canary)]
        lines.append([row.name, *numbers, row.limit, "ok" if row.kept else "NOT KEPT"])
    return align(lines, left=(0, 3, 4))


def as_dict(rows: list[Row], first: str, second: str) -> dict[str, dict]:
    """Converts rows for JSON.

    Args:
        rows: Rows as from `judge`.
        first: Key of the old version's values.
        second: Key of the new version's values.
    """
    return {
        row.name: {
            first: finite(row.stable),
            second: finite(row.canary),
            "limit": row.limit,
            "kept": row.kept,
        }
        for row in rows
    }


def finite(value: float | None) -> float | None:
    """Converts a number for JSON: None for NaN and infinity."""
    return value if value is not None and math.isfinite(value) else None
