"""A new version, its canary label, and the limits that it must keep to replace the old one."""

import contextlib
import dataclasses
import difflib
import time
from pathlib import Path

import polars as pl
import yaml

from tfrec_attn.errors import ConfigError, first_line

from ..clients.grpc_client import GrpcClient
from ..clients.responses import ClientError

_SECONDS = 5.0  # timeout of a request


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
                f"{path} has {name}, which is no limit; "
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
        raise ConfigError(f"{name} in {path} must be {expected}, but is {value!r}.")
    return value


@dataclasses.dataclass(frozen=True)
class Replayed:
    """The responses of one version.

    Attributes:
        items: Items of each request, None if it was not answered.
        popular: Whether each response has popular items.
        seconds: Latency of each response.
    """

    items: list[list[str] | None]
    popular: list[bool]
    seconds: list[float]


def replay(
    target: str, model: str, labels: tuple[str, str], events: pl.DataFrame, k: int
) -> list[Replayed]:
    """Sends the same requests to two versions in turn, so that other load slows both.

    Args:
        target: HOST:PORT.
        model: Name of the model.
        labels: Labels of the versions.
        events: Held-out events.
        k: Number of items of a request.

    Raises:
        ClientError: If the server cannot be reached.
    """
    clients = [
        GrpcClient(target, model, label=label, timeout=_SECONDS, retries=0) for label in labels
    ]
    replayed = [Replayed([], [], []) for _ in labels]
    try:
        for client in clients:
            # The first request also connects.
            client.recommend([], k=1)
        for number, (user, history, _) in enumerate(events.rows()):
            for which in (0, 1) if number % 2 else (1, 0):
                begin = time.perf_counter()
                try:
                    answer = clients[which].recommend(history, user, k=k)
                except ClientError:
                    replayed[which].items.append(None)
                    continue
                replayed[which].seconds.append(time.perf_counter() - begin)
                replayed[which].items.append(answer.items)
                replayed[which].popular.append(answer.source == "popular")
    finally:
        for client in clients:
            client.close()
    return replayed


@dataclasses.dataclass(frozen=True)
class Row:
    """A measure of both versions with its limit, and whether canary keeps it.

    `stable` is None for a measure of the two versions together.
    """

    name: str
    stable: float | None
    canary: float
    limit: str
    kept: bool


def judge(stable: Replayed, canary: Replayed, limits: CanaryLimits) -> list[Row]:
    """Computes all measures of `CanaryLimits`. A limit is not kept if its measure is missing."""
    overlap = _mean(
        [
            len({*old} & {*new}) / max(len(old), len(new)) if old or new else 1.0
            for old, new in zip(stable.items, canary.items, strict=True)
            if old is not None and new is not None
        ]
    )
    rows = [_row(f"overlap@{limits.k}", None, overlap, least=limits.min_overlap)]
    for name, measure, most in (
        ("popular share", lambda one: _mean(one.popular), limits.max_popular_share),
        (
            "empty share",
            lambda one: _mean([not items for items in one.items if items is not None]),
            limits.max_empty_share,
        ),
        (
            "error share",
            lambda one: _mean([items is None for items in one.items]),
            limits.max_error_share,
        ),
        ("p50 ms", lambda one: 1000 * _quantile(one.seconds, 0.5), limits.max_p50_ms),
        ("p99 ms", lambda one: 1000 * _quantile(one.seconds, 0.99), limits.max_p99_ms),
    ):
        rows.append(_row(name, measure(stable), measure(canary), most=most))
    slower = rows[-1].canary / rows[-1].stable if rows[-1].stable else float("nan")
    return [*rows, _row("p99 ratio", None, slower, most=limits.max_p99_ratio)]


def _row(name, stable, canary, *, least=None, most=None):
    # NaN keeps no limit.
    kept = canary >= least if most is None else canary <= most
    limit = f"at least {least:g}" if most is None else f"at most {most:g}"
    return Row(name, stable, canary, limit, bool(kept))


def _mean(values):
    return sum(values) / len(values) if values else float("nan")


def _quantile(values, share):
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else float("nan")
