"""Training on several devices or processes: strategies by name, and what the processes of a cluster
owe each other.
"""

import contextlib
import functools
import re

import numpy as np

from tfrec_attn.config import Runtime
from tfrec_attn.errors import ConfigError, TrainingError
from tfrec_attn.runtime import cluster
from tfrec_attn.runtime.cluster import Task

# Seconds until a task that has not been seen is given up: reading the log may take the one longer
# than the other.
_START = 600.0
_MOST_LOGICAL_CPUS = 64


def configure_devices(devices: list[str] | None) -> None:
    """Makes the logical CPUs that the names ask for ("CPU:1" is the second); before TensorFlow's
    first operation.
    """
    import tensorflow as tf

    wanted = 1 + max([int(name[4:]) for name in devices or [] if name.startswith("CPU")], default=0)
    cpus = tf.config.list_physical_devices("CPU")
    if len(cpus) < wanted <= _MOST_LOGICAL_CPUS:
        # A program that has initialised TensorFlow keeps the devices it has; what is missing then
        # is said later.
        with contextlib.suppress(RuntimeError):
            tf.config.set_logical_device_configuration(
                cpus[0], [tf.config.LogicalDeviceConfiguration() for _ in range(wanted)]
            )


def make_strategy(runtime: Runtime, task: Task | None = None):
    """The `tf.distribute` strategy of a configuration.

    Args:
      runtime: its `strategy` and `devices` count. "default" is one device; "mirrored" the devices,
        else all GPUs, else the logical CPUs; "multi_worker" all GPUs, else the CPU, of each process
        of a cluster.
      task: of this process, for "multi_worker".

    Errors: ConfigError when a device is missing; TrainingError when another process does not
    answer.
    """
    import tensorflow as tf

    if runtime.strategy == "default":
        return tf.distribute.get_strategy()
    if runtime.strategy == "mirrored":
        return _mirrored(_devices(runtime.devices))
    if not task.writes:
        cluster.wait_for("the first task", task.leader, _START)
    return _multi_worker()


def _devices(names: list[str] | None) -> tuple[str, ...]:
    import tensorflow as tf

    devices = [
        device.name for kind in ("GPU", "CPU") for device in tf.config.list_logical_devices(kind)
    ]
    there = {name.removeprefix("/device:"): name for name in devices}
    if names is None:
        kind = "GPU" if "GPU:0" in there else "CPU"
        return tuple(device for name, device in there.items() if name.startswith(kind))
    missing = [name for name in names if name not in there]
    if missing:
        raise ConfigError(
            f"runtime.devices names {', '.join(missing)}, but there is only {', '.join(there)}."
        )
    return tuple(there[name] for name in names)


@functools.cache
def _mirrored(devices):
    """One strategy a process for the same devices: each new one numbers its collectives from the
    start, as the one before did.
    """
    import tensorflow as tf

    # Without collectives, CPUs can be shared by strategies of other devices in the same process.
    alone = all("CPU" in device for device in devices)
    return tf.distribute.MirroredStrategy(
        devices, tf.distribute.ReductionToOneDevice() if alone else None
    )


@functools.cache
def _multi_worker():
    import tensorflow as tf

    return tf.distribute.MultiWorkerMirroredStrategy()


def check_batch(batch_size: int, replicas: int) -> None:
    """Whether the replicas can share a global batch.

    Errors: ConfigError when they cannot.
    """
    if batch_size % replicas:
        raise ConfigError(
            f"train.batch_size must be a multiple of the number of replicas, {replicas}, but is {batch_size}."
        )


@contextlib.contextmanager
def failing_together(task: Task | None):
    """Within it the failure of another process of the cluster becomes a TrainingError.

    Args:
      task: of this process; None where it is alone.
    """
    import tensorflow as tf

    if task is None:
        yield
        return
    # It tells of each attempt to reach a worker that is gone.
    tf.get_logger().setLevel("CRITICAL")
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.DeadlineExceededError,
        tf.errors.CancelledError,
    ) as error:
        raise TrainingError(
            f"Another process of the cluster has failed: {_reason(error, task)}"
        ) from None


def _reason(error, task: Task) -> str:
    """The first task that an error names as lost, else one that does not answer, else the error's
    first line.
    """
    lost = re.search(r"unhealthy[^\n]*\n/job:(\w+)/replica:\d+/task:(\d+)", str(error))
    gone = (
        f"{lost[1]} {lost[2]}"
        if lost
        else next(
            (name for name, address in task.others().items() if not cluster.answers(address)), None
        )
    )
    return (
        f"{gone} has stopped."
        if gone
        else f"{re.sub(r'{{.*?}} ?', '', str(error).splitlines()[0]).rstrip('.')}."
    )


def training_input(stream, strategy, first_step: int = 0):
    """What `fit` takes under a strategy: a stream of batches, each replica's part of a batch made
    where the replica is.

    Args:
      stream: its `dataset(first_step, pipeline)` gives what one `tf.distribute.InputContext` feeds.
      strategy: the model's.
      first_step: of the first batch.
    """
    import tensorflow as tf

    with strategy.scope():
        if not tf.distribute.has_strategy():
            return stream.dataset(first_step)
    return tf.keras.utils.experimental.DatasetCreator(
        lambda pipeline: stream.dataset(first_step, pipeline)
    )


def from_first(strategy, variables, text: str | None) -> str | None:
    """Gives the variables of all processes the values that they have in the first, with a text.

    Args:
      strategy: a multi-worker one.
      variables: that exist on all.
      text: of the first process counts; where it is None or empty, the variables stay as they are.

    Returns: the first process's text.
    """
    code = np.frombuffer((text or "").encode(), np.uint8).astype(np.int32)
    length = int(_shared(strategy, np.int32(len(code))))
    if not length:
        return None
    code = _shared(strategy, code if len(code) == length else np.zeros(length, np.int32))
    for variable in variables:
        variable.assign(_shared(strategy, variable.numpy()))
    return code.numpy().astype(np.uint8).tobytes().decode()


def _shared(strategy, value):
    import tensorflow as tf

    @tf.function
    def on_replica(value):
        context = tf.distribute.get_replica_context()
        first = tf.equal(context.replica_id_in_sync_group, 0)
        return context.all_reduce("SUM", tf.where(first, value, tf.zeros_like(value)))

    return strategy.experimental_local_results(
        strategy.run(on_replica, args=(tf.constant(value),))
    )[0]
