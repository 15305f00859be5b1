"""Hosts of a network of this machine: its links, and a cluster whose host is cut off."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks._network import Network, why_not
from tests.commands import own_messages

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no network of hosts: {REASON}")
REPOSITORY = Path(__file__).resolve().parents[2]

# Answers packets until there are none for a while.
ECHO = """
import socket
echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
echo.bind(("", 7000))
print(flush=True)
while True:
    echo.sendto(*echo.recvfrom(99))
"""
# Asks three times, and prints the shortest time of an answer in ms.
ASK = """
import socket, sys, time
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.settimeout(0.5)
found = []
for _ in range(3):
    begin = time.perf_counter()
    one.sendto(b"?", (sys.argv[1], 7000))
    try:
        one.recv(99)
        found.append(1e3 * (time.perf_counter() - begin))
    except OSError:
        pass
print(min(found, default=None))
"""


@pytest.fixture(scope="module")
def network():
    """Two hosts, of which the second one answers."""
    with Network(2) as network:
        command = network.command(1, [sys.executable, "-c", ECHO])
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            yield network
            process.kill()


def round_trip(network):
    """The shortest round trip of three in ms, or None without an answer."""
    command = network.command(0, [sys.executable, "-c", ASK, network.addresses[1]])
    return json.loads(subprocess.check_output(command, text=True).replace("None", "null"))


def test_a_round_trip_takes_the_delay_twice(network):
    network.set_link(delay=0.0)
    without = round_trip(network)
    network.set_link(delay=0.1)
    assert round_trip(network) >= 200 > without
    network.set_link()


def test_packets_that_are_lost_and_a_host_that_is_cut_off(network):
    network.set_link(loss=1.0)
    assert round_trip(network) is None
    network.set_link()
    network.cut(1)
    assert round_trip(network) is None
    network.mend(1)
    assert round_trip(network) is not None


# As the server of TensorFlow, and ended while a packet to the other host is on its way.
SERVE = """
import socket, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
server.bind(("", 5000))
server.listen()
print(flush=True)
connection = server.accept()[0]
connection.sendall(b"?")
sys.stdin.readline()
connection.sendall(b"?")
"""
CONNECT = """
import socket, sys
one = socket.create_connection((sys.argv[1], 5000))
print(one.recv(1), flush=True)
sys.stdin.readline()
"""
MEET = """
import sys
from tfrec_attn.errors import TrainingError
from tfrec_attn.runtime.cluster import Task
from tfrec_attn.runtime.rendezvous import meet
addresses = [f"{one}:5000" for one in sys.argv[1:]]
try:
    meet(Task("worker", 0, {"worker": addresses}), {}, 0.0)
except TrainingError as error:
    print(error)
"""


def test_a_connection_to_a_lost_host_does_not_occupy_the_port(network):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    serve = network.command(0, [sys.executable, "-c", SERVE])
    connect = network.command(1, [sys.executable, "-c", CONNECT, network.addresses[0]])
    with subprocess.Popen(serve, **pipes) as first:
        first.stdout.readline()
        with subprocess.Popen(connect, **pipes) as second:
            assert second.stdout.readline() == b"b'?'\n"
            network.cut(1)
            first.communicate(b"\n")
            meet = network.command(0, [sys.executable, "-c", MEET, *network.addresses])
            error = subprocess.check_output(meet, text=True, cwd=REPOSITORY)
            network.mend(1)
    assert error.startswith(f"worker 1 ({network.addresses[1]}:5000) of the cluster did not come")


slow = pytest.mark.skipif(
    not os.environ.get("TFREC_HOSTS"), reason="TFREC_HOSTS=1 trains on several hosts"
)
ARGUMENTS = [
    "data.events=1500", "model.dim=8", "train.batch_size=60", "train.epochs=4000",
    "train.patience=4000", "evaluate.bootstrap=0", "runtime.strategy=multi_worker",
]  # fmt: skip


@contextlib.contextmanager
def training(network, count, arguments):
    """Trains on the first hosts of a network."""
    workers = [f"{address}:5000" for address in network.addresses[:count]]
    processes = []
    try:
        for index in range(count):
            task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            command = [sys.executable, "-m", "tfrec_attn.train", *arguments]
            processes.append(
                subprocess.Popen(
                    network.command(index, command),
                    env={**os.environ, "TF_CONFIG": json.dumps(task)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=REPOSITORY,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def wait_for_lines(process, start, count):
    """Reads the output of a training up to some lines that start in this way."""
    lines = (line for line in process.stdout if line.startswith(start))
    found = list(itertools.islice(lines, count))
    assert len(found) == count, process.stderr.read()
    return found


@slow
@pytest.mark.parametrize(("lost", "others"), [(1, 3), (0, 1)])
def test_a_host_that_is_cut_off_and_then_other_hosts(tmp_path, lost, others):
    arguments = [*ARGUMENTS, f"run_dir={tmp_path / 'run'}"]
    with Network(3) as network:
        network.set_link(delay=0.001)
        with training(network, 2, arguments) as processes:
            wait_for_lines(processes[0], "diagnostics:", 2)
            network.cut(lost)
            begin, errors = time.monotonic(), []
            for process in processes:
                errors.append(own_messages(process.communicate(timeout=90)[1]))
                assert process.returncode == 1
            assert time.monotonic() - begin < 60
            for index, error in enumerate(errors):
                assert error.startswith("error: Another process of the cluster has failed: ")
                assert error.count("\n") == 1
                rest = "the same command resumes it." if index == 0 else "keeps the checkpoints."
                assert error.rstrip().endswith(rest)
        network.mend(lost)
        with training(network, others, arguments) as processes:
            (resumed,) = wait_for_lines(processes[0], "Resuming from ", 1)
            assert int(resumed.split(": ")[1].split()[0]) >= 1
            wait_for_lines(processes[0], "diagnostics:", 1)
