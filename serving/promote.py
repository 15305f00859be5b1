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
from .cli.shared_options import CANARY, PREVIOUS, STABLE, add_label_options

_SECONDS = 5.0  # timeout of a request


@reporting(ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        Exit status: 0 if stable now has the version of canary, 1 if a limit or the server prevents
        it, 2 for invalid files or options.
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
        labelled.version(STABLE)
        labelled.move({CANARY: parsed.version}, seconds=parsed.load_seconds, unload=True)
    old, new = labelled.version(STABLE), labelled.version(CANARY)
    if old == new:
        sys.stdout.write(f"stable and canary are both version {old}: nothing to move.\n")
        return 0
    chosen = events.gather_every(-(-len(events) // limits.requests))
    rows = _judged(parsed, chosen.select("user_id", "history").rows(), limits)
    sys.stdout.write(_report(parsed, {STABLE: old, CANARY: new}, len(chosen), rows))
    if problem := problem_of(rows, CANARY):
        sys.stderr.write(f"error: {problem}; stable stays at version {old}.\n")
        return 1
    # If the file has the label previous, the old version is kept there for a rollback.
    labelled.move({STABLE: new, **({PREVIOUS: old} if PREVIOUS in labelled.file.labels else {})})
    if not parsed.json:
        sys.stdout.write(f"stable moved from version {old} to {new}.\n")
    return 0


def _judged(parsed, requests, limits) -> list:
    """Sends the same requests to both labels, and returns the measures of both."""
    from .clients.grpc_client import GrpcClient

    ask = functools.partial(GrpcClient, parsed.target, parsed.model, timeout=_SECONDS, retries=0)
    with ask(label=STABLE) as stable, ask(label=CANARY) as canary:
        return judge(*replay((stable, canary), requests, limits.k), limits)


def _report(parsed, versions, requests, rows) -> str:
    if not parsed.json:
        head = [f"{label} {version}" for label, version in versions.items()]
        return f"{table(rows, [f'{requests} requests', *head])}\n"
    report = {
        "versions": versions,
        "requests": requests,
        "measures": as_dict(rows, STABLE, CANARY),
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
        "--version",
        type=int,
        metavar="N",
        help="serve this version as canary first (default: the version that canary has)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
