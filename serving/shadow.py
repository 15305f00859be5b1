"""Compares two served models on a log of requests.

python -m serving.shadow --model MODEL[:LABEL] --against MODEL[:LABEL] --requests FILE
"""

import argparse
import collections
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tfrec_attn.cli.arguments import Arguments, path, require_at_least
from tfrec_attn.cli.terminal import align, reporting
from tfrec_attn.errors import ConfigError
from tfrec_attn.replay.request_log import read_request_log

from .checks.canary import as_dict, finite, judge, problem_of, read_limits, table
from .checks.paired_replay import (
    answered_by_both,
    empty_share,
    mean,
    mean_correlation,
    mean_overlap,
    popular_share,
    quantile,
    replay,
)
from .cli.packages import importing
from .cli.shared_options import REFERENCE, ModelReference, add_target, parse_reference

_K, _MOST = 10, 1000
_PERCENTILES = (0.5, 0.95, 0.99)


@reporting(ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        Exit status: 0, or 1 if a limit of --limits is not met or a server does not respond, or 2
        for an invalid file or invalid options.
    """
    parsed = _parser().parse_args(arguments)
    require_at_least(1, parsed, "k", "most")
    with importing(stubs_alone=True):
        from .clients import grpc_client  # noqa: F401
    return _shadow(parsed)


def _shadow(parsed) -> int:
    limits = None if parsed.limits is None else read_limits(parsed.limits)
    k, most = parsed.k or _K, parsed.most or _MOST
    if limits is not None:
        k, most = parsed.k or limits.k, parsed.most or limits.requests
        limits = dataclasses.replace(limits, k=k)
    requests = _read(parsed.requests)
    chosen = requests.gather_every(-(-len(requests) // most))
    sides = (parsed.model, parsed.target), (parsed.against, parsed.against_target or parsed.target)
    first, second = (_open(*side, parsed.timeout) for side in sides)
    with first, second:
        replayed = replay((first, second), chosen.rows(), k)
    report = _measure(parsed, replayed, len(chosen), k)
    rows = [] if limits is None else judge(*replayed, limits)
    sys.stdout.write(f"{_as_json(report, rows) if parsed.json else _as_text(report, rows)}\n")
    problem = problem_of(rows, str(parsed.against))
    if problem:
        sys.stderr.write(f"error: {problem}.\n")
    return 1 if problem else 0


def _read(file):
    found = read_request_log(Path(file))
    if found is None:
        raise ConfigError(
            f"--requests {file} must be a request log, .jsonl with one request a line or .parquet "
            "with a column history."
        )
    return found


def _open(asked: ModelReference, target: str, timeout: float):
    from .clients.grpc_client import GrpcClient

    return GrpcClient(target, asked.model, asked.version, asked.label, timeout, retries=0)


def _measure(parsed, replayed, requests: int, k: int) -> dict:
    pairs = answered_by_both(*replayed)
    return {
        "requests": requests,
        "k": k,
        "answered_by_both": len(pairs),
        "overlap": finite(mean_overlap(*replayed)),
        "rank_correlation": finite(mean_correlation(*replayed)),
        "same_lists": finite(mean([one == other for one, other in pairs])),
        "models": {
            name: {"asked": str(asked), **_side(one)}
            for name, asked, one in zip(
                ("model", "against"), (parsed.model, parsed.against), replayed, strict=True
            )
        },
    }


def _side(replayed) -> dict:
    return {
        "popular_share": finite(popular_share(replayed)),
        "empty_share": finite(empty_share(replayed)),
        "errors": dict(sorted(collections.Counter(replayed.errors).items())),
        "latency_ms": {
            f"p{share * 100:.0f}": finite(1000 * quantile(replayed.seconds, share))
            for share in _PERCENTILES
        },
    }


def _as_json(report: dict, rows: list) -> str:
    if rows:
        report["limits"] = as_dict(rows, "model", "against")
        report["within_limits"] = all(row.kept for row in rows)
    return json.dumps(report, indent=2, ensure_ascii=False)


def _as_text(report: dict, rows: list) -> str:
    models = list(report["models"].values())
    asked = [one["asked"] for one in models]
    lines = [["", *asked]]
    for name in ("popular_share", "empty_share"):
        lines.append([name.replace("_", " "), *(_number(one[name]) for one in models)])
    for name in models[0]["latency_ms"]:
        lines.append([f"{name} ms", *(_number(one["latency_ms"][name]) for one in models)])
    errors = [
        ", ".join(f"{count} {status}" for status, count in one["errors"].items()) or "none"
        for one in models
    ]
    lines.append(["errors", *errors])
    text = (
        f"{report['requests']} requests, {report['answered_by_both']} answered by both\n"
        f"overlap@{report['k']} {_number(report['overlap'])}, rank correlation "
        f"{_number(report['rank_correlation'])}, same lists {_number(report['same_lists'])}\n\n"
        f"{align(lines)}"
    )
    return f"{text}\n\n{table(rows, ['limits', *asked])}" if rows else text


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog=f"python -m {__package__}.shadow",
        description="Sends each request of a log to two models, and compares lists and latencies.",
    )
    for option, text in (("--model", "model in service"), ("--against", "model that is compared")):
        parser.add_argument(
            option, type=parse_reference, required=True, metavar=REFERENCE, help=text
        )
    parser.add_argument(
        "--requests",
        type=path,
        required=True,
        metavar="FILE",
        help='.jsonl with lines such as {"user_id": "u1", "history": ["i1", "i2"]}, or .parquet',
    )
    add_target(parser)
    parser.add_argument(
        "--against-target",
        metavar="HOST:PORT",
        help="gRPC server of the second model (default: the same)",
    )
    parser.add_argument("--k", type=int, help=f"items of a request (default: {_K})")
    parser.add_argument(
        "--most",
        type=int,
        metavar="N",
        help=f"requests that are sent, evenly spread over the log (default: {_MOST})",
    )
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="SECONDS", help="of a request (default: 5)"
    )
    parser.add_argument(
        "--limits",
        type=path,
        metavar="FILE",
        help="YAML, such as serving/deploy/limits.yaml; also gives --k and --most",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


if __name__ == "__main__":
    sys.exit(main())
