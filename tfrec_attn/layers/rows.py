"""Gathers, products and sums of matrix rows, with faster gradients than TensorFlow's.

In TensorFlow, the gradient of `tf.gather` is a list of slices with repeated indices, and the
gradient of scores of gathered rows holds outer products in memory. The functions here sum directly
into dense gradients of the rows. They are for the rows of one batch
(`EmbeddingTable.unique_rows`), not for a whole table.
"""

import tensorflow as tf


@tf.custom_gradient
def gather_rows(rows, indices):
    """Returns `rows[indices]`: rows [R, D], indices int [...] -> [..., D]."""

    def gradient(upstream):
        flat, values = tf.reshape(indices, [-1]), tf.reshape(upstream, [-1, rows.shape[1]])
        order = tf.argsort(flat)
        return tf.sparse.segment_sum(
            values, order, tf.gather(flat, order), num_segments=tf.shape(rows)[0]
        ), None

    return tf.gather(rows, indices), gradient


@tf.custom_gradient
def without_padding(rows):
    """Returns `rows[1:]`: [N + 1, D] -> [N, D].

    The gradient is one `tf.pad`. For a large table it is several times faster than that of a slice.
    """
    return rows[1:], lambda upstream: tf.pad(upstream, [[1, 0], [0, 0]])


@tf.custom_gradient
def gather_dot(queries, rows, indices):
    """Returns the inner products `out[b, c] = queries[b] . rows[indices[b, c]]`.

    The gradient skips entries whose upstream gradient is 0. With a hinge loss these are most.

    Args:
        queries: [B, D].
        rows: [R, D].
        indices: int [B, C].

    Returns:
        [B, C].
    """
    gathered = tf.gather(rows, indices)

    def sums(upstream):
        flat = tf.reshape(upstream, [-1])
        entry = tf.where(tf.not_equal(flat, 0.0))[:, 0]
        query = entry // tf.shape(indices, tf.int64)[1]
        row = tf.gather(tf.reshape(tf.cast(indices, tf.int64), [-1]), entry)
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
        return to_queries, to_rows

    def gradient(upstream):
        if queries.shape[0]:
            return *sums(upstream), None
        # The batch of a replica can be empty.
        nothing = tf.zeros_like(queries), tf.zeros_like(rows)
        return *tf.cond(tf.size(indices) > 0, lambda: sums(upstream), lambda: nothing), None

    return tf.squeeze(tf.matmul(gathered, queries[:, :, tf.newaxis]), axis=-1), gradient


def _weighted_sums(values, index, weight, segment, like):
    """Returns `out[s] = sum of weight * values[index] over segment s`, in the shape of `like`.

    `segment` must ascend.
    """
    last = tf.shape(like, tf.int64)[:1] - 1
    # segment_sum returns rows up to the largest segment. An entry of weight 0 adds the last row.
    index, segment = tf.concat([index, [0]], axis=0), tf.concat([segment, last], axis=0)
    weight = tf.concat([weight, tf.zeros([1], weight.dtype)], axis=0)
    return tf.math.segment_sum(tf.gather(values, index) * weight[:, tf.newaxis], segment)


@tf.custom_gradient
def weighted_sum(weights, x):
    """Returns `out[b] = sum over l of weights[b, l] x[b, l]`: [B, L], [B, L, D] -> [B, D]."""

    def gradient(upstream):
        to_weights = tf.squeeze(tf.matmul(x, upstream[:, :, tf.newaxis]), axis=-1)
        return to_weights, weights[:, :, tf.newaxis] * upstream[:, tf.newaxis]

    return tf.squeeze(tf.matmul(weights[:, tf.newaxis], x), axis=1), gradient


def add_to_each(x, values):
    """Returns `x[b] + values`: [B, L, D], [L, D] -> [B, L, D].

    The gradient of `tf.nn.bias_add` sums over the examples on all cores.
    """
    flat = tf.nn.bias_add(tf.reshape(x, [tf.shape(x)[0], -1]), tf.reshape(values, [-1]))
    return tf.reshape(flat, tf.shape(x))


@tf.custom_gradient
def gram(x):
    """Returns `x x^T` over the last two axes: [B, L, D] -> [B, L, L].

    The gradient `(g + g^T) x` is one product instead of two.
    """

    def gradient(upstream):
        return tf.matmul(upstream + tf.linalg.matrix_transpose(upstream), x)

    return tf.matmul(x, x, transpose_b=True), gradient
