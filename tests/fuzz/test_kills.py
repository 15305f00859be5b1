"""Commands that are killed, or whose disk is full, at random moments, and are then run again.

A moment is a call that changes or opens a file under the folder of the test. Python's audit events
report these calls, so a seed names the same moment again. Files that TensorFlow writes itself are
tested by a limit on the size of files, and by a clock. The commands run in children that a server
of `multiprocessing` forks with TensorFlow loaded. TFREC_FUZZ multiplies the moments.
"""

import contextlib
import errno
import hashlib
import io
import json
import multiprocessing
import os
import random
import resource
import signal
import socket
import sys
import time

import numpy as np
import pytest

from export.command import main as export
from tfrec_attn.data.prepare import main as prepare
from tfrec_attn.runtime.runner import Runner
from tfrec_attn.train import main as train

MOMENTS = max(1, round(3 * float(os.environ.get("TFREC_FUZZ", "1"))))
MODULES = [
    "tensorflow",
    "tfrec_attn.training.fitting",
    "tfrec_attn.data.shards",
    "export.servable",
    "export.model_card",
    "serving.local_server",
]
TRAIN = [
    "data.events=1500", "train.epochs=2", "train.batch_size=512", "model.dim=4",
    "evaluate.bootstrap=0", "runtime.checkpoint_seconds=1e-9",
]  # fmt: skip
_CHANGING = (
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.truncate",
    "os.link",
    "os.chmod",
)
_GROWING = ("os.mkdir", "os.link")


def serve(arguments):
    """The local server, until it is killed."""
    from serving.local_server import main

    return main(arguments)


COMMANDS = {"train": train, "prepare": prepare, "export": export, "serve": serve}


def _child(command, arguments, folder, harm, pipe):
    """Runs a command with a harm: ("none",), ("kill", n), ("full", n) or ("limit", bytes)."""
    count, (kind, moment) = [0], (*harm, None)[:2]

    def on(event, values):
        if event not in _CHANGING or not str(values[0]).startswith(folder):
            return
        count[0] += 1
        if kind == "kill" and count[0] == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        grows = event in _GROWING or (
            event == "open" and values[2] is not None and values[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if kind == "full" and count[0] >= moment and grows:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(values[0]))

    sys.addaudithook(on)
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (moment, moment))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            code = COMMANDS[command](arguments)
        except BaseException as found:
            code = f"{type(found).__name__}: {found}"
    pipe.send((count[0], code, error.getvalue()))


@pytest.fixture(scope="module")
def forks():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    return context


@pytest.fixture
def run(forks, tmp_path):
    """A function that runs a command in a child, and returns (events, code, stderr), or None if
    it was killed.
    """

    def start(command, arguments, harm=("none",), seconds=None):
        here, there = forks.Pipe(duplex=False)
        child = forks.Process(
            target=_child,
            args=(command, [str(one) for one in arguments], str(tmp_path), harm, there),
        )
        child.start()
        there.close()
        try:
            if seconds is not None and not here.poll(seconds):
                child.kill()
            result = here.recv()
        except EOFError:
            result = None
        child.join()
        assert result is not None or child.exitcode == -signal.SIGKILL
        return result

    return start


def guarded(folder):
    """Adds files of the user, and returns a function that asserts that they are there."""
    names = (
        "mine.txt", "other.partial/config.yaml", "other/manifest.json", "model/notes.txt",
        "model/.unfinished-0/x", "model/3x/saved_model.pb",
    )  # fmt: skip
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")

    def check():
        assert {name: (folder / name).read_text() for name in names} == dict.fromkeys(names, "mine")

    return check


def harms(rng, events, sizes):
    """Yields random harms in turn: kill, full disk, and limit on the size of files."""
    for number in range(MOMENTS):
        if number % 3 == 0:
            yield "kill", rng.randint(1, events)
        elif number % 3 == 1:
            yield "full", rng.randint(1, events)
        else:
            yield "limit", round(10 ** rng.uniform(1, np.log10(max(sizes))))


def refused(result):
    """Checks that a command was killed, was complete, or failed with one sentence."""
    if result is None:
        return
    _, code, error = result
    assert code in (0, 1, 2), (code, error)
    assert code == 0 or error.count("\n") == 1, error


def sizes_of(folder):
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]


