"""What a new version may be like to take the place of the old one."""

import contextlib
import dataclasses
import difflib
from pathlib import Path

import yaml

from .run_directory import RunError


@dataclasses.dataclass(frozen=True)
class CanaryLimits:
    """Limits on the answers of a new version, all of which a file has to give.

    Args:
        requests: Replayed held-out events, at most.
        k: Items asked for.
        min_overlap: Mean share of the items of an answer that both versions give, 0 to 1.
        max_popular_share: Share of answers by popularity, because nothing of the history is known,
            0 to 1.
        max_empty_share: Share of answers without any item, 0 to 1.
        max_error_share: Share of requests that are not answered, 0 to 1.
        max_p50_ms, max_p99_ms: Milliseconds in which half, and 99 of 100, of the requests are
            answered.
        max_p99_ratio: The p99 of the new version over that of the old one.
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
    """Reads a YAML file.

    Raises:
        RunError: If it cannot be read or a limit is missing, unknown or makes no sense.
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
