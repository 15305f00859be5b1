"""Writes vectors of items and of users: `python -m tfrec_attn.vectors MODEL --items-to FILE`."""

import sys

from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.cli.terminal import reporting, write_line
from tfrec_attn.errors import counted
from tfrec_attn.runtime.process import import_tensorflow


@reporting(interrupted="the file that was being written is not there")
def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 2 for a model, arguments or files that cannot be used; 130 when interrupted.
    """
    parsed = _parser().parse_args(arguments)
    import_tensorflow()
    from tfrec_attn.lists.write_vectors import write_vectors

    report = write_vectors(**vars(parsed))
    for note in report.notes:
        sys.stderr.write(f"note: {note}\n")
    if report.items is not None:
        kinds = ("item without training events is", "items without training events are")
        left_out = f"; {counted(report.untrained, *kinds)} left out"
        items = counted(report.items, "item")
        write_line(
            f"Wrote {parsed.items_to}: vectors of {items} with {report.dim} numbers"
            f"{left_out if report.untrained else ''}."
        )
    if report.users is not None:
        kinds = ("user of whom nothing is known is", "users of whom nothing is known are")
        left_out = f"; {counted(report.unknown, *kinds)} left out"
        users = counted(report.users, "user")
        write_line(
            f"Wrote {parsed.users_to}: vectors of {users} with {report.dim} numbers"
            f"{left_out if report.unknown else ''}."
        )
    if report.has_prior:
        write_line(
            "The scores of this model have a prior or counts too, which are not in the vectors."
        )
    return 0


def _parser() -> Arguments:
    parser = Arguments(
        prog="python -m tfrec_attn.vectors",
        description="Writes vectors whose inner product is the score of an item for a user.",
    )
    parser.add_argument("model", type=path, metavar="MODEL", help="a run, or a servable")
    for option, text in (
        (
            "--items-to",
            "new file for the items: .parquet with item_id and vector, or .npy with the ids in "
            ".txt beside it",
        ),
        ("--users-to", "new file for the users, in the same formats"),
        ("--users", "ids of the users, one per line (default: all users of the run's log)"),
        ("--histories", "users and histories, as for tfrec_attn.recommend"),
    ):
        parser.add_argument(option, type=path, metavar="FILE", help=text)
    return parser


if __name__ == "__main__":
    sys.exit(main())
