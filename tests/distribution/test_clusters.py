"""Real processes on this machine that train together, and what one process says of the same."""

import contextlib
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from tfrec_attn import local_cluster, run, train

REPOSITORY = Path(__file__).resolve().parents[2]
MQSA = [
    "data.events=1500", "data.max_length=8", "model.name=mqsa_ted", "model.dim=8", "model.dropout=0", "train.loss=sampled_softmax",
    "train.negatives=16", "train.batch_size=16", "train.epochs=2", "train.l2=1e-3", "train.distillation.weight=0.1",
    "evaluate.bootstrap=0",
]  # fmt: skip
ATTREC = ["data.events=1500", "model.dim=8", "train.batch_size=64", "train.epochs=2", "train.l2=1e-3", "evaluate.bootstrap=0"]


def one_process(arguments, folder):
    with contextlib.redirect_stdout(io.StringIO()):
        assert train.main([*arguments, f"run_dir={folder}"]) == 0
    return folder


def together(strategy, arguments, folder, **tasks):
    """Trains with the processes of a cluster -> (exit code, stdout, stderr) of each."""
    processes = start(strategy, [*arguments, f"run_dir={folder}"], **tasks)
    outputs = [process.communicate(timeout=300) for process in processes]
    return [(process.returncode, out, own(error)) for process, (out, error) in zip(processes, outputs, strict=True)]


def own(error):
    """What a process itself wrote to stderr: TensorFlow 2.16 also writes there, about its coordination of workers."""
    foreign = r"WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:" if version("tensorflow").startswith("2.16.") else "(?!)"
    return "".join(line for line in error.splitlines(keepends=True) if not re.match(foreign, line))


def start(strategy, arguments, **tasks):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": REPOSITORY}
    return local_cluster.start(local_cluster.jobs(strategy, **tasks), strategy, arguments, **options)


def assert_the_same(one, many):
    for part in ("valid", "test"):
        expected, found = (json.loads((folder / "metrics.json").read_text())[part] for folder in (one, many))
        assert found == pytest.approx(expected, abs=1e-6)
    for expected, found in zip(run.load_model(one).get_weights(), run.load_model(many).get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_two_workers_train_as_one_process(tmp_path):
    one = one_process(MQSA, tmp_path / "one")
    first, second = together("multi_worker", MQSA, tmp_path / "many")
    assert (first[0], first[2]) == (0, ""), first[2][-2000:]
    assert second == (0, "", ""), second[2][-2000:]
    assert first[1].rstrip().endswith(f"Next: python -m tfrec_attn.evaluate {tmp_path / 'many'}")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["many", "one"]
    assert_the_same(one, tmp_path / "many")


def test_a_parameter_server_trains_as_one_process(tmp_path):
    one = one_process(MQSA, tmp_path / "one")
    chief, *servers = together("parameter_server", MQSA, tmp_path / "many")
    assert (chief[0], chief[2]) == (0, ""), chief[2][-2000:]
    assert servers == [(0, "", "")] * 2
    assert_the_same(one, tmp_path / "many")


def recipe(target):
    """The command of a target of the Makefile, with this interpreter and without ARGS."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    python, *words = re.search(rf"^{target}:.*\n\t@(.+) \$\(ARGS\)$", makefile, flags=re.MULTILINE)[1].split()
    assert python == ".venv/bin/python"
    return [sys.executable, *words]


def test_make_starts_the_processes(tmp_path):
    one = one_process(ATTREC, tmp_path / "one")
    command = [*recipe("train-parameter-server"), *ATTREC, f"run_dir={tmp_path / 'many'}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert (done.returncode, own(done.stderr)) == (0, "")
    assert_the_same(one, tmp_path / "many")
    *words, strategy = recipe("train-multi-worker")
    assert (words, strategy) == (command[:3], "multi_worker")


def test_a_command_that_fails_gives_its_exit_code(tmp_path):
    command = [*recipe("train-multi-worker"), "--workers", "1", "train.epochs=none", f"run_dir={tmp_path / 'run'}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: train.epochs must be") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["parameter_server", "--workers", "2"], "--workers is of multi_worker, but the strategy is parameter_server; leave it out."),
        (["multi_worker", "--servers", "1"], "--servers is of parameter_server, but the strategy is multi_worker; leave it out."),
        (["multi_worker", "--workers", "0"], "--workers must be at least 1, but is 0."),
        (["parameter_server", "--servers", "-1"], "--servers must be at least 1, but is -1."),
    ],
)
def test_numbers_of_tasks_that_make_no_cluster(arguments, sentence, capsys):
    assert local_cluster.main(arguments) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"


LONG = [*ATTREC, "train.epochs=100000", "train.patience=100000"]


@pytest.mark.parametrize(
    ("strategy", "killed", "sentence"),
    [
        ("multi_worker", 1, "error: Another process of the cluster has failed: worker 1 has stopped; the last good checkpoint is in "),
        ("parameter_server", 1, "error: worker 0 of the cluster has not answered at 127.0.0.1:"),
    ],
)
def test_a_worker_that_dies_ends_the_others(tmp_path, strategy, killed, sentence):
    processes = start(strategy, [*LONG, f"run_dir={tmp_path / 'run'}"])
    try:
        # A line an epoch: training is under way, and the first epoch is saved.
        assert sum(1 for _ in itertools.islice((line for line in processes[0].stdout if line.startswith("health:")), 2)) == 2
        os.kill(processes[killed].pid, signal.SIGKILL)
        error = own(processes[0].communicate(timeout=90)[1])
        assert processes[0].returncode == 1
        assert error.startswith(sentence) and error.count("\n") == 1, error[-2000:]
        assert [process.wait(timeout=90) for process in processes[1:]] == [-signal.SIGKILL, *[0] * (len(processes) - 2)]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
