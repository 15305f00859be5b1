"""The processes of a cluster meet: here threads and sockets of one process."""

import concurrent.futures
import json
import re
import socket
import time

import pytest

from tfrec_attn.errors import ConfigError, TrainingError
from tfrec_attn.runtime.cluster import Task
from tfrec_attn.runtime.rendezvous import meet

FACTS = {"tensorflow": "2.21.0", "train.l2": "0.1"}


@pytest.fixture
def tasks():
    """Two functions of facts and seconds: the first and the second task meet the other."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    workers = {"worker": [f"127.0.0.1:{port}", "127.0.0.1:1"]}
    return [Task("worker", index, workers) for index in range(2)]


def outcomes(tasks, facts, seconds=30.0):
    """What each task returns or raises, when they meet at the same time."""
    with concurrent.futures.ThreadPoolExecutor() as threads:
        done = [threads.submit(meet, *each, seconds) for each in zip(tasks, facts, strict=True)]
    return [each.exception() or each.result() for each in done]


def test_equal_tasks_meet(tasks):
    assert outcomes(tasks, [FACTS, FACTS]) == [[], []]


def test_another_version_ends_all_tasks(tasks):
    found = outcomes(tasks, [FACTS, {**FACTS, "tensorflow": "2.16.2"}])
    assert [type(each) for each in found] == [ConfigError, ConfigError]
    assert {str(each) for each in found} == {
        "all processes of the cluster need the same tensorflow, but worker 0 has 2.21.0 and "
        "worker 1 has 2.16.2; install the same packages, and give the same arguments and log to "
        "all."
    }


def test_a_fact_that_only_one_task_has(tasks):
    found = outcomes(tasks, [FACTS, {**FACTS, "train.new": "1"}])
    assert "the same train.new, but worker 0 has None and worker 1 has 1;" in str(found[0])


def test_a_task_that_does_not_come(tasks):
    with pytest.raises(TrainingError) as caught:
        meet(tasks[0], FACTS, 0.0)
    assert str(caught.value) == (
        "worker 1 (127.0.0.1:1) of the cluster did not come within 0 s; start the process there, "
        "or check the addresses in TF_CONFIG."
    )


def test_a_first_task_that_does_not_answer(tasks):
    with pytest.raises(TrainingError) as caught:
        meet(tasks[1], FACTS, 0.0)
    assert str(caught.value) == (
        f"the first task of the cluster does not answer at {tasks[0].chief_address} within 0 s; "
        "start all processes again, or check the address in TF_CONFIG."
    )


def test_a_port_that_is_taken(tasks):
    host, port = tasks[0].chief_address.split(":")
    with socket.create_server((host, int(port))), pytest.raises(ConfigError) as caught:
        meet(tasks[0], FACTS, 5.0)
    sentence = (
        rf"the first task cannot listen at its address {tasks[0].chief_address} of TF_CONFIG: "
        r"Address already in use[^;]*; choose a free port\."
    )
    assert re.fullmatch(sentence, str(caught.value))


def test_one_task_has_nobody_to_meet():
    assert meet(Task("worker", 0, {"worker": ["127.0.0.1:1"]}), FACTS, 0.0) == []


def come(task, text):
    """Sends a line to the first task as soon as it listens, and returns its answer."""
    host, port = task.chief_address.split(":")
    while True:
        try:
            connection = socket.create_connection((host, int(port)))
        except ConnectionRefusedError:
            continue
        with connection, connection.makefile() as stream:
            connection.sendall(f"{text}\n".encode())
            return stream.readline()


def message(seconds):
    return json.dumps({"task": "worker 1", "facts": FACTS, "clock": time.time() + seconds})


@pytest.mark.parametrize(
    ("seconds", "notes"),
    [
        (-86_400, ["The clock of worker 1 is 86,400 s behind: "]),
        (7_200, ["The clock of worker 1 is 7,200 s ahead: "]),
        (-30, []),
    ],
)
def test_a_clock_that_is_wrong_is_noted(tasks, seconds, notes):
    with concurrent.futures.ThreadPoolExecutor() as threads:
        done = threads.submit(meet, tasks[0], FACTS, 30.0)
        assert json.loads(come(tasks[0], message(seconds))) == {"error": None}
    rest = "training does not depend on it, but set it, for what is logged there."
    assert done.result() == [f"{note}{rest}" for note in notes]


@pytest.mark.parametrize(
    "text", ["GET / HTTP/1.1", "[]", "{}", '{"task": "worker 7", "clock": 1.0}']
)
def test_what_is_no_task_is_ignored(tasks, text):
    with concurrent.futures.ThreadPoolExecutor() as threads:
        done = threads.submit(meet, tasks[0], FACTS, 30.0)
        assert come(tasks[0], text) == ""
        assert json.loads(come(tasks[0], message(0))) == {"error": None}
    assert done.result() == []
