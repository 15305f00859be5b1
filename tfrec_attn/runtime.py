"""What a program sets once: seeds, devices, precision, and silence of TensorFlow's start."""

import contextlib
import functools
import os
import random
import sys
import tempfile

import numpy as np

from tfrec_attn.errors import ConfigError


def import_tensorflow():
    """TensorFlow, without the notes that its C++ side writes to stderr while it loads; they are shown when loading fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_back_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()
    return tf


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow."""
    import tensorflow as tf

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - Keras draws from the legacy generator
    tf.random.set_seed(seed)


def set_precision(name: str) -> None:
    """Keras' global policy: float32, mixed_bfloat16 or mixed_float16. Losses, norms and scores stay in float32."""
    import tensorflow as tf

    tf.keras.mixed_precision.set_global_policy(name)


def make_strategy(name: str):
    """The `tf.distribute` strategy of a name: "default" (one device) or "mirrored" (all GPUs; logical CPUs where there is none)."""
    import tensorflow as tf

    if name == "default":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return _mirrored(tuple(device.name for device in devices))
    raise ConfigError(f"runtime.strategy must be one of default, mirrored, but is {name!r}.")


@functools.cache
def _mirrored(devices):
    """One strategy a process: each new one numbers its collectives from the start, and they would meet those of the one before."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices)


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024.0 if sys.platform != "darwin" else 1024.0**2)


@contextlib.contextmanager
def _held_back_stderr():
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
