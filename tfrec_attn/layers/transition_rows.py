"""Rows of a sparse matrix of counted item transitions."""

from typing import Any

import numpy as np
import tensorflow as tf


def transition_arrays(transitions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns counted transitions as int64 arrays.

    Args:
        transitions: A `tfrec_attn.data.sequences.transitions.Transitions`, or its arrays.

    Returns:
        (offsets [N + 2], neighbours [nnz], counts [nnz]).

    Raises:
        ValueError: If the arrays are not the rows of such a matrix.
    """
    if hasattr(transitions, "offsets"):
        transitions = (transitions.offsets, transitions.neighbours, transitions.counts)
    offsets, neighbours, counts = (np.asarray(array, np.int64) for array in transitions)
    fits = (
        offsets.ndim == 1
        and len(offsets) > 2
        and offsets[0] == offsets[1] == 0
        and (np.diff(offsets) >= 0).all()
    )
    if not fits or not offsets[-1] == len(neighbours) == len(counts):
        raise ValueError(
            "`transitions` must have offsets [N + 2] that ascend from 0, 0 to the number of "
            "neighbours and of counts."
        )
    if len(neighbours) and (
        neighbours.min() < 1 or neighbours.max() > len(offsets) - 2 or counts.min() < 1
    ):
        raise ValueError(
            f"`transitions` must have neighbours in 1..N = {len(offsets) - 2} and counts of at "
            "least 1."
        )
    return offsets, neighbours, counts


class TransitionRows:
    """Neighbours of items, with a value for each.

    Args:
        offsets: Start of the neighbours of each item 0..N, and end of the last row, [N + 2].
        neighbours: Items 1..N, [nnz].
        values: Value of each neighbour, [nnz].
    """

    def __init__(self, offsets, neighbours, values):
        self.num_items = len(offsets) - 2
        with tf.init_scope():  # A graph captures eager tensors instead of storing their values.
            self._offsets = tf.constant(offsets, tf.int64)
            self._neighbours = tf.constant(neighbours, tf.int64)
            self._values = tf.constant(values, tf.float32)

    def of(self, items):
        """Returns the neighbours of items, in the order of the items.

        Args:
            items: int64 [R] in 0..N.

        Returns:
            (index in `items` int64 [E], neighbour int64 [E], value float32 [E]).
        """
        begins = tf.gather(self._offsets, items)
        row, entry = _entries(begins, tf.gather(self._offsets, items + 1) - begins)
        return row, tf.gather(self._neighbours, entry), tf.gather(self._values, entry)


def multiply_entries(entries, rows, vectors):
    """Returns the product of a sparse matrix and vectors, several times faster than a SparseTensor.

    Args:
        entries: (row int64 [E], column int64 [E], value float32 [E]), sorted by row.
        rows: Number of rows R of the matrix, int64 [].
        vectors: float32 [N, D].

    Returns:
        float32 [R, D].
    """
    row, column, values = entries
    # The kernels divide by the number of rows, so a matrix without rows would crash the process.
    at_least_one = tf.maximum(rows, 1)

    @tf.custom_gradient
    def product(vectors):
        matrix = tf.raw_ops.SparseTensorToCSRSparseMatrix(
            indices=tf.stack([row, column], axis=1),
            values=values,
            dense_shape=tf.stack([at_least_one, tf.shape(vectors, tf.int64)[0]]),
        )

        def gradient(upstream):
            padded = tf.pad(upstream, [[0, at_least_one - rows], [0, 0]])
            total = tf.raw_ops.SparseMatrixMatMul(a=matrix, b=padded, transpose_a=True)
            return tf.ensure_shape(total, vectors.shape)

        return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=vectors)[:rows], gradient

    return product(vectors)


def item_matrix(item_vectors, num_items):
    """Returns item vectors [N + 1, D] as float32.

    Raises:
        ValueError: If they have another shape.
    """
    vectors = tf.cast(item_vectors, tf.float32)
    shape = vectors.shape
    if shape.rank != 2 or shape[0] not in (None, num_items + 1) or shape[1] is None:
        raise ValueError(
            f"`item_vectors` must have the shape [{num_items + 1}, D] with a known D; got {shape}."
        )
    return vectors


def position_weights(items, weights):
    """Returns the weights of positions, float32 [P], by default 1 / P each."""
    if weights is not None:
        return tf.cast(weights, tf.float32)
    count = tf.size(items)
    return tf.fill([count], 1.0 / tf.cast(tf.maximum(count, 1), tf.float32))


def _entries(begins, sizes):
    """Returns the entries `begin` .. `begin + size - 1` of each row: (row, entry), int64 [E] each.

    It replaces `tf.ragged.range`, which has no GPU kernel.
    """
    ends = tf.cumsum(sizes)
    firsts, total = ends - sizes, tf.reduce_sum(sizes)
    # Empty rows at the end are marked in the last place, which is cut off.
    marks = tf.scatter_nd(firsts[:, tf.newaxis], tf.ones_like(firsts), total[tf.newaxis] + 1)
    row = tf.cumsum(marks)[:total] - 1
    return row, tf.gather(begins - firsts, row) + tf.range(total)
