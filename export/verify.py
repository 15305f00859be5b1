"""Proves that a servable ranks as its run reports: `python -m export.verify SERVABLE --run RUN`.

It needs neither the code that made the servable nor that of the model.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 if all metrics are those of the run, 1 if one is not, 2 if the servable or the run cannot
        be used.
    """
    parser = _Arguments(
        prog=f"python -m {__package__}.verify",
        description="Ranks the held-out events of a run through a SavedModel, without the code "
        "that made it, and compares the metrics.",
    )
    parser.add_argument(
        "servable",
        help="version folder that python -m tfrec_attn.export has written, or the folder of its "
        "versions",
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
        from .runner import ServableError
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
        figures = [f"{row['run']:.8f}", f"{row['servable']:.8f}", f"{row['difference']:+.1e}"]
        of_lists = "" if row["recommend"] is None else f"{row['recommend']:.8f}"
        lines.append([name, *figures, of_lists])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )
    k, recall = report["recommend"]["k"], report["recommend"]["recall"]
    of_index = "" if recall is None else f"; recall@{k} of the index {recall:.4f}"
    return (
        f"{table}\n\n{report['events']} events and lists of {k}; "
        f"evaluate.repeats={report['repeats']}{of_index}."
    )


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Hides what TensorFlow's C++ side writes to stderr while it loads, unless loading fails."""
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
