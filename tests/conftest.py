"""What every test gets: Keras chosen by the package, three logical CPUs, fixed seeds, and the real
data where there are any.
"""

import os
import random
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# isort: off
import tfrec_attn  # noqa: F401  before TensorFlow, because it chooses Keras
import numpy as np
import pytest
import tensorflow as tf
# isort: on

REPOSITORY = Path(__file__).resolve().parents[1]

# tests/test_keras3.py would prove nothing in a process that chose the other Keras.
assert tf.keras.layers.Layer.__module__.startswith("tf_keras") == (
    os.environ["TF_USE_LEGACY_KERAS"] != "0"
)

# Only possible before TensorFlow initialises its devices: tests of MirroredStrategy train on these.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration() for _ in range(3)],
)


@pytest.fixture(autouse=True)
def _seeds():
    """Seeds Python, NumPy and TensorFlow before each test.

    Not by tf.keras.utils.set_random_seed: it breaks tf_keras 2.16 (randint with 1e9), and from then
    on Keras draws the seeds of initial weights from a generator of its own, so that later trainings
    in the process no longer begin as the command's do.
    """
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  Keras draws seeds from the global state
    tf.random.set_seed(0)


@pytest.fixture
def two_groups(monkeypatch):
    """Splits the sequences of a batch into two groups by length instead of four, so that a step is
    traced faster.

    Tests that compare with a run of another process must not use it: the sums differ in their last
    bits.
    """
    from tfrec_attn.losses import objectives

    monkeypatch.setattr(objectives, "_LENGTH_QUANTILES", (0.5,))


@pytest.fixture(scope="session")
def real_data():
    """The folder of real logs: `$TFREC_DATA`, else `shared/data` beside the repository."""
    path = Path(os.environ.get("TFREC_DATA") or REPOSITORY.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"no real data at {path}: set TFREC_DATA to a folder that holds them")
    return path


@pytest.fixture
def make_leave_one_out():
    """A function that splits histories of items 1..N, oldest first, one a user, by leave-one-out."""
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
