"""Differentiable look-ups in a small matrix of rows, with dense gradients made in one pass.

`tf.gather` gives its gradient as a list of slices with repeated indices, and scores made from
gathered rows need the outer products in memory twice. These functions sum straight into the rows.
They are meant for the rows that one step touches (`unique_rows`), not for a whole table.
"""

import tensorflow as tf


def unique_rows(table, indices):
    """The rows of a table that some indices name, each once.

    Args:
      table: variable [N, D]; its gradient is sparse, with distinct indices.
      indices: int [...].

    Returns:
      (rows [R, D], local int32 like `indices`, distinct [R]) with `rows[local] == table[indices]`
      and `distinct` the indices of the rows.
    """
    distinct, local = tf.unique(tf.reshape(indices, [-1]))
    return tf.gather(table, distinct), tf.reshape(local, tf.shape(indices)), distinct


@tf.custom_gradient
def gather_rows(rows, indices):
    """`rows[indices]`: rows [R, D], indices int [...] -> [..., D]."""

    def gradient(upstream):
        flat, values = tf.reshape(indices, [-1]), tf.reshape(upstream, [-1, rows.shape[1]])
        order = tf.argsort(flat)
        return tf.sparse.segment_sum(
            values, order, tf.gather(flat, order), num_segments=tf.shape(rows)[0]
        ), None

    return tf.gather(rows, indices), gradient


@tf.custom_gradient
def without_padding(rows):
    """`rows[1:]`: [N + 1, D] -> [N, D]. Its gradient is one `tf.pad`; that of a slice takes several
    times as long in a large table.
    """
    return rows[1:], lambda upstream: tf.pad(upstream, [[1, 0], [0, 0]])


@tf.custom_gradient
def gather_dot(queries, rows, indices):
    """`out[b, c] = queries[b] . rows[indices[b, c]]`: queries [B, D], rows [R, D], indices int [B,
    C] -> [B, C].

    The gradient passes over entries whose upstream gradient is 0: with a hinge loss these are most.
    """
    gathered = tf.gather(rows, indices)

    def gradient(upstream):
        flat = tf.reshape(upstream, [-1])
        entry = tf.cast(tf.where(tf.not_equal(flat, 0.0))[:, 0], tf.int32)
        query, row = entry // tf.shape(indices)[1], tf.gather(tf.reshape(indices, [-1]), entry)
        by_row = tf.argsort(row)
        weight = tf.gather(flat, entry)
        to_queries = _weighted_sums(rows, row, weight, query, queries)
        to_rows = _weighted_sums(
            queries,
            tf.gather(query, by_row),
            tf.gather(weight, by_row),
            tf.gather(row, by_row),
            rows,
        )
        return to_queries, to_rows, None

    return tf.reduce_sum(queries[:, tf.newaxis] * gathered, axis=-1), gradient


def _weighted_sums(values, index, weight, segment, like):
    """`out[s] = sum of weight * values[index] over the entries of segment s`, segments ascending,
    as many rows as `like` has.
    """
    last = tf.shape(like)[:1] - 1
    # segment_sum makes as many rows as the last segment says: an entry of weight 0 gives it the
    # last one.
    index, segment = tf.concat([index, [0]], axis=0), tf.concat([segment, last], axis=0)
    weight = tf.concat([weight, tf.zeros([1], weight.dtype)], axis=0)
    return tf.math.segment_sum(tf.gather(values, index) * weight[:, tf.newaxis], segment)


@tf.custom_gradient
def weighted_sum(weights, x):
    """`out[b] = sum over l of weights[b, l] x[b, l]`: [B, L], [B, L, D] -> [B, D]."""

    def gradient(upstream):
        wide = upstream[:, tf.newaxis]
        return tf.reduce_sum(wide * x, axis=-1), weights[:, :, tf.newaxis] * wide

    return tf.reduce_sum(weights[:, :, tf.newaxis] * x, axis=1), gradient


@tf.custom_gradient
def gram(x):
    """`x x^T` over the last two axes: [B, L, D] -> [B, L, L]. The gradient `(g + g^T) x` takes one
    product instead of two.
    """

    def gradient(upstream):
        return tf.matmul(upstream + tf.linalg.matrix_transpose(upstream), x)

    return tf.matmul(x, x, transpose_b=True), gradient
