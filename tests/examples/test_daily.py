"""The daily cycle: each gate with commands that are scripted, and two real days."""

import contextlib
import fcntl
import functools
import importlib
import importlib.util
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serving.local_server import LocalServer
from serving.server.model_config import ModelConfig, VersionPolicy
from serving.server.model_store import ModelStore
from tests.commands import run_command
from tfrec_attn.data.reading.synthetic import synthetic

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "daily.sh"
# In the place of python: hands the arguments to the test, and ends as it says.
PROGRAM = f"""#!{sys.executable} -IS
import json, socket, sys
with socket.socket(socket.AF_UNIX) as test:
    test.connect({{address!r}})
    test.sendall(json.dumps(sys.argv[1:]).encode() + b"\\n")
    code, out = json.loads(test.makefile().read())
sys.stdout.write(out)
sys.exit(code)
"""
CONFIG = """model_config_list { config {
  name: "shop"
  version_labels { key: "stable" value: 1 }
} }
"""


@pytest.fixture
def daily(tmp_path):
    """A function that runs the script in an empty folder, with its commands in this process.

    `daily(run, *arguments, **settings)` returns (exit code, last lines of stderr). `run(module,
    arguments)` returns the exit code and the standard output of a command.
    """
    (tmp_path / "day-1.csv").write_text("user_id,item_id,timestamp\n")
    (tmp_path / "limits.yaml").touch()
    address = str(tmp_path / "socket")
    program = tmp_path / "program"
    program.write_text(PROGRAM.format(address=address))
    program.chmod(0o755)

    def start(run, *arguments, **settings):
        known = {"PATH": os.environ["PATH"], "PYTHON": str(program), "NAME": "shop"}
        known |= {"LIMITS": "limits.yaml", "DAY": "monday", **settings}
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(address)
            server.listen()
            server.settimeout(0.05)
            process = subprocess.Popen(
                [SCRIPT, *arguments], cwd=tmp_path, env=known, stderr=subprocess.PIPE, text=True
            )
            while process.poll() is None:
                with contextlib.suppress(TimeoutError):
                    connection, _ = server.accept()
                    with connection:
                        connection.settimeout(None)
                        option, module, *rest = json.loads(connection.makefile().readline())
                        assert option == "-m"
                        answer = run(module.removeprefix("tfrec_attn."), rest)
                        connection.sendall(json.dumps(answer).encode())
        os.unlink(address)
        with process:
            return process.returncode, process.stderr.read().splitlines()[-2:]

    start.folder = tmp_path
    return start


class Scripted:
    """Commands that only make what the next ones need; `fail` is one that ends with 1."""

    def __init__(self, folder, fail=None):
        self.folder, self.fail, self.calls = folder, fail, []

    def __call__(self, module, arguments):
        self.calls.append((module, arguments))
        if module == "serving.rollback":
            return 0, "version  labels\n1        canary,stable  complete\n2        -  complete\n"
        options = dict(itertools.pairwise(arguments))
        if module == "data.validate":
            (self.folder / options["--to"]).mkdir()
        if module == "train":
            run = next(one for one in arguments if one.startswith("run_dir=")).partition("=")[2]
            (self.folder / run).mkdir(exist_ok=True)
        if module == "export" and self.fail != module:
            (self.folder / options["--to"] / options["--version"]).mkdir(parents=True)
        return int(module == self.fail), ""

    def modules(self):
        return [module for module, _ in self.calls]


GATES = {
    "data.validate": (10, "the log: daily/shop/monday-"),
    "train": (20, "the training."),
    "export": (30, "the export."),
    "export.verify": (40, "verify: version 3 is now daily/shop/monday-"),
    "serving.promote": (50, "the promotion of version 3."),
}


@pytest.fixture
def in_service(daily):
    """The folder in which version 1 is stable, and version 2 was refused."""
    (daily.folder / "models.config").write_text(CONFIG)
    for version in ("1", "2"):
        (daily.folder / "servables" / "shop" / version).mkdir(parents=True)
    return daily.folder


