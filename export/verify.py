"""Tries a SavedModel on the events that its run held out: `python -m export.verify SERVABLE --run
RUN [--split test] [--json]`.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0 where every metric is that of the run, 1 where one is not, 2 for a
    servable or a run that cannot be used.
    """
    parser = _Arguments(
        prog=f"python -m {__package__}.verify",
        description="Ranks the held-out events of a run through a SavedModel, without the code that made it, and compares the metrics.",
    )
    parser.add_argument(
        "servable",
        help="version folder that python -m tfrec_attn.export has written, or the folder of its versions",
    )
    parser.add_argument("--run", required=True, help="folder that tfrec_attn.train has written")
    parser.add_argument(
        "--split",
        choices=("valid", "test"),
        default="test",
        help="which held-out events (default: test)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parsed = parser.parse_args(arguments)
    with _held_back_stderr():
        from .agreement import compare
        from .session import ServableError
    try:
        report = compare(parsed.servable, parsed.run, parsed.split)
    except ServableError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{json.dumps(report, indent=2) if parsed.json else _table(report)}\n")
    if report["difference"]:
        sys.stderr.write(f"error: {report['difference']}\n")
    return 1 if report["difference"] else 0


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str):
        super().error(message if len(message) <= 300 else f"{message[:200]}...{message[-97:]}")


def _table(report: dict) -> str:
    lines = [[report["split"], "run", "servable", "difference", "recommend"]]
    for name, row in report["metrics"].items():
        of_lists = "" if row["recommend"] is None else f"{row['recommend']:.8f}"
        lines.append(
            [
                name,
                f"{row['run']:.8f}",
                f"{row['servable']:.8f}",
                f"{row['difference']:+.1e}",
                of_lists,
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    table = "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )
    lists = report["recommend"]
    text = (
        f"{report['events']} events and lists of {lists['k']}; evaluate.repeats={report['repeats']}"
    )
    recall = (
        ""
        if lists["recall"] is None
        else f"; recall@{lists['k']} of the index {lists['recall']:.4f}"
    )
    return f"{table}\n\n{text}{recall}."


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Keeps the notes that TensorFlow's C++ side writes while it loads; they are shown when loading
    fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


if __name__ == "__main__":
    sys.exit(main())
