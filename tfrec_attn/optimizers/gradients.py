"""Gradients, dense ones and sparse ones (`tf.IndexedSlices`), between the tape and the optimizer."""

import tensorflow as tf


def sum_repeated_rows(gradient):
    """A sparse gradient that names each row once, with the sum of its values; a dense one, or None, as it is."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, local = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, local, tf.shape(rows)[0])
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def add_gradients(first, second):
    """The sums of two lists of gradients of the same variables, sparse where both are sparse; None counts as 0."""
    return [_add(a, b) for a, b in zip(first, second, strict=True)]


def clip_by_global_norm(gradients, norm):
    """Gradients times norm / max(norm, |all of them|), where |.| is the root of the sum of all squares.

    `tf.clip_by_global_norm` squares the values of repeated rows one by one; here each sparse gradient must name a row once.

    Args:
      gradients: dense, or sparse with distinct rows; None is passed on.
      norm: above 0.

    Reference: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, ICML 2013.
    """
    squares = [tf.reduce_sum(tf.square(tf.cast(_values(gradient), tf.float32))) for gradient in gradients if gradient is not None]
    scale = norm / tf.maximum(tf.sqrt(tf.add_n(squares)), norm)
    return [_scaled(gradient, scale) for gradient in gradients]


def _add(a, b):
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, tf.IndexedSlices) and isinstance(b, tf.IndexedSlices):
        values, indices = tf.concat([a.values, b.values], axis=0), tf.concat([a.indices, b.indices], axis=0)
        return tf.IndexedSlices(values, indices, a.dense_shape)
    return tf.convert_to_tensor(a) + tf.convert_to_tensor(b)


def _values(gradient):
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def _scaled(gradient, scale):
    if gradient is None:
        return None
    values = _values(gradient) * tf.cast(scale, gradient.dtype)
    return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape) if isinstance(gradient, tf.IndexedSlices) else values
