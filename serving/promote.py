"""Moves the label stable to the version of canary if canary keeps all limits.

python -m serving.promote --target HOST:PORT --model NAME --run RUN --config FILE --limits FILE
"""

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Sequence

from .cli.arguments import Arguments, path, shorten
from .cli.packages import PackageError, importing
from .clients.responses import ClientError

_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 if both labels are on the version of canary, 1 if a limit or the server prevents it, 2 for
        invalid files or options.
    """
    parsed = _parser().parse_args(arguments)
    try:
        with importing():
            from .checks import labels  # noqa: F401
            from .checks.run_directory import RunError
    except PackageError as error:
        sys.stderr.write(f"error: {shorten(str(error), 1000)}\n")
        return 2
    try:
        return _promote(parsed)
    except (ClientError, RunError, ValueError) as error:
        sys.stderr.write(f"error: {shorten(str(error), 1000)}\n")
        return 1 if isinstance(error, ClientError) else 2


def _promote(parsed) -> int:
    from .checks.canary_limits import read_limits
    from .checks.labels import LabelledModel
    from .checks.run_directory import read_events

    limits, events = read_limits(parsed.limits), read_events(parsed.run)
    labelled = LabelledModel(parsed.target, parsed.model, parsed.config)
    versions = {label: labelled.version(label) for label in (parsed.stable, parsed.canary)}
    if len(set(versions.values())) < 2:
        sys.stdout.write(
            f"{parsed.stable} and {parsed.canary} are both version {versions[parsed.stable]}: "
            "nothing to move.\n"
        )
        return 0
    chosen = events[:: -(-len(events) // limits.requests)]
    rows = judge(
        *replay(parsed.target, parsed.model, (parsed.stable, parsed.canary), chosen, limits.k),
        limits,
    )
    sys.stdout.write(_report(parsed, versions, len(chosen), rows))
    failed = [row for row in rows if not row.kept]
    if failed:
        first = failed[0]
        sys.stderr.write(
            f"error: {first.name} of {parsed.canary} must be {first.limit}, "
            f"but is {first.canary:.4g}; {parsed.stable} stays at version "
            f"{versions[parsed.stable]}.\n"
        )
        return 1
    labelled.move(parsed.stable, versions[parsed.canary])
    if not parsed.json:
        sys.stdout.write(
            f"{parsed.stable} moved from version {versions[parsed.stable]} to "
            f"{versions[parsed.canary]}.\n"
        )
    return 0


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
    target: str, model: str, labels: tuple[str, str], events: Sequence, k: int
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
    from .clients.grpc_client import GrpcClient

    clients = [
        GrpcClient(target, model, label=label, timeout=_SECONDS, retries=0) for label in labels
    ]
    replayed = [Replayed([], [], []) for _ in labels]
    try:
        for client in clients:
            # The first request also connects.
            client.recommend([], k=1)
        for number, event in enumerate(events):
            for which in (0, 1) if number % 2 else (1, 0):
                begin = time.perf_counter()
                try:
                    answer = clients[which].recommend(event.history, event.user, k=k)
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


def judge(stable: Replayed, canary: Replayed, limits) -> list[Row]:
    """Computes all measures of `CanaryLimits`. A limit is not kept if its measure is missing."""
    pairs = [
        (old, new)
        for old, new in zip(stable.items, canary.items, strict=True)
        if old is not None and new is not None
    ]
    overlap = _mean(
        [
            len({*old} & {*new}) / max(len(old), len(new), 1) if old or new else 1.0
            for old, new in pairs
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
    return Row(
        name,
        stable,
        canary,
        f"at least {least:g}" if most is None else f"at most {most:g}",
        bool(kept),
    )


def _mean(values):
    return sum(values) / len(values) if values else float("nan")


def _quantile(values, share):
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else float("nan")


def _finite(value):
    return value if value is not None and math.isfinite(value) else None


def _report(parsed, versions, requests, rows) -> str:
    if parsed.json:
        measures = {
            row.name: {
                "stable": _finite(row.stable),
                "canary": _finite(row.canary),
                "limit": row.limit,
                "kept": row.kept,
            }
            for row in rows
        }
        moved = all(row.kept for row in rows)
        return (
            json.dumps(
                {
                    "versions": versions,
                    "requests": requests,
                    "measures": measures,
                    "within_limits": moved,
                },
                indent=2,
            )
            + "\n"
        )
    lines = [
        [
            f"{requests} requests",
            *(f"{label} {version}" for label, version in versions.items()),
            "limit",
            "",
        ]
    ]
    for row in rows:
        numbers = ["" if value is None else f"{value:.4g}" for value in (row.stable, row.canary)]
        lines.append([row.name, *numbers, row.limit, "ok" if row.kept else "NOT KEPT"])
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    sides = (str.ljust, str.rjust, str.rjust, str.ljust, str.ljust)
    table = (
        "  ".join(side(text, width) for side, text, width in zip(sides, line, widths, strict=True))
        for line in lines
    )
    return "".join(f"{line.rstrip()}\n" for line in table)


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog=f"python -m {__package__}.promote",
        description="Replays held-out requests on two labelled versions, and moves the label of "
        "the old one if the new one keeps all limits.",
    )
    parser.add_argument("--target", required=True, metavar="HOST:PORT", help="gRPC server")
    parser.add_argument("--model", required=True, metavar="NAME", help="model that is served")
    parser.add_argument(
        "--run",
        type=path,
        required=True,
        metavar="RUN",
        help="run of tfrec_attn.train, whose test events are replayed",
    )
    parser.add_argument(
        "--config",
        type=path,
        required=True,
        metavar="FILE",
        help="models.config of the server; the moved label is written into it",
    )
    parser.add_argument(
        "--limits",
        type=path,
        required=True,
        metavar="FILE",
        help="YAML, such as serving/deploy/limits.yaml",
    )
    parser.add_argument(
        "--stable", default="stable", metavar="LABEL", help="label that is moved (default: stable)"
    )
    parser.add_argument(
        "--canary",
        default="canary",
        metavar="LABEL",
        help="label of the new version (default: canary)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
