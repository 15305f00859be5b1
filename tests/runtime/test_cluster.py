"""The tasks of TF_CONFIG, and waiting for them."""

import json

import pytest

from tfrec_attn.errors import ConfigError
from tfrec_attn.runtime import cluster

WORKERS = {"worker": ["a:1", "b:2"]}
CHIEF = {"chief": ["c:3"], **WORKERS}


@pytest.fixture
def task(monkeypatch):
    """A function that sets TF_CONFIG to an object, a text or nothing, and reads it."""

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
    ("jobs", "job", "index", "is_chief"),
    [
        (WORKERS, "worker", 0, True),
        (WORKERS, "worker", 1, False),
        (CHIEF, "chief", 0, True),
        (CHIEF, "worker", 0, False),
    ],
)
def test_the_chief(task, jobs, job, index, is_chief):
    found = task("multi_worker", {"cluster": jobs, "task": {"type": job, "index": index}})
    assert (found.job, found.index, found.is_chief) == (job, index, is_chief)


def test_other_tasks(task):
    found = task("multi_worker", {"cluster": CHIEF, "task": {"type": "worker", "index": 0}})
    assert found.others() == {"chief 0": "c:3", "worker 1": "b:2"}
    assert found.chief_address == "c:3"


FIRST = {"type": "worker", "index": 0}


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        (
            None,
            "runtime.strategy=multi_worker needs TF_CONFIG, the JSON text of a cluster "
            "and of this task, but it is not set.",
        ),
        (
            "{'cluster'",
            "TF_CONFIG must be JSON, but is not: "
            "Expecting property name enclosed in double quotes: line 1 column 2 (char 1).",
        ),
        (
            [1],
            "TF_CONFIG must be a JSON object with the objects cluster and task, "
            "but has no cluster.",
        ),
        (
            {"task": FIRST},
            "TF_CONFIG must be a JSON object with the objects cluster and task, "
            "but has no cluster.",
        ),
        (
            {"cluster": WORKERS},
            "TF_CONFIG must be a JSON object with the objects cluster and task, but has no task.",
        ),
        (
            {"cluster": WORKERS, "task": {"type": "worker", "index": 2}},
            "task.index of TF_CONFIG must be from 0 to 1, the tasks in its cluster, but is 2.",
        ),
        (
            {"cluster": WORKERS, "task": {"type": "worker", "index": "0"}},
            "task.index of TF_CONFIG must be from 0 to 1, the tasks in its cluster, but is '0'.",
        ),
        (
            {"cluster": WORKERS, "task": {"type": "evaluator", "index": 0}},
            "task.type of TF_CONFIG must be one of its cluster, worker, but is 'evaluator'.",
        ),
        (
            {"cluster": {**WORKERS, "ps": ["c:3"]}, "task": FIRST},
            "runtime.strategy=multi_worker takes the jobs chief, worker, "
            "but the cluster of TF_CONFIG has 'ps'.",
        ),
        (
            {"cluster": {"worker": "a:1"}, "task": FIRST},
            "cluster.worker of TF_CONFIG must be a list of addresses host:port, but is 'a:1'.",
        ),
        (
            {"cluster": {"worker": ["a"]}, "task": FIRST},
            "cluster.worker of TF_CONFIG must be a list of addresses host:port, but is ['a'].",
        ),
        (
            {"cluster": {"worker": ["a:1", "a:1"]}, "task": FIRST},
            "the tasks in the cluster of TF_CONFIG must have different addresses, but have a:1, "
            "a:1.",
        ),
        (
            {"cluster": {}, "task": FIRST},
            "runtime.strategy=multi_worker needs a worker in the cluster of TF_CONFIG, "
            "but it has none.",
        ),
        (
            {"cluster": {**WORKERS, "chief": ["c:3", "d:4"]}, "task": FIRST},
            "runtime.strategy=multi_worker needs at most 1 chief in the cluster of TF_CONFIG, "
            "but it has 2.",
        ),
    ],
)
def test_a_malformed_tf_config_is_one_sentence(task, tree, sentence):
    with pytest.raises(ConfigError) as caught:
        task("multi_worker", tree)
    assert str(caught.value) == sentence
