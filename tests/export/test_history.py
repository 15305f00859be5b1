"""Compaction and leaving out, worked by hand, and the choice of the best against sorting in Python."""

import numpy as np
import tensorflow as tf

from export.explanation import left_out
from export.history import latest, places, spread
from export.selection import FLOOR, best, distinct, hide, hide_among

ROWS = tf.constant([[0, 7, 0, 5, 9, 0], [1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]])


def test_places_count_from_the_latest():
    assert places(ROWS).numpy().tolist() == [[0, 3, 0, 2, 1, 0], [6, 5, 4, 3, 2, 1], [0] * 6]


def test_the_latest_known_events():
    assert latest(ROWS, 4).numpy().tolist() == [[0, 7, 5, 9], [3, 4, 5, 6], [0] * 4]
    assert latest(ROWS, 2).numpy().tolist() == [[5, 9], [5, 6], [0] * 2]
    assert latest(ROWS, 8).numpy().tolist() == [
        [0] * 5 + [7, 5, 9],
        [0, 0, 1, 2, 3, 4, 5, 6],
        [0] * 8,
    ]


def test_what_belongs_to_the_latest_goes_back_to_its_place():
    values = tf.constant([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], [0.9, 1.0, 1.1, 1.2]])
    expected = [[0, 0.2, 0, 0.3, 0.4, 0], [0, 0, 0.5, 0.6, 0.7, 0.8], [0] * 6]
    np.testing.assert_array_equal(spread(values, ROWS), np.array(expected, np.float32))


def test_each_event_left_out_once():
    """The oldest of the L + 1 moves in; where there is none, padding does."""
    found = left_out(tf.constant([[1, 2, 3, 4], [0, 0, 5, 6]])).numpy().tolist()
    assert found[0] == [[2, 3, 4], [1, 3, 4], [1, 2, 4], [1, 2, 3]]
    assert found[1] == [[0, 5, 6], [0, 5, 6], [0, 0, 6], [0, 0, 5]]


def test_hidden_items_have_the_floor():
    scores = tf.constant([[9.0, 1.0, 2.0, 3.0], [9.0, 4.0, 5.0, 6.0]])
    assert hide(scores, tf.constant([[3, 3, 0], [1, 2, 0]])).numpy().tolist() == [
        [FLOOR, 1, 2, FLOOR],
        [FLOOR, FLOOR, FLOOR, 6],
    ]
    assert hide(scores, tf.zeros([2, 0], tf.int32)).numpy().tolist() == [
        [FLOOR, 1, 2, 3],
        [FLOOR, 4, 5, 6],
    ]
    rows = tf.constant([[3, 0, 1], [7, 2, 7]])
    found = hide_among(scores[:, 1:], rows, tf.constant([[5, 1], [2, 2]])).numpy().tolist()
    assert found == [[1, FLOOR, FLOOR], [4, FLOOR, 6]]
    assert hide_among(scores[:, 1:], rows, tf.zeros([2, 0], tf.int32)).numpy().tolist() == [
        [1, FLOOR, 3],
        [4, 5, 6],
    ]


def test_the_best_of_a_list():
    scores, rows = (
        tf.constant([[1.0, 3.0, 3.0], [FLOOR, 2.0, FLOOR]]),
        tf.constant([[8, 9, 7], [0, 4, 0]]),
    )
    for k, expected in (
        (0, [[], []]),
        (1, [[9], [4]]),
        (2, [[9, 7], [4, 0]]),
        (5, [[9, 7, 8, 0, 0], [4, 0, 0, 0, 0]]),
    ):
        assert best(scores, rows, k)[1].numpy().tolist() == expected
    assert best(scores, rows, 5)[0].numpy().tolist() == [[3, 3, 1, FLOOR, FLOOR], [2] + [FLOOR] * 4]


def test_rows_of_a_list_once():
    assert distinct(tf.constant([[5, 2, 5, 0, 5], [0, 3, 1, 3, 0]])).numpy().tolist() == [
        [0, 2, 5, 0, 0],
        [0, 0, 1, 3, 0],
    ]
