"""An interrupted training that is resumed gives the same run as an uninterrupted one."""

import csv
import errno
import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.commands import run_command
from tests.training.interrupted import OFTEN, SAMPLED, TINY, at_batch, last, weights
from tfrec_attn import config as configuration
from tfrec_attn import train
from tfrec_attn.keras_versions.variables import variable_of
from tfrec_attn.runs import run, run_files
from tfrec_attn.runs import weights as weights_file
from tfrec_attn.training import inputs

REPOSITORY = Path(__file__).resolve().parents[2]
SASREC = [
    *TINY, "model.name=sasrec", "model.dropout=0.4", "train.loss=softmax", "train.batch_size=12",
    "train.optimizer=adam", "train.learning_rate=0.01", "train.distillation.weight=0.1",
    "train.distillation.dropout=0.3",
]  # fmt: skip
ATTREC = [*TINY, "train.batch_size=256"]
TIMES = ("train_seconds", "seconds_per_epoch", "examples_per_second", "peak_memory_mb")


class Killed(BaseException):
    """Stands for SIGKILL in this process."""


def killed(_):
    raise Killed


def kill(arguments, steps):
    with at_batch(steps, killed), pytest.raises(Killed):
        run_command(train.main, *arguments)


def scalars(folder):
    """Returns (part, tag, step) -> values of TensorBoard's events."""
    found = {}
    for path in sorted(folder.glob("tensorboard/*/events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.setdefault((path.parent.name, value.tag, event.step), []).append(
                    float(tf.make_ndarray(value.tensor))
                )
    return found


def assert_same_run(folder, expected):
    """Asserts that two runs are bitwise equal, except for times."""
    for prefix in (lambda run: run / "checkpoints" / "best", last):
        found, wanted = weights(prefix(folder)), weights(prefix(expected))
        assert found.keys() == wanted.keys() and len(found) > 5
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert (folder / "history.csv").read_text() == (expected / "history.csv").read_text()
    assert scalars(folder) == scalars(expected)
    reports = [json.loads((run / "metrics.json").read_text()) for run in (folder, expected)]
    assert [
        {key: value for key, value in report.items() if key not in TIMES} for report in reports[:1]
    ] == [
        {key: value for key, value in report.items() if key not in TIMES} for report in reports[1:]
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A function that makes an uninterrupted run of some arguments once."""
    made = {}

    def make(arguments):
        if tuple(arguments) not in made:
            folder = tmp_path_factory.mktemp("whole") / "run"
            assert run_command(train.main, *arguments, OFTEN, f"run_dir={folder}")[0] == 0
            made[tuple(arguments)] = folder
        return made[tuple(arguments)]

    return make


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A partial run of AttRec that was killed after 10 steps, of which 6 or more are saved."""
    folder = tmp_path_factory.mktemp("interrupted")
    kill([*ATTREC, OFTEN, f"run_dir={folder / 'run'}"], 10)
    return folder / "run.partial"


@pytest.fixture
def again(interrupted, tmp_path):
    """(folder, command) of a copy of the partial run."""
    folder = tmp_path / "run.partial"
    shutil.copytree(interrupted, folder)
    return folder, [*ATTREC, OFTEN, f"run_dir={tmp_path / 'run'}"]


def states(folder):
    return sorted((folder / "checkpoints").glob("last-*"))


def spoil(path):
    """Flips one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [(ATTREC, (4, 10)), (SAMPLED, (9,))],
    ids=["attrec", "sampled"],
)
def test_killed_within_epochs(arguments, steps, whole, tmp_path):
    command = [*arguments, OFTEN, f"run_dir={tmp_path / 'run'}"]
    for count in steps:
        kill(command, count)
        assert [entry.name for entry in tmp_path.iterdir()] == ["run.partial"]
    code, out, error = run_command(train.main, *command)
    assert (code, error) == (0, "")
    assert f"Resuming from {tmp_path / 'run.partial'}: 1 epoch and " in out
    assert "Epoch 1/3" not in out and "Epoch 2/3" in out and "Epoch 3/3" in out
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    assert {"lock", "data.sha256"}.isdisjoint(entry.name for entry in (tmp_path / "run").iterdir())
    assert_same_run(tmp_path / "run", whole(arguments))


def python(*arguments):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TF_", "PYTEST_"))
        or name in ("TF_NUM_INTRAOP_THREADS", "TF_USE_LEGACY_KERAS")
    }
    command = [sys.executable, "-m", "tfrec_attn.train", *arguments]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
    )


def test_a_process_that_is_killed(whole, tmp_path):
    command = [*SASREC, OFTEN, f"run_dir={tmp_path / 'run'}"]
    with python(*command) as process:
        assert any(line.startswith("Epoch 2/3") for line in process.stdout)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    code, out, _ = run_command(train.main, *command)
    assert code == 0
    assert "Resuming from" in out
    assert_same_run(tmp_path / "run", whole(SASREC))


def test_killed_before_the_first_checkpoint(again, whole, tmp_path):
    partial, command = again
    for state in states(partial):
        state.rename(state.with_name(f".{state.name}"))
    code, out, error = run_command(train.main, *command)
    assert (code, error) == (0, "")
    assert "Resuming" not in out
    assert_same_run(tmp_path / "run", whole(ATTREC))


def test_killed_after_training(again, whole, monkeypatch):
    folder, command = again
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run_files, "write_json", lambda *_: killed(None))
        run_command(train.main, *command)
    report = json.loads((states(folder)[-1] / "progress.json").read_text())
    code, out, _ = run_command(train.main, *command)
    assert code == 0
    assert "3 epochs and 0 of" in out and "Epoch 3/3" not in out
    assert_same_run(folder.with_name("run"), whole(ATTREC))
    # The seconds of all processes count.
    assert (
        json.loads((folder.with_name("run") / "metrics.json").read_text())["train_seconds"]
        > report["train_seconds"]
        > 0
    )


def test_early_stopping_counts_epochs_of_earlier_processes(tmp_path):
    # With a tiny step size the first epoch stays the best.
    arguments = [
        *TINY,
        "train.batch_size=2048",
        "train.learning_rate=1e-30",
        "train.epochs=9",
        "train.patience=3",
    ]
    command = [*arguments, OFTEN, f"run_dir={tmp_path / 'run'}"]
    config = configuration.load(None, arguments)
    kill(
        command,
        2 * inputs.training_stream(config, run.prepare_data(config).split).steps_per_epoch + 1,
    )
    assert run_command(train.main, *command)[0] == 0
    report = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (report["best_epoch"], report["epochs"]) == (1, 4)
    with open(tmp_path / "run" / "history.csv", newline="") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves(number, whole, tmp_path):
    command = [*ATTREC, f"run_dir={tmp_path / 'run'}"]
    before = signal.getsignal(number)
    with at_batch(3, lambda saver: os.kill(os.getpid(), number)):
        code, _, error = run_command(train.main, *command, OFTEN.replace("1e-9", "0"))
    assert code == 128 + number
    partial = tmp_path / "run.partial"
    assert error == (
        f"stopped by {number.name}; the last checkpoint is in {partial}, "
        f"and the same command resumes it.\n"
    )
    assert [state.name for state in states(partial)] == ["last-000000004"]
    assert signal.getsignal(number) is before
    if number == signal.SIGINT:
        return
    code, out, _ = run_command(train.main, *command, OFTEN.replace("1e-9", "0"))
    assert code == 0
    assert "0 epochs and 4 of" in out
    for prefix in (lambda run: run / "checkpoints" / "best", last):
        np.testing.assert_equal(weights(prefix(tmp_path / "run")), weights(prefix(whole(ATTREC))))


def test_a_signal_before_training_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "prepare_data", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    assert run_command(train.main, *TINY, f"run_dir={tmp_path / 'deep' / 'run'}") == (
        143,
        "",
        "stopped by SIGTERM; nothing was written.\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_falls_back(again, whole):
    folder, command = again
    newest = states(folder)[-1]
    data = newest / "weights.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    code, out, _ = run_command(train.main, *command)
    assert code == 0
    assert (
        f"{newest} is damaged (weights.data-00000-of-00001 is not what was written) and was "
        f"removed.\n" in out
    )
    step = json.loads((states(folder.with_name("run"))[0] / "progress.json").read_text())["step"]
    assert step == 0 and "Resuming from" in out
    assert_same_run(folder.with_name("run"), whole(ATTREC))


def test_training_starts_again_without_an_intact_checkpoint(again, whole):
    folder, command = again
    older, newest = states(folder)
    spoil(older / "progress.json")
    (newest / "SHA256SUMS").unlink()
    code, out, _ = run_command(train.main, *command)
    assert code == 0
    assert f"{newest} is damaged (SHA256SUMS cannot be read) and was removed.\n" in out
    assert f"{older} is damaged (progress.json is not what was written) and was removed.\n" in out
    assert "No checkpoint is intact: training starts again.\n" in out and "Epoch 1/3" in out
    assert_same_run(folder.with_name("run"), whole(ATTREC))


def test_a_checkpoint_of_another_model(again, interrupted):
    folder, command = again
    code, _, error = run_command(train.main, *command[:-1], "model.dim=4", command[-1])
    assert code == 2
    # As if a user had changed the configuration of the run.
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("dim: 8", "dim: 4"))
    code, _, error = run_command(train.main, *command[:-1], "model.dim=4", command[-1])
    assert code == 1 and error.count("\n") == 1
    assert (
        f"{states(folder)[-1]} is of another model or optimizer; give --restart to start again"
        in error
    )


def write_to_a_full_disk(path, model, write=weights_file.write):
    """Limits files of weights to 1,000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        write(path, model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk(whole, tmp_path, monkeypatch):
    command = [*ATTREC, OFTEN, f"run_dir={tmp_path / 'run'}"]
    with at_batch(6, lambda _: monkeypatch.setattr(weights_file, "write", write_to_a_full_disk)):
        code, _, error = run_command(train.main, *command)
    monkeypatch.undo()
    assert code == 1
    partial = tmp_path / "run.partial"
    assert (
        error.startswith(f"error: {partial / 'checkpoints' / 'last-'}")
        and "cannot be written: " in error
    )
    assert (
        error.endswith(f"; the last checkpoint is in {partial}, and the same command resumes it.\n")
        and error.count("\n") == 1
    )
    assert [
        entry.name
        for entry in (partial / "checkpoints").iterdir()
        if not entry.name.startswith("last-")
    ] == []
    assert run_command(train.main, *command)[0] == 0
    assert_same_run(tmp_path / "run", whole(ATTREC))


def test_a_disk_that_is_full_from_the_start(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_files, "save_vocabularies", full)
    code, _, error = run_command(train.main, *TINY, f"run_dir={tmp_path / 'run'}")
    assert code == 1
    assert (
        error == f"error: {tmp_path / 'run.partial'} cannot be written: No space left on device; "
        f"nothing was written.\n"
    )
    assert list(tmp_path.iterdir()) == []


def poison(saver):
    table = saver.model.tables("items")[1]
    variable_of(table).scatter_nd_update([[3, 0], [4, 1]], [float("nan"), float("inf")])


def test_a_loss_that_is_not_finite(whole, tmp_path):
    command = [*ATTREC, OFTEN, f"run_dir={tmp_path / 'run'}"]
    with at_batch(6, poison):
        code, _, error = run_command(train.main, *command)
    partial = tmp_path / "run.partial"
    assert code == 1 and error.count("\n") == 1
    assert "long_items" in error and "2 values that are not finite" in error
    assert "lower train.learning_rate or set train.clip_norm" in error
    assert f"the last checkpoint is in {partial}" in error
    newest = states(partial)[-1]
    assert all(
        np.isfinite(value).all()
        for value in weights(newest / "weights").values()
        if value.dtype == np.float32
    )
    assert run_command(train.main, *command)[0] == 0
    assert_same_run(tmp_path / "run", whole(ATTREC))


def test_another_configuration(again):
    folder, command = again
    code, out, error = run_command(train.main, *command[:-1], "train.epochs=4", command[-1])
    assert (code, out) == (2, "")
    assert error == (
        f"error: {folder} holds an unfinished training with train.epochs=3, not 4; give that one, "
        f"--restart to start again, "
        "or name another run_dir.\n"
    )
    (folder / "config.yaml").write_text("train: {epoch: 3}")
    code, _, error = run_command(train.main, *command)
    assert code == 2 and f"{folder / 'config.yaml'} cannot be read" in error
    assert len(states(folder)) == 2


def test_another_log(again):
    folder, command = again
    (folder / "data.sha256").write_text("0" * 64)
    code, _, error = run_command(train.main, *command)
    assert code == 2
    assert error == (
        f"error: The log is not the one that the training in {folder} was started with; "
        "give that one, --restart to start again, or name another run_dir.\n"
    )
    assert len(states(folder)) == 2


def test_one_process_for_each_folder(again):
    folder, command = again
    with open(folder / "lock") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        code, _, error = run_command(train.main, *command)
    assert code == 2
    assert (
        error == f"error: {folder} is being trained by another process; wait until it ends, "
        f"or name another run_dir.\n"
    )
    assert len(states(folder)) == 2
