"""Moves the label stable to the version of canary if canary meets all limits.

python -m serving.promote --target HOST:PORT --model NAME --run RUN --config FILE --limits FILE
"""

import argparse
import functools
import json
import sys
from collections.abc import Sequence

from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.cli.terminal import reporting
from tfrec_attn.replay.measured_run import read_events

from .checks.canary import as_dict, judge, problem_of, read_limits, table
from .checks.paired_replay import replay
from .cli.packages import importing
from .cli.shared_options import PREVIOUS, add_label_options

_SECONDS = 5.0  # timeout of a request


@reporting(ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 if both labels are on the version of canary, 1 if a limit or the server prevents it, 2 for
        invalid files or options.
    """
    parsed = _parser().parse_args(arguments)
    with importing(stubs_alone=True):
        from .checks import labels  # noqa: F401
    return _promote(parsed)


def _promote(parsed) -> int:
    from .checks.labels import LabelledModel

    limits, events = read_limits(parsed.limits), read_events(parsed.run)
    labelled = LabelledModel(parsed.target, parsed.model, parsed.config)
    if parsed.version is not None:
        labelled.version(parsed.stable)
        labelled.move({parsed.canary: parsed.version}, seconds=parsed.load_seconds, unload=True)
    versions = {label: labelled.version(label) for label in (parsed.stable, parsed.canary)}
    if len(set(versions.values())) < 2:
        sys.stdout.write(
            f"{parsed.stable} and {parsed.canary} are both version {versions[parsed.stable]}: "
            "nothing to move.\n"
        )
        return 0
    chosen = events.gather_every(-(-len(events) // limits.requests))
    rows = _judged(parsed, chosen.select("user_id", "history").rows(), limits)
    sys.stdout.write(_report(parsed, versions, len(chosen), rows))
    if problem := problem_of(rows, parsed.canary):
        stays = f"{parsed.stable} stays at version {versions[parsed.stable]}"
        sys.stderr.write(f"error: {problem}; {stays}.\n")
        return 1
    labelled.move(_moves(parsed, labelled.file.labels, versions))
    if not parsed.json:
        sys.stdout.write(
            f"{parsed.stable} moved from version {versions[parsed.stable]} to "
            f"{versions[parsed.canary]}.\n"
        )
    return 0


def _judged(parsed, requests, limits) -> list:
    """The measures of both labels, after the same requests to both."""
    from .clients.grpc_client import GrpcClient

    ask = functools.partial(GrpcClient, parsed.target, parsed.model, timeout=_SECONDS, retries=0)
    with ask(label=parsed.stable) as stable, ask(label=parsed.canary) as canary:
        return judge(*replay((stable, canary), requests, limits.k), limits)


def _moves(parsed, labels, versions) -> dict[str, int]:
    """The labels that a promotion moves, and where to."""
    moves = {parsed.stable: versions[parsed.canary]}
    # A file with this label records the version to roll back to.
    if parsed.stable == "stable" and PREVIOUS in labels:
        moves[PREVIOUS] = versions[parsed.stable]
    return moves


def _report(parsed, versions, requests, rows) -> str:
    if not parsed.json:
        head = [f"{label} {version}" for label, version in versions.items()]
        return f"{table(rows, [f'{requests} requests', *head])}\n"
    report = {
        "versions": versions,
        "requests": requests,
        "measures": as_dict(rows, "stable", "canary"),
        "within_limits": all(row.kept for row in rows),
    }
    return json.dumps(report, indent=2) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog=f"python -m {__package__}.promote",
        description="Replays held-out requests on two labelled versions, and moves the label of "
        "the old one if the new one meets all limits.",
    )
    parser.add_argument("--target", required=True, metavar="HOST:PORT", help="gRPC server")
    add_label_options(parser)
    parser.add_argument(
        "--run",
        type=path,
        required=True,
        metavar="RUN",
        help="run of tfrec_attn.train, whose test events are replayed",
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
    parser.add_argument(
        "--version",
        type=int,
        metavar="N",
        help="serve this version as canary first (default: the version that canary has)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
