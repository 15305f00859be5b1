"""`tf.distribute` strategies: makes them and their input, and reports failed processes."""

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
    """Creates the logical CPUs that device names such as "CPU:1" need.

    Call it before the first operation of TensorFlow.
    """
    import tensorflow as tf

    wanted = 1 + max([int(name[4:]) for name in devices or [] if name.startswith("CPU")], default=0)
    cpus = tf.config.list_physical_devices("CPU")
    if len(cpus) < wanted <= _MAX_LOGICAL_CPUS:
        # It fails if TensorFlow is initialized. Then `make_strategy` reports missing devices.
        with contextlib.suppress(RuntimeError):
            tf.config.set_logical_device_configuration(
                cpus[0], [tf.config.LogicalDeviceConfiguration() for _ in range(wanted)]
            )


def make_strategy(runtime: Runtime) -> Any:
    """Returns the `tf.distribute` strategy of a configuration.

    Args:
        runtime: Section `runtime` of the configuration. The strategy "default" uses one device.
            "mirrored" uses `devices`; without them, all GPUs, or all logical CPUs if there is no
            GPU. "multi_worker" uses all GPUs of each process of a cluster, or the CPU if there is
            no GPU. All processes must call this function at the same time, after
            `rendezvous.meet`.

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
    """One strategy for the same devices, because a second one would reuse keys of collectives."""
    import tensorflow as tf

    # ReductionToOneDevice uses no collectives, so that strategies of a process can share CPUs.
    on_cpu = all("CPU" in device for device in devices)
    return tf.distribute.MirroredStrategy(
        devices, tf.distribute.ReductionToOneDevice() if on_cpu else None
    )


@functools.cache
def _multi_worker() -> Any:
    import tensorflow as tf

    return tf.distribute.MultiWorkerMirroredStrategy()


def check_batch(batch_size: int, replicas: int) -> None:
    """Checks that the replicas can get equal parts of a global batch.

    Raises:
        ConfigError: If `batch_size` is not a multiple of `replicas`.
    """
    if batch_size % replicas:
        raise ConfigError(
            f"train.batch_size must be a multiple of the number of replicas, {replicas}, "
            f"but is {batch_size}."
        )


@contextlib.contextmanager
def cluster_errors(task: Task | None) -> Iterator[None]:
    """Turns TensorFlow's errors about failed processes of a cluster into a TrainingError.

    Args:
        task: Task of this process. None: there is no cluster.
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
    """A sentence about the task that the error names or that is unreachable, or the error."""
    lost = re.search(r"unhealthy[^\n]*\n/job:(\w+)/replica:\d+/task:(\d+)", str(error))
    if lost:
        return f"{lost[1]} {lost[2]} does not answer any more."
    for name, address in task.others().items():
        if not cluster.is_reachable(address):
            return f"{name} does not answer any more."
    return f"{re.sub(r'{{.*?}} ?', '', str(error).splitlines()[0]).rstrip('.')}."


def training_input(stream: Any, strategy: Any, first_step: int = 0) -> Any:
    """Returns the input of `fit`. Each worker makes the batches of its own replicas.

    Args:
        stream: Object with a method `dataset(first_step, pipeline)`, which returns the batches of a
            `tf.distribute.InputContext`.
        strategy: Strategy of the model.
        first_step: Step of the first batch (default: 0).
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
        variables: Variables of the process, in the same order in all processes.
        text: Text of the process. If the chief's text is None or empty, no variable changes.

    Returns:
        The text of the chief, or None if it is empty.
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
