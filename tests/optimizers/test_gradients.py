"""Sums and norms of gradients against dense NumPy arrays."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.optimizers import add_gradients, clip_by_global_norm, sum_repeated_rows
from tfrec_attn.optimizers.gradients import all_reduce

ROWS, VALUES = [4, 1, 4, 2], np.array([[3.0, 0.0], [0.0, 2.0], [1.0, -2.0], [0.0, 1.0]], np.float32)
DENSE = np.array([[0, 0], [0, 2], [0, 1], [0, 0], [4, -2]], np.float32)


def sparse(rows=tuple(ROWS), values=VALUES):
    return tf.IndexedSlices(
        tf.convert_to_tensor(values), tf.convert_to_tensor(rows), tf.constant([5, 2])
    )


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
        [sparse(), sparse(), dense, dense, None, None],
        [sparse(), tf.ones([5, 2]), dense, None, dense, None],
    )
    assert isinstance(both, tf.IndexedSlices)
    np.testing.assert_array_equal(tf.convert_to_tensor(both), 2 * DENSE)
    np.testing.assert_array_equal(mixed, DENSE + 1)
    np.testing.assert_array_equal(plain, [2.0, 4.0])
    assert first is second is dense
    assert neither is None


@pytest.mark.parametrize("norm", [0.5, 5.0, 50.0])
def test_clipping_by_the_norm_of_all(norm):
    # |sparse|^2 = 4 + 1 + 16 + 4 = 25 with row 4 summed (9 + 5 + 4 + 1 = 19 without), |dense|^2 =
    # 144: the norm is 13.
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


@pytest.mark.parametrize(("lookups", "whole"), [(0, False), (2, False), (3, True)])
def test_sums_over_replicas(two_replicas, lookups, whole):
    # The table has five rows, and is added up whole up to twice the rows that are named.
    def on_replica(rows, values, dense):
        sums, masks = all_reduce([sparse(rows, values), dense], [lookups, 0])
        assert isinstance(sums[0], tf.IndexedSlices) != whole
        mask = (
            masks[0]
            if whole
            else tf.scatter_nd(sums[0].indices[:, tf.newaxis], tf.ones_like(sums[0].indices), [5])
            > 0
        )
        assert masks[1] is None
        return tf.convert_to_tensor(sums[0]), mask, sums[1]

    own = [(ROWS, VALUES, [1.0, 2.0]), ([0, 0], 10 * VALUES[:2], [4.0, 8.0])]
    arguments = [
        two_replicas.experimental_distribute_values_from_function(
            lambda context, part=part: tf.constant(own[context.replica_id_in_sync_group][part])
        )
        for part in range(3)
    ]
    expected = DENSE.copy()
    expected[0] += [30, 20]
    for found in zip(
        *map(
            two_replicas.experimental_local_results,
            two_replicas.run(tf.function(on_replica), arguments),
        ),
        strict=True,
    ):
        np.testing.assert_array_equal(found[0], expected)
        np.testing.assert_array_equal(found[1], [True, True, True, False, True])
        np.testing.assert_array_equal(found[2], [5.0, 10.0])
