"""Tests of the latest known events of a history, worked by hand."""

import numpy as np
import tensorflow as tf

from export.history import at_events, latest_events, leave_events_out, recency

ROWS = tf.constant([[0, 7, 0, 5, 9, 0], [1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]])


def test_recency_counts_from_the_latest_event():
    assert recency(ROWS).numpy().tolist() == [[0, 3, 0, 2, 1, 0], [6, 5, 4, 3, 2, 1], [0] * 6]


def test_latest_known_events():
    assert latest_events(ROWS, 4).numpy().tolist() == [[0, 7, 5, 9], [3, 4, 5, 6], [0] * 4]
    assert latest_events(ROWS, 2).numpy().tolist() == [[5, 9], [5, 6], [0] * 2]
    assert latest_events(ROWS, 8).numpy().tolist() == [
        [0] * 5 + [7, 5, 9],
        [0, 0, 1, 2, 3, 4, 5, 6],
        [0] * 8,
    ]


def test_values_at_the_columns_of_their_events():
    values = tf.constant([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], [0.9, 1.0, 1.1, 1.2]])
    expected = [[0, 0.2, 0, 0.3, 0.4, 0], [0, 0, 0.5, 0.6, 0.7, 0.8], [0] * 6]
    np.testing.assert_array_equal(at_events(values, ROWS), np.array(expected, np.float32))


def test_each_event_is_left_out_once():
    """The oldest of the L + 1 events moves in, or padding if there is none."""
    found = leave_events_out(tf.constant([[1, 2, 3, 4], [0, 0, 5, 6]])).numpy().tolist()
    assert found[0] == [[2, 3, 4], [1, 3, 4], [1, 2, 4], [1, 2, 3]]
    assert found[1] == [[0, 5, 6], [0, 5, 6], [0, 0, 6], [0, 0, 5]]
