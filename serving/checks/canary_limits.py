"""The limits that a new version must keep to replace the old one."""

import contextlib
import dataclasses
import difflib
from pathlib import Path

import yaml

from .run_directory import RunError


@dataclasses.dataclass(frozen=True)
class CanaryLimits:
    """Limits on the responses of a new version. A file must give all of them.

    Args:
        requests: Most held-out events that are replayed.
        k: Number of items of a request.
        min_overlap: Mean share of items that both versions recommend, 0 to 1.
        max_popular_share: Share of responses with popular items, because nothing of the history is
            known, 0 to 1.
        max_empty_share: Share of responses without items, 0 to 1.
        max_error_share: Share of requests that are not answered, 0 to 1.
        max_p50_ms, max_p99_ms: Percentiles of the latency in milliseconds.
        max_p99_ratio: Ratio of the p99 of the new version to that of the old one.
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
        RunError: If the file cannot be read, or a limit is missing, unknown or invalid.
    """
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunError(
            f"{path} cannot be read as YAML ({str(error).splitlines()[0].rstrip('.')}); "
            "give a file of limits."
        ) from None
    names = {field.name: field.type for field in dataclasses.fields(CanaryLimits)}
    if not isinstance(found, dict):
        raise RunError(f"{path} must have one limit a line, such as k: 10, but is something else.")
    for name in found:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            raise RunError(
                f"{path} has {name}, which is no limit; "
                f"{f'did you mean {near[0]}?' if near else 'leave it out.'}"
            )
    missing = [name for name in names if name not in found]
    if missing:
        raise RunError(f"{path} lacks {missing[0]}; give every limit, so that none is forgotten.")
    return CanaryLimits(
        **{name: _number(path, name, found[name], kind) for name, kind in names.items()}
    )


def _number(path, name, value, kind):
    whole, share = kind is int, name == "min_overlap" or name.endswith("_share")
    low, high = (1, 10**9) if whole else (0.0, 1.0 if share else float("inf"))
    if isinstance(value, str) and not whole:
        # YAML reads 1e-3 as text.
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
        raise RunError(f"{name} in {path} must be {expected}, but is {value!r}.")
    return value
