"""Checks that a servable ranks as its run: `python -m tfrec_attn.export.verify`.

It needs neither the code of the export nor that of the models.
"""

import json
import sys

from tfrec_attn.cli.arguments import Arguments, add_split, path
from tfrec_attn.cli.terminal import align, reporting
from tfrec_attn.errors import counted
from tfrec_attn.runtime.process import import_tensorflow


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        Exit status: 0 if the servable ranks as the run, 1 if it does not, 2 if the servable or the
        run cannot be used.
    """
    parser = Arguments(
        prog=f"python -m {__package__}.verify",
        description="Ranks the held-out events of a run through a SavedModel, without the code "
        "that made it, and compares the metrics.",
    )
    parser.add_argument(
        "servable",
        type=path,
        help="version folder that python -m tfrec_attn.export has written, or the folder of its "
        "versions",
    )
    parser.add_argument(
        "--run", type=path, required=True, help="folder that tfrec_attn.train has written"
    )
    add_split(parser)
    parsed = parser.parse_args(arguments)
    import_tensorflow()
    from .agreement import compare

    report = compare(parsed.servable, parsed.run, parsed.split)
    sys.stdout.write(f"{json.dumps(report, indent=2) if parsed.json else _table(report)}\n")
    if report["difference"]:
        sys.stderr.write(f"error: {report['difference']}\n")
    return 1 if report["difference"] else 0


def _table(report: dict) -> str:
    lines = [[report["split"], "run", "servable", "difference", "recommend"]]
    for name, row in report["metrics"].items():
        figures = [f"{row['run']:.8f}", f"{row['servable']:.8f}", f"{row['difference']:+.1e}"]
        of_lists = "" if row["recommend"] is None else f"{row['recommend']:.8f}"
        lines.append([name, *figures, of_lists])
    k, recall = report["recommend"]["k"], report["recommend"]["recall"]
    of_index = "" if recall is None else f"; recall@{k} of the index {recall:.4f}"
    return (
        f"{align(lines)}\n\n{counted(report['events'], 'event', form='')} and lists of {k}; "
        f"evaluate.repeats={report['repeats']}{of_index}."
        + ("" if report["difference"] else f" {_verdict(report)}")
    )


def _verdict(report: dict) -> str:
    if report["matrix"] == "float32":
        return "The servable ranks as its run."
    return (
        f"With its {report['matrix']} vectors, the servable has the metrics of its run up to "
        f"{report['tolerance']:.4f}."
    )


if __name__ == "__main__":
    sys.exit(main())
