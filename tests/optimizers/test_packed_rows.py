"""Rows of several tables in one vector against their concatenation."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.optimizers.packed_rows import can_be_packed, pack, unpack


def rows(indices, values, dtype=np.int64, rows=9):
    values = np.array(values, np.float32)
    return tf.IndexedSlices(
        tf.constant(values),
        tf.constant(np.array(indices, dtype)),
        tf.constant([rows, *values.shape[1:]], tf.int64),
    )


def test_a_vector_has_lengths_indices_and_values():
    vector = pack([rows([7, 2], [[0.5], [-1.5]]), rows([1], [[3.0, 4.0]])]).numpy()
    assert vector[[0, 1, 2, 3, 6]].view(np.int32).tolist() == [2, 1, 7, 2, 1]
    assert vector[[4, 5, 7, 8]].tolist() == [0.5, -1.5, 3.0, 4.0]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_rows_of_replicas_follow_each_other(dtype):
    # Index 0x7fc00001 has the bits of a NaN, and 1 those of a denormal number.
    first = [rows([0x7FC00001, 1], np.ones([2, 2, 3]), dtype), rows([], np.ones([0, 4]), dtype)]
    second = [rows([5], np.full([1, 2, 3], 2), dtype), rows([3, 3], [[1, 2, 3, 4]] * 2, dtype)]
    unpacked = tf.function(
        lambda: unpack(tf.concat([pack(first), pack(second)], 0), 2, first), autograph=False
    )
    table, other = unpacked()
    assert table.indices.numpy().tolist() == [0x7FC00001, 1, 5]
    assert table.indices.dtype == dtype
    np.testing.assert_array_equal(table.values[:, 0, 0], [1, 1, 2])
    assert table.values.shape[1:] == [2, 3]
    assert other.indices.numpy().tolist() == [3, 3]
    np.testing.assert_array_equal(other.values, [[1, 2, 3, 4]] * 2)


def test_what_cannot_be_packed():
    assert can_be_packed(rows([1], [[1.0]]))
    assert can_be_packed(rows([1], [[1.0]], rows=2**31 - 1))
    assert not can_be_packed(rows([1], [[1.0]], rows=2**31))
    half = tf.IndexedSlices(tf.ones([1, 2], tf.float16), tf.constant([1]), tf.constant([9, 2]))
    assert not can_be_packed(half)
    assert not can_be_packed(tf.IndexedSlices(tf.ones([1, 2]), tf.constant([1])))