def log_of(folder, users=40):
    rng = np.random.default_rng(3)
    rows = [
        f"u{user}\ti{rng.integers(30)}\t{1000 * event + user}"
        for event in range(12)
        for user in range(users)
    ]
    (folder / "log.tsv").write_text(
        "\n".join(["user_id\titem_id\ttimestamp", *rows, "bad line", ""])
    )
    return folder / "log.tsv"


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("seed", range(MOMENTS))
def test_preparations(run, tmp_path, seed):
    rng, check = random.Random(seed), guarded(tmp_path)
    arguments = [
        log_of(tmp_path),
        "--shards",
        "3",
        "data.on_error=skip",
        "data.min_user_events=2",
        "--to",
    ]
    events, code, _ = run("prepare", [*arguments, tmp_path / "whole"])
    assert code == 0
    for harm in harms(rng, events, sizes_of(tmp_path / "whole")):
        result = run("prepare", [*arguments, tmp_path / "out"], harm)
        refused(result)
        check()
        if result is not None and result[1] == 0:
            break
    complete = (tmp_path / "out").exists()
    assert run("prepare", [*arguments, tmp_path / "out"])[1] == (2 if complete else 0)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert not (tmp_path / "out.partial").exists()
    check()


@pytest.fixture(scope="module")
def whole_run(forks, tmp_path_factory):
    """An uninterrupted training: its folder and its number of events."""
    folder = tmp_path_factory.mktemp("whole")
    here, there = forks.Pipe(duplex=False)
    child = forks.Process(
        target=_child,
        args=("train", [*TRAIN, f"run_dir={folder / 'run'}"], str(folder), ("none",), there),
    )
    child.start()
    events, code, error = here.recv()
    child.join()
    assert code == 0, error
    return folder / "run", events


def figures(folder):
    report = json.loads((folder / "metrics.json").read_text())
    return {key: report[key] for key in ("test", "valid", "best_epoch", "epochs")}, (
        folder / "history.csv"
    ).read_text()


@pytest.mark.parametrize("seed", range(-(-MOMENTS // 3)))
def test_trainings(run, tmp_path, whole_run, seed):
    rng, check = random.Random(100 + seed), guarded(tmp_path)
    whole, events = whole_run
    arguments = [*TRAIN, f"run_dir={tmp_path / 'run'}"]
    for harm in harms(rng, events, sizes_of(whole)):
        refused(run("train", arguments, harm))
        check()
    assert run("train", arguments)[1] == 0
    assert figures(tmp_path / "run") == figures(whole)
    assert {path.name for path in tmp_path.iterdir()} == {
        "run",
        "mine.txt",
        "other",
        "other.partial",
        "model",
    }
    assert not {"lock", "data.sha256", "replaced", "restarted"} & {
        path.name for path in (tmp_path / "run").iterdir()
    }


def answers(folder):
    with Runner(folder) as session:
        return session.run(
            "serving_default", user_id=["u1", "u2"], history=[["i1", "i2"], ["i3", ""]]
        )["items"].tolist()


@pytest.mark.parametrize("seed", range(-(-MOMENTS // 3)))
def test_exports(run, tmp_path, whole_run, seed):
    rng, check = random.Random(200 + seed), guarded(tmp_path)
    arguments = [whole_run[0], "--to", tmp_path / "model", "--keep", "1", "--version"]
    events, code, error = run("export", [*arguments, 1])
    assert code == 0, error
    expected = answers(tmp_path / "model" / "1")
    for number, harm in enumerate(harms(rng, events, sizes_of(tmp_path / "model" / "1")), 2):
        refused(run("export", [*arguments, number], harm))
        check()
        # All versions that a server can load are complete.
        for folder in (tmp_path / "model").iterdir():
            if folder.name.isdecimal():
                assert answers(folder) == expected
    assert run("export", [*arguments, 90])[1] == 0
    check()
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        ".unfinished-0",
        "3x",
        "90",
        "notes.txt",
    ]
    assert answers(tmp_path / "model" / "90") == expected


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.mark.parametrize("seed", range(-(-MOMENTS // 3)))
def test_a_server_that_is_killed_while_it_loads(run, forks, tmp_path, whole_run, seed):
    rng, check = random.Random(300 + seed), guarded(tmp_path)
    assert run("export", [whole_run[0], "--to", tmp_path / "model"])[1] == 0
    before = digests(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--model", f"model={tmp_path / 'model'}", "--port", port, "--rest-port", 0]
    run("serve", arguments, seconds=rng.uniform(0, 2))
    _, there = forks.Pipe(duplex=False)
    child = forks.Process(
        target=_child,
        args=("serve", [str(one) for one in arguments], str(tmp_path), ("none",), there),
    )
    child.start()
    try:
        end = time.monotonic() + 120
        while not listens(port):
            assert child.is_alive() and time.monotonic() < end
            time.sleep(0.1)
    finally:
        child.kill()
        child.join()
    assert digests(tmp_path) == before
    check()
