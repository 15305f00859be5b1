"""Sequences packed into rows, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.losses.packing import pack
from tfrec_attn.models import SASRec


def test_rows_by_hand():
    # Lengths 2, 5, 0, 1, 3: the longest fills a row, 3 and 2 fill the next, and 1 is in a third.
    history = [
        [0, 0, 0, 0, 11, 12],
        [0, 21, 22, 23, 24, 25],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 41],
        [0, 0, 0, 51, 52, 53],
    ]
    times = np.array(history) + 100
    packed, places = pack(
        {
            "user": tf.constant([1, 2, 3, 4, 5], tf.int64),
            "history": tf.constant(history, tf.int64),
            "times": tf.constant(times, tf.float32),
        }
    )
    assert packed.keys() == {"history", "times", "sequence", "age"}
    rows = [[21, 22, 23, 24, 25], [51, 52, 53, 11, 12], [41, 0, 0, 0, 0]]
    np.testing.assert_array_equal(packed["history"], rows)
    np.testing.assert_array_equal(packed["times"], (np.array(rows) + 100) * (np.array(rows) > 0))
    np.testing.assert_array_equal(packed["sequence"], [[2] * 5, [5, 5, 5, 1, 1], [4, 0, 0, 0, 0]])
    np.testing.assert_array_equal(packed["age"], [[4, 3, 2, 1, 0], [2, 1, 0, 1, 0], [0] * 5])
    real = np.array(history) > 0
    np.testing.assert_array_equal(np.ravel(rows)[places.numpy()[real]], np.array(history)[real])


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 40])
def test_any_number_of_sequences(rows):
    random = np.random.default_rng(rows)
    lengths = random.integers(1, 8, rows)
    history = [[0] * (7 - one) + list(range(1, one + 1)) for one in lengths]
    history = np.array(history, np.int64).reshape(rows, 7)
    # The number of sequences is not known when the function is traced.
    traced = tf.function(pack, input_signature=[{"history": tf.TensorSpec([None, 7], tf.int64)}])
    packed, places = traced({"history": tf.constant(history, tf.int64)})
    assert int((packed["sequence"] > 0).numpy().sum()) == lengths.sum()
    found = packed["history"].numpy().ravel()
    assert (found > 0).sum() == lengths.sum()
    real = history > 0
    np.testing.assert_array_equal(found[places.numpy()[real]], history[real])
    assert packed["history"].shape[1] == max(lengths, default=1)
    assert packed["history"].shape[0] <= max(1, rows)


def test_a_sequence_of_more_events_than_positions():
    model = SASRec(1, 4, 2, dim=2, dropout=0.0)
    model.compile("sgd", "softmax", reduction="mean")

    def loss(history, targets):
        features = {"user": [1], "history": [history], "targets": [targets], "normalizer": [0.5]}
        return float(model.compute_loss({name: tf.constant(one) for name, one in features.items()}))

    assert loss([0, 0, 2, 3], [0, 0, 3, 4]) == pytest.approx(loss([2, 3], [3, 4]), rel=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most max_length = 2 events"):
        loss([1, 2, 3], [2, 3, 4])