@pytest.mark.parametrize("gate", GATES)
def test_each_gate_keeps_the_version_in_service(daily, in_service, gate):
    commands, (code, words) = Scripted(in_service, gate), GATES[gate]
    ended, (first, last) = daily(commands, "day-1.csv")
    assert ended == code
    assert first.startswith(f"daily: stopped at {words}") and first.endswith(".")
    assert last == "daily: version 1 of shop still serves."
    assert commands.modules() == ["serving.rollback", *list(GATES)[: list(GATES).index(gate) + 1]]
    # A version that does not verify is not where a server could find it.
    present = sorted(one.name for one in (in_service / "servables" / "shop").iterdir())
    assert present == ["1", "2", "3"] if gate == "serving.promote" else ["1", "2"]
    # The same command goes on, and the version that was written is not written again.
    again = Scripted(in_service)
    ended, lines = daily(again, "day-1.csv")
    assert (ended, lines[-1]) == (0, "daily: version 3 of shop is in service.")
    assert ("export" in again.modules()) == (gate != "serving.promote")


def test_a_version_may_be_refused_again(daily, in_service):
    for _ in range(3):
        ended, lines = daily(Scripted(in_service, "export.verify"), "day-1.csv")
        assert (ended, lines[-1]) == (40, "daily: version 1 of shop still serves.")
    assert not (in_service / "servables" / "shop" / "3").exists()
    (refused,) = in_service.glob("daily/shop/monday-*/refused-3")
    assert list(refused.iterdir()) == []


def test_arguments_of_the_commands(daily, in_service):
    for name in ("schema.pbtxt", "requests.jsonl"):
        (in_service / name).touch()
    cycle = in_service / "daily" / "shop" / "sunday-12345678"
    (cycle / "run").mkdir(parents=True)
    (cycle / "version").write_text("1\n")
    (cycle / "log").write_text(f"{in_service}/day-0.csv\nother\n")
    commands = Scripted(in_service)
    extra = ["sasrec.yaml", "data.columns.user=visitor", "model.dim=8"]
    assert daily(commands, "day-1.csv", *extra, KEEP="2", EXPORT="--k 5")[0] == 0
    found = dict(commands.calls)
    now = found["train"][-2].removeprefix("run_dir=").removesuffix("/run")
    log = f"{in_service}/day-1.csv"
    assert found["serving.rollback"] == [
        *("--list", "--model", "shop", "--config", "models.config"),
        *("--folder", "servables/shop"),
    ]
    # The log of version 1 is not there any more.
    assert found["data.validate"] == [
        *(log, "data.columns.user=visitor", "--schema", "schema.pbtxt"),
        *("--serving-log", "requests.jsonl", "--against", "daily/shop/sunday-12345678/report"),
        *("--to", f"{now}/report"),
    ]
    assert found["train"] == [
        *(*extra, "data.source=file", f"data.path={log}", f"run_dir={now}/run"),
        "train.warm_start=daily/shop/sunday-12345678/run",
    ]
    assert found["export"] == [
        *(f"{now}/run", "--to", "servables/shop", "--version", "3", "--keep", "2"),
        *("--protect", "1", "--k", "5"),
    ]
    assert found["export.verify"] == ["servables/shop/3", "--run", f"{now}/run"]
    assert found["serving.promote"] == [
        *("--target", "127.0.0.1:8500", "--model", "shop", "--run", f"{now}/run"),
        *("--limits", "limits.yaml", "--config", "models.config", "--version", "3"),
    ]


def test_what_cannot_be_begun(daily, in_service):
    commands = Scripted(in_service)
    assert daily(commands, "day-9.csv")[0] == 2
    assert daily(commands)[1] == [
        "daily: the first argument must be the log, a file or a folder, but is ''."
    ]
    ended, lines = daily(commands, "day-1.csv", WORK="day-1.csv")
    assert (ended, lines[-1]) == (
        2,
        "daily: stopped at the settings: day-1.csv/shop and servables/shop must be folders that "
        "can be written.",
    )
    (in_service / "limits.yaml").unlink()
    ended, lines = daily(commands, "day-1.csv")
    assert ended == 2
    assert lines[0] == "daily: stopped at the settings: there are no limits limits.yaml."
    assert daily(Scripted(in_service, "serving.rollback"), "day-1.csv")[0] == 2
    assert commands.modules() == ["serving.rollback"]


