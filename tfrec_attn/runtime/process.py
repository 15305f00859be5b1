"""Settings of a process: the import of TensorFlow, seeds, determinism and precision."""

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

# File descriptor 2 belongs to the process: one thread at a time captures it.
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
    """Sets Keras' global policy: float32, mixed_bfloat16 or mixed_float16.

    Losses, norms and scores stay in float32.
    """
    import tensorflow as tf

    tf.keras.mixed_precision.set_global_policy(name)


def peak_memory_mb() -> float:
    """Returns the peak resident memory of this process so far, in MB."""
    import resource

    units_per_mb = 1024.0**2 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units_per_mb


def environment() -> dict[str, Any]:
    """Returns the versions of the software, the system and its number of cores."""
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
    """Pauses the garbage collector inside, a quarter of the time that large imports take."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def capture_stderr() -> Iterator[None]:
    """Hides what is written to stderr inside, also from C++, unless an exception is raised."""
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
