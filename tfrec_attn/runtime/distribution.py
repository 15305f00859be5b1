"""`tf.distribute` strategies by name, their input, and failures of other processes."""

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfrec_attn.config import Runtime
from tfrec_attn.errors import ConfigError, TrainingError
from tfrec_attn.runtime import cluster
from tfrec_attn.runtime.cluster import Task

_MAX_LOGICAL_CPUS = 64


def configure_devices(devices: list[str] | None) -> None:
    """Makes the logical CPUs of device names such as "CPU:1", before the first operation."""
    import tensorflow as tf

    wanted = 1 + max([int(name[4:]) for name in devices or [] if name.startswith("CPU")], default=0)
    cpus = tf.config.list_physical_devices("CPU")
    if len(cpus) < wanted <= _MAX_LOGICAL_CPUS:
        # TensorFlow may be initialized already; `make_strategy` reports the missing devices.
        with contextlib.suppress(RuntimeError):
            tf.config.set_logical_device_configuration(
                cpus[0], [tf.config.LogicalDeviceConfiguration() for _ in range(wanted)]
            )


def make_strategy(runtime: Runtime) -> Any:
    """Returns the `tf.distribute` strategy of a configuration.

    Args:
        runtime: Its strategy "default" uses one device; "mirrored" uses `devices`, by default all
            GPUs or else the logical CPUs; "multi_worker" uses all GPUs, or else the CPU, of each
            process of a cluster, in which the others must start at the same time
            (`rendezvous.meet`).

    Raises:
        ConfigError: If a device is missing.
    """
    import tensorflow as tf

    if runtime.strategy == "default":
        return tf.distribute.get_strategy()
    if runtime.strategy == "mirrored":
        return _mirrored(_devices(runtime.devices))
    return _multi_worker()


def _devices(names: list[str] | None) -> tuple[str, ...]:
    import tensorflow as tf

    devices = [
        device.name for kind in ("GPU", "CPU") for device in tf.config.list_logical_devices(kind)
    ]
    found = {name.removeprefix("/device:"): name for name in devices}
    if names is None:
        kind = "GPU" if "GPU:0" in found else "CPU"
        return tuple(device for name, device in found.items() if name.startswith(kind))
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigError(
            f"runtime.devices names {', '.join(missing)}, but there is only {', '.join(found)}."
        )
    return tuple(found[name] for name in names)


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> Any:
    """Returns one strategy for the same devices, because new ones reuse keys of collectives."""
    import tensorflow as tf

    # Without collectives, several strategies of a process can share its CPUs.
    on_cpu = all("CPU" in device for device in devices)
    return tf.distribute.MirroredStrategy(
        devices, tf.distribute.ReductionToOneDevice() if on_cpu else None
    )


@functools.cache
def _multi_worker() -> Any:
    import tensorflow as tf

    return tf.distribute.MultiWorkerMirroredStrategy()


def check_batch(batch_size: int, replicas: int) -> None:
    """Checks that a global batch can be divided among the replicas.

    Raises:
        ConfigError: If it cannot.
    """
    if batch_size % replicas:
        raise ConfigError(
            f"train.batch_size must be a multiple of the number of replicas, {replicas}, "
            f"but is {batch_size}."
        )


@contextlib.contextmanager
def cluster_errors(task: Task | None) -> Iterator[None]:
    """Turns TensorFlow's errors about failed processes of the cluster into a TrainingError.

    Args:
        task: Task of this process; None without a cluster.
    """
    import tensorflow as tf

    if task is None:
        yield
        return
    # TensorFlow logs each attempt to reach a lost worker.
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


def _reason(error: Exception, task: Task) -> str:
    """Names the task that the error reports or that is unreachable, or quotes the error."""
    lost = re.search(r"unhealthy[^\n]*\n/job:(\w+)/replica:\d+/task:(\d+)", str(error))
    if lost:
        return f"{lost[1]} {lost[2]} does not answer any more."
    for name, address in task.others().items():
        if not cluster.is_reachable(address):
            return f"{name} does not answer any more."
    return f"{re.sub(r'{{.*?}} ?', '', str(error).splitlines()[0]).rstrip('.')}."


def training_input(stream: Any, strategy: Any, first_step: int = 0) -> Any:
    """Returns the input of `fit`, in which each worker makes the batches of its own replicas.

    Args:
        stream: Its `dataset(first_step, pipeline)` returns the batches of a
            `tf.distribute.InputContext`.
        strategy: The strategy of the model.
        first_step: Step of the first batch.
    """
    import tensorflow as tf

    from tfrec_attn.keras_versions import keras

    with strategy.scope():
        if not tf.distribute.has_strategy():
            return stream.dataset(first_step)
    return keras.distributed_input(strategy, lambda pipeline: stream.dataset(first_step, pipeline))


def broadcast_from_chief(strategy: Any, variables: list, text: str | None) -> str | None:
    """Copies the variables and a text of the chief to all processes.

    Args:
        strategy: A multi-worker strategy.
        variables: Variables of each process, in the same order.
        text: If that of the chief is None or empty, the variables are not changed.

    Returns:
        The text of the chief.
    """
    code = np.frombuffer((text or "").encode(), np.uint8).astype(np.int32)
    length = int(_broadcast(strategy, np.int32(len(code))))
    if not length:
        return None
    code = _broadcast(strategy, code if len(code) == length else np.zeros(length, np.int32))
    for variable in variables:
        variable.assign(_broadcast(strategy, variable.numpy()))
    return code.numpy().astype(np.uint8).tobytes().decode()


def _broadcast(strategy: Any, value: np.ndarray) -> Any:
    import tensorflow as tf

    @tf.function(autograph=False)
    def on_replica(value):
        context = tf.distribute.get_replica_context()
        first = tf.equal(context.replica_id_in_sync_group, 0)
        return context.all_reduce("SUM", tf.where(first, value, tf.zeros_like(value)))

    return strategy.experimental_local_results(
        strategy.run(on_replica, args=(tf.constant(value),))
    )[0]
