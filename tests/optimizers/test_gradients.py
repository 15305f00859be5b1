"""Sums and norms of gradients against dense NumPy arrays."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.optimizers import add_gradients, clip_by_global_norm, sum_repeated_rows

ROWS, VALUES = [4, 1, 4, 2], np.array([[3.0, 0.0], [0.0, 2.0], [1.0, -2.0], [0.0, 1.0]], np.float32)
DENSE = np.array([[0, 0], [0, 2], [0, 1], [0, 0], [4, -2]], np.float32)


def sparse(rows=tuple(ROWS), values=VALUES):
    return tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant([5, 2]))


def test_repeated_rows_are_summed():
    summed = sum_repeated_rows(sparse())
    assert sorted(summed.indices.numpy()) == [1, 2, 4]
    np.testing.assert_array_equal(tf.convert_to_tensor(summed), DENSE)


def test_dense_gradients_and_none_are_left():
    dense = tf.constant([1.0])
    assert sum_repeated_rows(dense) is dense
    assert sum_repeated_rows(None) is None


def test_sums_stay_sparse_where_both_are():
    dense = tf.constant([1.0, 2.0])
    both, mixed, plain, first, second, neither = add_gradients(
        [sparse(), sparse(), dense, dense, None, None], [sparse(), tf.ones([5, 2]), dense, None, dense, None]
    )
    assert isinstance(both, tf.IndexedSlices)
    np.testing.assert_array_equal(tf.convert_to_tensor(both), 2 * DENSE)
    np.testing.assert_array_equal(mixed, DENSE + 1)
    np.testing.assert_array_equal(plain, [2.0, 4.0])
    assert first is second is dense
    assert neither is None


@pytest.mark.parametrize("norm", [0.5, 5.0, 50.0])
def test_clipping_by_the_norm_of_all(norm):
    # |sparse|^2 = 4 + 1 + 16 + 4 = 25 with row 4 summed (9 + 5 + 4 + 1 = 19 without), |dense|^2 = 144: the norm is 13.
    dense = np.array([12.0, 0.0], np.float32)
    gradients = [sum_repeated_rows(sparse()), None, tf.constant(dense)]
    table, nothing, vector = clip_by_global_norm(gradients, norm)
    scale = min(1.0, norm / 13.0)
    assert isinstance(table, tf.IndexedSlices)
    assert nothing is None
    np.testing.assert_allclose(tf.convert_to_tensor(table), DENSE * scale, rtol=1e-6)
    np.testing.assert_allclose(vector, dense * scale, rtol=1e-6)


def test_clipping_nothing_gives_nothing():
    np.testing.assert_array_equal(clip_by_global_norm([tf.zeros([3])], 1.0)[0], np.zeros(3))


def test_half_precision_does_not_overflow():
    # 256 numbers of 300: their squares, 90,000, are beyond float16; the norm is 4,800.
    clipped = clip_by_global_norm([tf.fill([256], tf.constant(300.0, tf.float16))], 480.0)[0]
    assert clipped.dtype == tf.float16
    np.testing.assert_allclose(clipped, np.full(256, 30.0), rtol=1e-3)
