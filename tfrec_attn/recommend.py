"""Writes lists of items for many users: `python -m tfrec_attn.recommend MODEL --to FILE`."""

import sys

from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.cli.terminal import ProgressLine, fail, write_line
from tfrec_attn.errors import TfrecError, counted
from tfrec_attn.runtime.process import import_tensorflow


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 1 for histories that cannot be read to their end; 2 for a model, arguments or files that
        cannot be used; 130 when interrupted.
    """
    parsed, beam_options = _parse(arguments)
    line, to = ProgressLine(), parsed["to"]

    def progress(done, total, rate):
        line(f"{counted(done, 'user')}, {rate:,.0f} a second", done, total)

    import_tensorflow()
    from tfrec_attn.lists.write_lists import write_lists

    try:
        report = write_lists(
            parsed.pop("model"),
            parsed.pop("to"),
            **parsed,
            beam_options=beam_options,
            progress=progress,
        )
    except TfrecError as error:
        line.clear()
        return fail(error)
    except KeyboardInterrupt:
        line.clear()
        sys.stderr.write(f"interrupted: the same command resumes from {to}.partial\n")
        return 130
    line.clear()
    for note in report.notes:
        sys.stderr.write(f"note: {note}\n")
    write_line(_summary(report, to))
    return 0


def _parse(arguments: list[str] | None) -> tuple[dict[str, object], list[str] | None]:
    """Returns the arguments of `write_lists`, and the options of Beam if a runner is given."""
    parser = _parser()
    parsed, others = parser.parse_known_args(arguments)
    found = vars(parsed)
    runner = found.pop("runner")
    if runner is None:
        parser.parse_args(arguments)
        return found, None
    return found, [f"--runner={runner}", *others]


def _parser() -> Arguments:
    parser = Arguments(
        prog="python -m tfrec_attn.recommend",
        description="Writes lists of recommended items for many users. An interrupted run is "
        "resumed.",
    )
    parser.add_argument("model", type=path, metavar="MODEL", help="a run, or a servable")
    parser.add_argument(
        "--to",
        type=path,
        required=True,
        metavar="FILE",
        help="new file: .parquet, .csv, .csv.gz, .jsonl or .jsonl.gz",
    )
    for option, text in (
        ("--users", "ids of the users, one per line (default: all users of the run's log)"),
        (
            "--histories",
            "users and histories: .jsonl or .parquet with user_id and history, or a log of events "
            "in the format of the run's log; the model need not know the users",
        ),
        ("--exclude", "ids of items that are never recommended, one per line"),
        ("--allow", "ids of the items that can be recommended, one per line (default: all items)"),
    ):
        parser.add_argument(option, type=path, metavar="FILE", help=text)
    parser.add_argument(
        "--k", type=int, help="items per list (default: 50, or all if there are fewer)"
    )
    parser.add_argument(
        "--per-category", type=int, metavar="N", help="at most N items of a category in a list"
    )
    parser.add_argument(
        "--allow-category",
        action="append",
        metavar="CATEGORY",
        help="recommend only items of this category; repeatable",
    )
    for option, name, text in (
        ("--popularity-penalty", "P", "subtract P ln(1 + popularity) from the scores"),
        ("--diversity", "D", "from 0 to 1: weight of the diversity of a list, against the scores"),
    ):
        parser.add_argument(option, type=float, default=0.0, metavar=name, help=text)
    parser.add_argument(
        "--runner",
        metavar="NAME",
        help="make the lists on the workers of Apache Beam, such as FlinkRunner; further options "
        "go to Beam",
    )
    parser.add_argument(
        "--work", type=path, metavar="DIR", help="folder that the workers of Beam share"
    )
    return parser


def _summary(report, to: str) -> str:
    new = report.users - report.resumed
    rate = new / max(report.seconds, 1e-9)
    lines = [
        f"Wrote {to}: lists of {counted(report.k, 'item')} for {counted(report.users, 'user')}; "
        f"{new:,} in {report.seconds:,.1f} s, {rate:,.0f} a second."
    ]
    if report.popular:
        of_users = ("user of whom nothing is known gets", "users of whom nothing is known get")
        lines.append(f"{counted(report.popular, *of_users)} the popular items.")
    if report.short:
        lists = counted(report.short, "list is", "lists are")
        lines.append(f"{lists} shorter, because no more items are left.")
    if report.unknown_events:
        of_events = ("event of the histories has", "events of the histories have")
        lines.append(
            f"{counted(report.unknown_events, *of_events)} an item that the model does not know; "
            "such events do not count."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
