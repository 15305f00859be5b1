"""What a program sets once: seeds, devices, precision, and silence of TensorFlow's start."""

import contextlib
import os
import random
import sys
import tempfile

import numpy as np


def import_tensorflow():
    """TensorFlow, without the notes that its C++ side writes to stderr while it loads; they are
    shown when loading fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with capture_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()
    return tf


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow."""
    import tensorflow as tf

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - Keras draws from the legacy generator
    tf.random.set_seed(seed)


def make_deterministic() -> None:
    """Makes every later operation of this process give the same bits again, also those that are
    faster without.
    """
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def set_precision(name: str) -> None:
    """Keras' global policy: float32, mixed_bfloat16 or mixed_float16. Losses, norms and scores stay
    in float32.
    """
    import tensorflow as tf

    tf.keras.mixed_precision.set_global_policy(name)


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024.0 if sys.platform != "darwin" else 1024.0**2
    )


@contextlib.contextmanager
def capture_stderr():
    """What is written to stderr meanwhile, also from C++, is shown only when an exception comes
    through.
    """
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
