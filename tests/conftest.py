"""Settings and fixtures of all tests: Keras, three logical CPUs, seeds, and real data."""

import gc
import os
import random
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Two processes share the cores, and no tensor of a test is large. Processes that tests start and
# compare with their own must add in the same order.
os.environ["TF_NUM_INTRAOP_THREADS"] = "1"

# isort: off
import tfrec_attn  # noqa: F401  before TensorFlow, because it chooses Keras
import numpy as np
import pytest
import tensorflow as tf
# isort: on

REPOSITORY = Path(__file__).resolve().parents[1]

# tests/test_keras3.py needs a process with the Keras of its environment variable.
assert tf.keras.layers.Layer.__module__.startswith("tf_keras") == (
    os.environ["TF_USE_LEGACY_KERAS"] != "0"
)

# MirroredStrategy trains on these in tests; they must be made before TensorFlow initializes.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration() for _ in range(3)],
)

# Tracing makes many objects, and each collection would go through all modules of TensorFlow.
gc.freeze()
gc.set_threshold(10_000, 10, 10)


@pytest.fixture(autouse=True)
def _seeds():
    """Seeds Python, NumPy and TensorFlow before each test.

    tf.keras.utils.set_random_seed breaks tf_keras 2.16 (randint with 1e9). After it, Keras also
    draws the seeds of initial weights from its own generator, so trainings in this process would
    differ from those of the command.
    """
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  Keras draws seeds from the global state
    tf.random.set_seed(0)


@pytest.fixture
def small_batches_in_groups(monkeypatch):
    """Cuts batches of any size into groups of sequences of similar length, as large ones are."""
    from tfrec_attn.losses import position_objective

    monkeypatch.setattr(position_objective, "_ROWS_TO_SPLIT", 0)


@pytest.fixture(scope="session")
def real_data():
    """The folder of real logs: `$TFREC_DATA`, else `shared/data` beside the repository."""
    path = Path(os.environ.get("TFREC_DATA") or REPOSITORY.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"no real data at {path}: set TFREC_DATA to a folder that holds them")
    return path


@pytest.fixture
def no_warmup(monkeypatch):
    """Exports without warm-up requests, which take half of their time."""
    monkeypatch.setattr("export.warmup.write_warmup", lambda *_, **__: 0)


@pytest.fixture
def make_leave_one_out():
    """A function that makes a leave-one-out split of histories of items 1..N, one for each user."""
    from tfrec_attn.data.sequences.encoding import Sequences
    from tfrec_attn.data.sequences.splits import leave_one_out
    from tfrec_attn.data.sequences.vocabulary import Vocabulary

    def make(histories, num_items):
        items = np.concatenate([np.asarray(history, np.int32) for history in histories])
        offsets = np.cumsum([0, *map(len, histories)]).astype(np.int64)
        users, names = (
            Vocabulary([f"{kind}{i}" for i in range(1, n + 1)])
            for kind, n in (("u", len(histories)), ("i", num_items))
        )
        return leave_one_out(Sequences(items, offsets, np.arange(len(items)), users, names))

    return make
