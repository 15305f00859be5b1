"""Makes a page about finished runs: `python -m tfrec_attn.report RUN ...`."""

import sys
from pathlib import Path

from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.cli.terminal import reporting, write_line
from tfrec_attn.files.writing import check_output, write_output
from tfrec_attn.runtime.process import import_tensorflow
from tfrec_attn.studies.report import BEGINNING


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command, and returns 0, or 2 for runs, users or a file that cannot be used."""
    parser = Arguments(
        prog="python -m tfrec_attn.report",
        description="Makes one HTML page about finished runs of the same protocol: metrics against "
        "the baselines, learning curves, slices, examples with attention, neighbours of items and "
        "settings. It needs the logs that the runs were trained on.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=path,
        metavar="RUN",
        help="folder that tfrec_attn.train has written; the others are compared with the first",
    )
    parser.add_argument(
        "--to",
        type=path,
        default="report.html",
        metavar="FILE",
        help="file to write (default: report.html)",
    )
    parser.add_argument(
        "--user",
        action="append",
        default=[],
        metavar="ID",
        help="show the test event of this user, several times for several users (default: five "
        "events of each run, from the best rank to the worst)",
    )
    parsed = parser.parse_args(arguments)
    check_output(parsed.to, BEGINNING, "--to")
    import_tensorflow()
    from tfrec_attn.studies.report.report import report

    write_output(parsed.to, report(parsed.runs, parsed.user), BEGINNING, "--to")
    write_line(f"Wrote {Path(parsed.to)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
