"""Measures a server under load.

python -m serving.load_test --model NAME --items FILE [--rate R | --concurrency C]
"""

import argparse
import gc
import ipaddress
import json
import sys
from collections.abc import Sequence

from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.cli.terminal import reporting
from tfrec_attn.files.writing import check_output, write_output

from .checks import load_measurement
from .checks.load_measurement import Limits, closed_loop, open_loop
from .cli.packages import importing
from .cli.shared_options import add_target, add_version

# Largest values of the options.
_MAX = {
    "seconds": 3600,
    "requests": 1_000_000,
    "rate": 100_000,
    "concurrency": 1024,
    "connections": 1024,
}
_SECONDS, _CLIENTS, _CONNECTIONS, _DIFFERENT = 10, 16, 4, 1000
_TOOL = "tfrec-attn load test"
_BEGINNING = f'{{\n  "tool": "{_TOOL}"'  # of the files that --json writes


@reporting(ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        Exit status: 0 if all requests succeeded, 1 if a request failed, 2 for invalid options.
    """
    parsed = _parser().parse_args(arguments)
    _check(parsed)
    report = _measure(parsed)
    if parsed.json:
        text = json.dumps({"tool": _TOOL, **report}, indent=2)
        write_output(parsed.json, f"{text}\n", _BEGINNING, "--json")
    sys.stdout.write(f"{load_measurement.table(report)}\n")
    return 1 if report["errors"] else 0


def is_loopback(target: str) -> bool:
    """Returns whether a target is localhost, a loopback address or a Unix socket."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    host = (
        target.removeprefix("ipv4:").removeprefix("ipv6:").removeprefix("dns:").removeprefix("///")
    )
    host = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog=f"python -m {__package__}.load_test",
        description="Measures a server that answers recommend requests over gRPC, at a rate or "
        "from clients that send the next request after each response.",
    )
    add_target(parser)
    parser.add_argument(
        "--allow-remote", action="store_true", help="load a server that is not on this machine"
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="model that is asked")
    add_version(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--histories",
        type=path,
        metavar="FILE",
        help=".jsonl with a request a line, or .parquet, such as test.parquet of a run",
    )
    source.add_argument(
        "--items",
        type=path,
        metavar="FILE",
        help="an item a line, such as assets/items.txt of a servable; histories are drawn of it",
    )
    load = parser.add_mutually_exclusive_group()
    load.add_argument(
        "--rate", type=float, help="requests a second, whether or not earlier ones are answered"
    )
    load.add_argument(
        "--concurrency",
        type=int,
        help=f"clients that ask again when they are answered (default: {_CLIENTS})",
    )
    parser.add_argument(
        "--connections",
        type=int,
        help=f"that requests take turns on (default: 1, {_CONNECTIONS} of several clients)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help=f"length of the load (default: {_SECONDS:g}, or the most with --requests)",
    )
    parser.add_argument(
        "--requests", type=int, help="number of requests, if they fit into the time"
    )
    parser.add_argument("--k", type=int, default=10, help="number of items (default: 10)")
    parser.add_argument(
        "--timeout", type=float, default=1.0, metavar="SECONDS", help="of a request (default: 1)"
    )
    parser.add_argument(
        "--json", type=path, metavar="FILE", help="write the figures to this file too"
    )
    return parser


def _check(parsed: argparse.Namespace) -> None:
    for name, most in _MAX.items():
        value = getattr(parsed, name)
        if value is not None and not 0 < value <= most:
            raise ValueError(f"--{name} must be above 0 and at most {most}, but is {value}.")
    if not (parsed.allow_remote or is_loopback(parsed.target)):
        raise ValueError(
            f"--target {parsed.target} is not on this machine; "
            "give --allow-remote where its owner agrees to the load."
        )
    if not parsed.timeout > 0:
        raise ValueError(
            f"--timeout must be a number of seconds above 0, but is {parsed.timeout:g}."
        )
    if parsed.json is not None:
        check_output(parsed.json, _BEGINNING, "--json")


def _measure(parsed: argparse.Namespace) -> dict:
    with importing(stubs_alone=True):
        from .checks import load_target
        from .clients.grpc_client import GrpcClient
    if parsed.histories:
        histories = load_target.read_histories(parsed.histories, _DIFFERENT)
    else:
        histories = load_target.make_histories(parsed.items, _DIFFERENT)
    with GrpcClient(
        parsed.target,
        parsed.model,
        parsed.version,
        parsed.label,
        max(parsed.timeout, 5.0),
        retries=0,
    ) as client:
        client.recommend([])
    requests = load_target.requests_of(
        histories, parsed.model, parsed.version, parsed.label, parsed.k, client.separator
    )
    seconds = parsed.seconds or (_MAX["seconds"] if parsed.requests else _SECONDS)
    limits = Limits(seconds, parsed.requests or _MAX["requests"], parsed.timeout + 5)
    clients = parsed.concurrency or _CLIENTS
    connections = parsed.connections or (1 if parsed.rate else min(clients, _CONNECTIONS))
    with load_target.LoadTarget(parsed.target, requests, parsed.timeout, connections) as target:
        target.connect()
        # Garbage collection of all objects of TensorFlow takes as long as several requests.
        gc.collect()
        gc.freeze()
        if parsed.rate:
            samples = open_loop(target.send, parsed.rate, limits)
        else:
            samples = closed_loop(target.send, clients, limits)
    load = {"rate": parsed.rate} if parsed.rate else {"concurrency": clients}
    load["connections"] = connections
    return {
        "target": parsed.target,
        "model": parsed.model,
        **load,
        **load_measurement.summary(samples),
    }


if __name__ == "__main__":
    sys.exit(main())
