"""Settings of a process: the import of TensorFlow, seeds, precision and stderr."""

import contextlib
import gc
import os
import platform
import random
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

# Only one thread at a time can capture file descriptor 2, which belongs to the process.
_IMPORT = threading.Lock()


def import_tensorflow() -> Any:
    """Imports TensorFlow without its log messages on stderr, unless the import fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _IMPORT, capture_stderr(), collecting_no_garbage():
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
    """Sets Keras' global policy to float32, mixed_bfloat16 or mixed_float16.

    With each of them, losses, norms and scores are float32.
    """
    import tensorflow as tf

    tf.keras.mixed_precision.set_global_policy(name)


def peak_memory_mb() -> float:
    """Returns the peak resident memory of this process so far, in MB."""
    import resource

    units_per_mb = 1024.0**2 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units_per_mb


def environment() -> dict[str, Any]:
    """Returns the versions of the packages and of Python, the system, and the number of cores."""
    import tensorflow as tf

    return {
        "tfrec_attn": sys.modules["tfrec_attn"].__version__,
        "tensorflow": tf.__version__,
        "keras": getattr(tf.keras, "__version__", "2"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }


@contextlib.contextmanager
def collecting_no_garbage() -> Iterator[None]:
    """Pauses the garbage collector in the block, which saves a quarter of large imports' time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def capture_stderr() -> Iterator[None]:
    """Hides what Python and C++ write to stderr in the block, unless it raises an exception."""
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
