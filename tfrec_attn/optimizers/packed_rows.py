"""Sparse gradients (`tf.IndexedSlices`) as one vector, which hosts exchange at once.

An exchange between hosts waits for several round trips. For each sparse gradient, `all_reduce`
makes three exchanges, one after the other. A vector with the rows of all tables takes two
exchanges.
"""

import tensorflow as tf


def exchange_rows(replica, gradients):
    """Concatenates the sparse gradients of all replicas, in one `all_gather` for all tables.

    Args:
        replica: The replica context.
        gradients: float32 `tf.IndexedSlices` of this replica, with at most 2^31 - 1 rows.

    Returns:
        For each gradient, the rows of all replicas; rows can be repeated.
    """
    gathered = replica.all_gather(pack(gradients), axis=0)
    return unpack(gathered, replica.num_replicas_in_sync, gradients)


def can_be_packed(gradient):
    """Returns whether a sparse gradient is float32 and its indices fit into 32 bits."""
    if gradient.dense_shape is None or not gradient.shape[0]:
        return False
    values = gradient.values
    return (
        values.dtype == tf.float32
        and values.shape[1:].is_fully_defined()
        and gradient.shape[0] < 2**31
    )


def pack(gradients):
    """Returns sparse gradients as one vector: the numbers of their rows, then indices and values.

    Integers keep their bits in the float32 vector.
    """
    lengths = tf.stack([tf.size(gradient.indices) for gradient in gradients])
    parts = [tf.bitcast(lengths, tf.float32)]
    for gradient in gradients:
        parts.append(tf.bitcast(tf.cast(gradient.indices, tf.int32), tf.float32))
        parts.append(tf.reshape(gradient.values, [-1]))
    return tf.concat(parts, axis=0)


def unpack(vectors, replicas, gradients):
    """Returns the sparse gradients in the vectors of all replicas.

    Args:
        vectors: The vectors of all replicas, one after the other, float32.
        replicas: Number of replicas.
        gradients: `tf.IndexedSlices` of the same tables.
    """
    found, begin = [], 0
    for _ in range(replicas):
        lengths = tf.bitcast(vectors[begin : begin + len(gradients)], tf.int32)
        begin += len(gradients)
        rows = []
        for index, gradient in enumerate(gradients):
            values, begin = _take(vectors, begin, lengths[index], gradient)
            rows.append(values)
        found.append(rows)
    return [_concatenate(*each) for each in zip(gradients, zip(*found, strict=True), strict=True)]


def _take(vectors, begin, length, gradient):
    """Returns the (indices, values) that begin at a position, and the position after them."""
    shape = gradient.values.shape[1:]
    middle = begin + length
    end = middle + length * shape.num_elements()
    indices = tf.bitcast(vectors[begin:middle], tf.int32)
    return (indices, tf.reshape(vectors[middle:end], [-1, *shape])), end


def _concatenate(gradient, rows):
    indices, values = (tf.concat(parts, axis=0) for parts in zip(*rows, strict=True))
    indices = tf.cast(indices, gradient.indices.dtype)
    return tf.IndexedSlices(values, indices, gradient.dense_shape)
