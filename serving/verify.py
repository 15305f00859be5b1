"""Checks that a served model has the metrics of its run.

python -m serving.verify --target HOST:PORT [--rest URL] --model NAME --run RUN
"""

import argparse
import json
import sys
from collections.abc import Sequence

from tfrec_attn.cli.arguments import Arguments, add_split, path, require_at_least
from tfrec_attn.cli.terminal import align, reporting
from tfrec_attn.errors import counted

from .cli.packages import importing

_ROUNDING = 1e-6


@reporting(ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        Exit status: 0 if all metrics are those of the run, 1 if a metric differs or no server
        responds, 2 if the run or an option is invalid.
    """
    parsed = _parser().parse_args(arguments)
    require_at_least(1, parsed, "limit", "rows")
    require_at_least(0, parsed, "tolerance")
    with importing():
        from .checks.agreement import compare
    options = {name: value for name, value in vars(parsed).items() if name != "json"}
    report = compare(**options)
    sys.stdout.write(f"{json.dumps(report, indent=2) if parsed.json else _table(report)}\n")
    if report["difference"]:
        sys.stderr.write(f"error: {report['difference']}\n")
    return 1 if report["difference"] else 0


def _table(report: dict) -> str:
    ways = report["ways"].values()
    same = ["vectors, same events"] * any(one["events"] < report["events"] for one in ways)
    columns = ["run", "vectors", *same, *report["ways"]]
    lines = [["", *columns]]
    for name, row in report["metrics"].items():
        lines.append(
            [name, *("" if row[column] is None else f"{row[column]:.8f}" for column in columns)]
        )
    ways = "".join(
        f"\n{way}: {counted(one['events'], 'list', form='')} of {one['k']}"
        for way, one in report["ways"].items()
    )
    return (
        f"{align(lines)}\n\n{counted(report['events'], 'event', form='')} by their vectors, "
        f"evaluate.repeats={report['repeats']}{ways}"
        + ("" if report["difference"] else f"\n{_verdict(report['tolerance'])}")
    )


def _verdict(tolerance: float) -> str:
    if tolerance <= _ROUNDING:
        return "The server ranks as the run."
    return f"The server has the metrics of the run up to {tolerance:g}."


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog=f"python -m {__package__}.verify",
        description="Replays the held-out events of a run on a running server, and compares the "
        "metrics with those of the run.",
    )
    parser.add_argument("--target", required=True, metavar="HOST:PORT", help="gRPC server")
    parser.add_argument(
        "--rest",
        metavar="URL",
        help="its REST interface, such as http://127.0.0.1:8501 (default: not tried)",
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="model that is served")
    parser.add_argument(
        "--run",
        type=path,
        required=True,
        metavar="RUN",
        help="folder that tfrec_attn.train has written",
    )
    add_split(parser)
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="number of events whose lists are compared (default: all); vectors rank all",
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=32,
        metavar="N",
        help="most of a request, at most the server's max_batch_size (default: 32)",
    )
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="show, but do not compare, lists of a model exported with --index ivf",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=_ROUNDING,
        metavar="X",
        help="largest difference of a metric by vectors (default: 1e-6); for a model exported with "
        "--matrix int8 or bfloat16, what export.verify allows",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
