"""Strategies by name, their errors, and failures of other processes."""

import socket

import pytest
import tensorflow as tf

from tfrec_attn import config as configuration
from tfrec_attn.config import Runtime
from tfrec_attn.errors import ConfigError, TrainingError
from tfrec_attn.runtime import distribution
from tfrec_attn.runtime.distribution import check_batch, make_strategy, training_input


def names(strategy):
    return [device.rpartition("device:")[2] for device in strategy.extended.worker_devices]


def test_default_is_one_device():
    assert make_strategy(Runtime()).num_replicas_in_sync == 1


def test_mirrored_takes_the_named_devices():
    strategy = make_strategy(Runtime(strategy="mirrored", devices=["CPU:1", "CPU:0"]))
    assert names(strategy) == ["CPU:1", "CPU:0"]
    assert make_strategy(Runtime(strategy="mirrored", devices=["CPU:1", "CPU:0"])) is strategy


def test_mirrored_takes_all_gpus_else_all_cpus():
    expected = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    assert names(make_strategy(Runtime(strategy="mirrored"))) == [
        device.name.rpartition("device:")[2] for device in expected
    ]


def test_strategies_of_several_devices_share_a_process():
    @tf.function
    def total():
        replica = tf.distribute.get_replica_context()
        number = tf.cast(replica.replica_id_in_sync_group + 1, tf.float32)
        return replica.all_reduce("SUM", tf.fill([2], number)), replica.all_gather(
            tf.fill([1], number), axis=0
        )

    for devices in ([0, 1], [0, 1, 2], [2, 1], [0], [0, 1, 2], [0, 1]):
        strategy = make_strategy(
            Runtime(strategy="mirrored", devices=[f"CPU:{device}" for device in devices])
        )
        numbers = range(1, len(devices) + 1)
        sums, gathered = strategy.run(total)
        for one in strategy.experimental_local_results(sums):
            assert one.numpy().tolist() == [sum(numbers)] * 2
        for one in strategy.experimental_local_results(gathered):
            assert one.numpy().tolist() == list(numbers)


def test_a_missing_device_is_named_with_the_existing_ones():
    with pytest.raises(ConfigError) as caught:
        make_strategy(Runtime(strategy="mirrored", devices=["CPU:0", "CPU:7", "GPU:99"]))
    there = [
        f"{kind}:{number}"
        for kind in ("GPU", "CPU")
        for number in range(len(tf.config.list_logical_devices(kind)))
    ]
    assert str(caught.value) == (
        f"runtime.devices names CPU:7, GPU:99, but there is only {', '.join(there)}."
    )


@pytest.mark.parametrize(
    ("runtime", "sentence"),
    [
        (
            {"strategy": "mirrored", "devices": ["CPU:0", "gpu"]},
            "runtime.devices must be names such as GPU:0 or CPU:1, but has 'gpu'.",
        ),
        (
            {"strategy": "mirrored", "devices": ["CPU:0", "CPU:0"]},
            "runtime.devices must be one or more different devices, but is ['CPU:0', 'CPU:0'].",
        ),
        (
            {"strategy": "mirrored", "devices": []},
            "runtime.devices must be one or more different devices, but is [].",
        ),
    ],
)
def test_devices_that_are_refused(runtime, sentence):
    with pytest.raises(ConfigError) as caught:
        configuration.from_dict({"runtime": runtime})
    assert str(caught.value) == sentence


def test_a_batch_that_replicas_cannot_divide():
    check_batch(64, 4)
    with pytest.raises(ConfigError) as caught:
        check_batch(10, 4)
    assert str(caught.value) == (
        "train.batch_size must be a multiple of the number of replicas, 4, but is 10."
    )


class Stream:
    """A stream whose batches are the numbers of their steps."""

    def dataset(self, first_step=0, pipeline=None):
        return tf.data.Dataset.from_tensor_slices([first_step + number for number in range(4)])


def test_one_device_gets_a_plain_dataset():
    found = training_input(Stream(), tf.distribute.get_strategy(), 5)
    assert list(found.as_numpy_iterator()) == [5, 6, 7, 8]


def test_a_failure_of_another_process_is_one_sentence():
    task = distribution.Task("worker", 0, {"worker": ["a:1", "b:2"]})
    message = (
        "Collective ops is aborted by: Error reported from /job:worker/task:1: The following tasks "
        "are unhealthy (stopped sending heartbeats):\n/job:worker/replica:0/task:1\n"
        "The tasks have crashed. Check the task logs."
    )
    with pytest.raises(TrainingError) as caught, distribution.cluster_errors(task):
        raise tf.errors.UnavailableError(None, None, message)
    assert (
        str(caught.value)
        == "Another process of the cluster has failed: worker 1 does not answer any more."
    )
    with pytest.raises(tf.errors.UnavailableError), distribution.cluster_errors(None):
        raise tf.errors.UnavailableError(None, None, "alone")


def test_an_unreachable_process_is_named_if_the_failure_names_none():
    message = (
        "{{function_node __wrapped__CollectiveReduceV2}} "
        "Collective ops is aborted by: Connection reset by peer\nmore"
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as there,
        socket.create_server(("127.0.0.1", 0)) as gone,
    ):
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in (there, gone)]
        task = distribution.Task("worker", 0, {"worker": ["127.0.0.1:1", *addresses]})
        for name in (
            "Collective ops is aborted by: Connection reset by peer",
            "worker 2 does not answer any more",
        ):
            with pytest.raises(TrainingError) as caught, distribution.cluster_errors(task):
                raise tf.errors.AbortedError(None, None, message)
            assert str(caught.value) == f"Another process of the cluster has failed: {name}."
            gone.close()
