"""Which process of a cluster this is, and whether the others answer."""

import json
import socket
import threading

import pytest

from tfrec_attn import cluster
from tfrec_attn.errors import ConfigError, TrainingError

WORKERS = {"worker": ["a:1", "b:2"]}
SERVERS = {"chief": ["a:1"], "worker": ["b:2"], "ps": ["c:3", "d:4"]}


@pytest.fixture
def task(monkeypatch):
    """A function that reads TF_CONFIG: an object, a text, or None for none."""

    def read(strategy, tree):
        if tree is None:
            monkeypatch.delenv("TF_CONFIG", raising=False)
        else:
            monkeypatch.setenv("TF_CONFIG", tree if isinstance(tree, str) else json.dumps(tree))
        return cluster.this_task(strategy)

    return read


@pytest.mark.parametrize("strategy", ["default", "mirrored"])
def test_one_process_needs_no_cluster(task, strategy):
    assert task(strategy, None) is None
    assert task(strategy, "{") is None


@pytest.mark.parametrize(
    ("strategy", "jobs", "job", "index", "writes", "serves"),
    [
        ("multi_worker", WORKERS, "worker", 0, True, False),
        ("multi_worker", WORKERS, "worker", 1, False, False),
        ("multi_worker", {"chief": ["c:1"], **WORKERS}, "chief", 0, True, False),
        ("multi_worker", {"chief": ["c:1"], **WORKERS}, "worker", 0, False, False),
        ("parameter_server", SERVERS, "chief", 0, True, False),
        ("parameter_server", SERVERS, "worker", 0, False, True),
        ("parameter_server", SERVERS, "ps", 0, False, True),
    ],
)
def test_who_writes_and_who_serves(task, strategy, jobs, job, index, writes, serves):
    found = task(strategy, {"cluster": jobs, "task": {"type": job, "index": index}})
    assert (found.job, found.index, found.writes, found.serves) == (job, index, writes, serves)


def test_the_others(task):
    found = task("parameter_server", {"cluster": SERVERS, "task": {"type": "worker", "index": 0}})
    assert found.others() == {"chief 0": "a:1", "ps 0": "c:3", "ps 1": "d:4"}
    assert found.leader == "a:1"


FIRST = {"type": "worker", "index": 0}


@pytest.mark.parametrize(
    ("strategy", "tree", "sentence"),
    [
        (
            "multi_worker",
            None,
            "runtime.strategy=multi_worker needs TF_CONFIG, the JSON text of a cluster and of this task, but it is not set.",
        ),
        (
            "multi_worker",
            "{'cluster'",
            "TF_CONFIG must be JSON, but is not: Expecting property name enclosed in double quotes: line 1 column 2 (char 1).",
        ),
        ("multi_worker", [1], "TF_CONFIG must be a JSON object with the objects cluster and task, but has no cluster."),
        ("multi_worker", {"task": FIRST}, "TF_CONFIG must be a JSON object with the objects cluster and task, but has no cluster."),
        ("multi_worker", {"cluster": WORKERS}, "TF_CONFIG must be a JSON object with the objects cluster and task, but has no task."),
        (
            "multi_worker",
            {"cluster": WORKERS, "task": {"type": "worker", "index": 2}},
            "task.index of TF_CONFIG must be from 0 to 1, as its cluster has it, but is 2.",
        ),
        (
            "multi_worker",
            {"cluster": WORKERS, "task": {"type": "worker", "index": "0"}},
            "task.index of TF_CONFIG must be from 0 to 1, as its cluster has it, but is '0'.",
        ),
        (
            "multi_worker",
            {"cluster": WORKERS, "task": {"type": "evaluator", "index": 0}},
            "task.type of TF_CONFIG must be one of its cluster, worker, but is 'evaluator'.",
        ),
        (
            "multi_worker",
            {"cluster": SERVERS, "task": FIRST},
            "runtime.strategy=multi_worker knows the jobs chief, worker, but the cluster of TF_CONFIG has 'ps'.",
        ),
        (
            "multi_worker",
            {"cluster": {"worker": "a:1"}, "task": FIRST},
            "cluster.worker of TF_CONFIG must be a list of addresses host:port, but is 'a:1'.",
        ),
        (
            "multi_worker",
            {"cluster": {"worker": ["a"]}, "task": FIRST},
            "cluster.worker of TF_CONFIG must be a list of addresses host:port, but is ['a'].",
        ),
        (
            "multi_worker",
            {"cluster": {"worker": ["a:1", "a:1"]}, "task": FIRST},
            "the tasks in the cluster of TF_CONFIG must have different addresses, but have a:1, a:1.",
        ),
        (
            "multi_worker",
            {"cluster": {}, "task": FIRST},
            "runtime.strategy=multi_worker needs a worker in the cluster of TF_CONFIG, but it has none.",
        ),
        (
            "parameter_server",
            {"cluster": {**SERVERS, "worker": ["b:2", "e:5"]}, "task": FIRST},
            "runtime.strategy=parameter_server needs one worker in the cluster of TF_CONFIG, but it has 2.",
        ),
        (
            "parameter_server",
            {"cluster": WORKERS, "task": FIRST},
            "runtime.strategy=parameter_server needs one chief in the cluster of TF_CONFIG, but it has 0.",
        ),
        (
            "parameter_server",
            {"cluster": {**SERVERS, "ps": []}, "task": FIRST},
            "runtime.strategy=parameter_server needs 1 or more ps in the cluster of TF_CONFIG, but it has 0.",
        ),
    ],
)
def test_a_malformed_tf_config_is_one_sentence(task, strategy, tree, sentence):
    with pytest.raises(ConfigError) as caught:
        task(strategy, tree)
    assert str(caught.value) == sentence


@pytest.fixture
def listening():
    """An open port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent():
    """A port of this machine that refuses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_waiting_ends(listening, silent):
    cluster.wait_for({"worker 0": listening}, seconds=0.0)
    with pytest.raises(TrainingError) as caught:
        cluster.wait_for({"worker 0": listening, "ps 0": silent}, seconds=0.0)
    assert str(caught.value) == f"ps 0 of the cluster does not answer at {silent} within 0 s; start it, or look why not."


def test_a_server_waits_for_the_coordinator_to_come_and_go(monkeypatch):
    heard, asked = iter([False, False, True, True, False, True, False, False, False]), []
    monkeypatch.setattr(cluster, "answers", lambda address: asked.append(address) or next(heard))
    monkeypatch.setattr(cluster.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(cluster.time, "monotonic", lambda: float(len(asked)))
    cluster.wait_until_gone("here:1", seconds=3.0)
    assert asked == ["here:1"] * 9


def test_whoever_waits_is_woken_up_when_a_task_is_lost(listening, silent):
    with pytest.raises(TrainingError) as caught, cluster.watched({"worker 0": listening, "worker 1": silent}, seconds=0.0):
        assert threading.Event().wait(60)
    assert str(caught.value) == f"worker 1 of the cluster has not answered at {silent} for 0 s."


def test_a_watch_leaves_what_goes_well_alone(listening):
    with cluster.watched({"worker 0": listening}, seconds=60.0):
        pass
    with pytest.raises(KeyError), cluster.watched({"worker 0": listening}, seconds=60.0):
        raise KeyError
