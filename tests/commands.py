"""Commands that run in the process of the tests, and what they leave."""

import contextlib
import csv
import io
import json
import re
from importlib.metadata import version
from pathlib import Path

TINY = [
    "data.events=1500",
    "train.epochs=2",
    "model.dim=8",
    "train.batch_size=64",
    "train.negatives=2",
    "evaluate.bootstrap=50",
    "runtime.steps_per_execution=1",
]
METRICS = ["HR@5", "NDCG@5", "HR@10", "NDCG@10", "HR@20", "NDCG@20", "MRR"]


def run_command(main, *arguments):
    """Runs the main function of a command, and returns (exit code, stdout, stderr)."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), error.getvalue()


def refused(main, *arguments):
    """Returns the sentence that a command ends with, which prints nothing else."""
    code, out, error = run_command(main, *arguments)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+[^.]\.\n", error), error
    return error.removeprefix("error: ").rstrip("\n")


def own_messages(error):
    """Returns stderr of a process without the messages of TensorFlow 2.16."""
    foreign = (
        r"WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:"
        if version("tensorflow").startswith("2.16.")
        else "(?!)"
    )
    return "".join(line for line in error.splitlines(keepends=True) if not re.match(foreign, line))


def tree(folder):
    """Returns path -> bytes of each file."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def history_of(folder):
    with open(folder / "history.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def assert_refused(result, code, *pieces):
    """The command ended with this code and one sentence with these pieces."""
    assert result[0] == code, result
    assert (
        result[2].startswith("error: ") and result[2].endswith("\n") and result[2].count("\n") == 1
    ), result[2]
    assert "Traceback" not in result[1] + result[2]
    for piece in pieces:
        assert piece in result[2]


def assert_sentence(error, *pieces):
    """An error is one sentence with these pieces."""
    text = str(error)
    assert text.endswith(".") and "\n" not in text, text
    for piece in pieces:
        assert piece in text, text
