"""Clusters of real processes on this machine, compared with one process."""

import contextlib
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.commands import own_messages
from tfrec_attn import local_cluster, train
from tfrec_attn.runs import run

REPOSITORY = Path(__file__).resolve().parents[2]
MQSA = [
    "data.events=1500", "data.max_length=8", "model.name=mqsa_ted", "model.dim=8",
    "model.dropout=0", "train.loss=sampled_softmax", "train.negatives=16", "train.batch_size=16",
    "train.epochs=2", "train.l2=1e-3", "train.distillation.weight=0.1", "evaluate.bootstrap=0",
    # Each replica has its own dropout masks, and Adam amplifies rounding errors.
    "train.distillation.dropout=0", "train.optimizer=adagrad", "train.learning_rate=0.05",
]  # fmt: skip
ATTREC = [
    "data.events=1500",
    "model.dim=8",
    "train.batch_size=64",
    "train.epochs=1",
    "train.l2=1e-3",
    "evaluate.bootstrap=0",
]


def one_process(arguments, folder):
    with contextlib.redirect_stdout(io.StringIO()):
        assert train.main([*arguments, f"run_dir={folder}"]) == 0
    return folder


def together(arguments, folder):
    """Trains with two processes, and returns (exit code, stdout, stderr) of each."""
    processes = start([*arguments, f"run_dir={folder}"])
    outputs = [process.communicate(timeout=300) for process in processes]
    return [
        (process.returncode, out, own_messages(error))
        for process, (out, error) in zip(processes, outputs, strict=True)
    ]


def start(arguments):
    return local_cluster.start(
        2, arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
    )


def assert_the_same(one, many):
    for part in ("valid", "test"):
        expected, found = (
            json.loads((folder / "metrics.json").read_text())[part] for folder in (one, many)
        )
        assert found == pytest.approx(expected, abs=1e-6)
    for expected, found in zip(
        run.load_model(one).get_weights(), run.load_model(many).get_weights(), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_two_workers_train_as_one_process(tmp_path):
    one = one_process(MQSA, tmp_path / "one")
    first, second = together(MQSA, tmp_path / "many")
    assert (first[0], first[2]) == (0, ""), first[2][-2000:]
    assert second == (0, "", ""), second[2][-2000:]
    assert f"Next: python -m tfrec_attn.report {tmp_path / 'many'}\n" in first[1]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["many", "one"]
    assert_the_same(one, tmp_path / "many")


def recipe(target):
    """The command of a target of the Makefile, with this interpreter and without ARGS."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    python, *words = re.search(rf"^{target}:.*\n\t@(.+) \$\(ARGS\)$", makefile, flags=re.MULTILINE)[
        1
    ].split()
    assert python == ".venv/bin/python"
    return [sys.executable, *words]


def test_make_starts_the_processes(tmp_path):
    command = [*recipe("train-multi-worker"), *ATTREC, f"run_dir={tmp_path / 'many'}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert (done.returncode, own_messages(done.stderr)) == (0, "")
    one = one_process(ATTREC, tmp_path / "one")
    assert_the_same(one, tmp_path / "many")


def test_a_command_that_fails_gives_its_exit_code(tmp_path):
    command = [
        *recipe("train-multi-worker"),
        "--workers",
        "1",
        "train.epochs=none",
        f"run_dir={tmp_path / 'run'}",
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: train.epochs must be") and done.stderr.count("\n") == 1


def test_a_cluster_needs_a_worker(capsys):
    assert local_cluster.main(["--workers", "0"]) == 2
    assert capsys.readouterr().err == "error: --workers must be 1 or greater, but is 0.\n"


LONG = [*ATTREC, "train.epochs=100000", "train.patience=100000"]


def test_a_worker_that_dies_ends_the_others(tmp_path):
    processes = start([*LONG, f"run_dir={tmp_path / 'run'}"])
    try:
        # There is a line for each epoch, so the first epoch is saved now.
        lines = (line for line in processes[0].stdout if line.startswith("diagnostics:"))
        assert len(list(itertools.islice(lines, 2))) == 2
        os.kill(processes[1].pid, signal.SIGKILL)
        error = own_messages(processes[0].communicate(timeout=90)[1])
        assert processes[0].returncode == 1
        sentence = (
            "error: Another process of the cluster has failed: worker 1 does not answer any more; "
            "the last checkpoint is in "
        )
        assert error.startswith(sentence) and error.count("\n") == 1, error[-2000:]
        assert processes[1].wait(timeout=90) == -signal.SIGKILL
    finally:
        for process in processes:
            process.kill()
            process.communicate()