def test_one_cycle_at_a_time(daily, in_service):
    lock = in_service / "daily" / "shop" / "lock"
    lock.parent.mkdir(parents=True)
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended, lines = daily(Scripted(in_service), "day-1.csv")
    assert (ended, lines) == (75, ["daily: another cycle of shop runs in daily."])


def in_process(module, arguments):
    """Runs a command of the package as the script names it."""
    if not module.startswith(("export", "serving")):
        module = f"tfrec_attn.{module}"
    if importlib.util.find_spec(module).submodule_search_locations:
        module += ".__main__"
    code, out, error = run_command(importlib.import_module(module).main, *arguments)
    sys.stderr.write(error)
    return code, out


SMALL = [
    *("model.name=fmc", "model.dim=4", "data.max_length=5", "train.epochs=1"),
    *("evaluate.bootstrap=0", "runtime.steps_per_execution=1"),
]


def test_two_days_and_the_way_back(daily, monkeypatch):
    folder = daily.folder
    monkeypatch.chdir(folder)
    # Warm-up requests take half of the time of an export.
    monkeypatch.setattr("export.warmup.write_warmup", lambda *_, **__: 0)
    log = synthetic(1000)
    log.head(len(log) * 9 // 10).write_csv("day-1.csv")
    log.write_csv("day-2.csv")
    shutil.copy(ROOT / "serving" / "deploy" / "limits.yaml", "limits.yaml")
    limits = Path("limits.yaml").read_text().replace("requests: 1000", "requests: 20")
    limits = limits.replace("_ms: ", "_ms: 1000").replace("ratio: ", "ratio: 1000")
    Path("limits.yaml").write_text(limits.replace("overlap: 0.3", "overlap: 0.0"))
    code, lines = daily(in_process, "day-1.csv", *SMALL)
    assert code == 0
    assert lines[-1] == "daily: version 1 is the first one; start a server with models.config."

    labels = {"stable": 1, "canary": 1, "previous": 1}
    policy = VersionPolicy(specific=(1,))
    # The file has the absolute path of this folder.
    store = ModelStore([ModelConfig("shop", Path("servables/shop"), policy, labels)], poll=60)
    server = LocalServer(store, port=0, rest_port=None)
    server.start()
    try:
        target = f"127.0.0.1:{server.grpc_port}"
        second = functools.partial(daily, TARGET=target, DAY="tuesday")
        code, lines = second(in_process, "day-2.csv", *SMALL)
        assert (code, lines[-1]) == (0, "daily: version 2 of shop is in service.")
        assert store.labels("shop") == {"stable": 2, "canary": 2, "previous": 1}
        (run,) = folder.glob("daily/shop/tuesday-*/run")
        started = json.loads((run / "metrics.json").read_text())["warm_start"]["run"]
        assert Path(started).parent.name.startswith("monday-")
        (report,) = folder.glob("daily/shop/tuesday-*/report/report.json")
        assert json.loads(report.read_text())["drift"]["against"] == str(folder / "day-1.csv")
        # It is not promoted twice, and not at all after a rollback.
        code, lines = second(in_process, "day-2.csv", *SMALL)
        assert (code, lines[-1]) == (0, "daily: version 2 is in service already: nothing to do.")
        arguments = ["--target", target, "--model", "shop", "--config", "models.config"]
        assert in_process("serving.rollback", arguments)[0] == 0
        assert store.labels("shop")["stable"] == 1
        code, lines = second(in_process, "day-2.csv", *SMALL)
        assert (code, lines[-1]) == (2, "daily: version 1 of shop still serves.")
        assert "version 2 was promoted before, and is not stable any more" in lines[0]
    finally:
        server.stop(grace=5)
