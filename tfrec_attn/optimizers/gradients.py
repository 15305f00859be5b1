"""Gradients, dense ones and sparse ones (`tf.IndexedSlices`), between the tape and the optimizer."""

import tensorflow as tf

# Rows of a table for each row that a batch names, up to which it is faster to add up whole tables
# (benchmarks/step.py).
_WHOLE_UP_TO = 2


def sum_repeated_rows(gradient):
    """A sparse gradient that names each row once, with the sum of its values; a dense one, or None,
    as it is.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, local = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, local, tf.shape(rows)[0])
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def over_replicas(gradients, named):
    """Sums of gradients over all replicas, the same on each, in the context of a replica.

    A sparse gradient becomes those of all replicas one after the other, whose repeated rows each
    replica must sum. Where a table has hardly more rows than the batch names, each replica sums its
    own into a whole table, and the tables are added up: half the work for two.

    Args:
      gradients: dense or sparse.
      named: for each the rows that all replicas name at most, repeated ones counted; with 0 a
          sparse gradient stays sparse.

    Returns:
      (sums, masks): for a sparse gradient that has become dense which rows were named, bool [N],
      else None.
    """
    replica = tf.distribute.get_replica_context()
    found = [_over_replicas(replica, *one) for one in zip(gradients, named, strict=True)]
    return [total for total, _ in found], [mask for _, mask in found]


def _over_replicas(replica, gradient, named):
    if not isinstance(gradient, tf.IndexedSlices):
        return _sum(replica, gradient), None
    if gradient.shape[0] > _WHOLE_UP_TO * named:
        return replica.all_reduce("SUM", gradient), None
    rows, values = gradient.shape[0], gradient.values
    total = tf.ensure_shape(
        tf.math.unsorted_segment_sum(values, gradient.indices, rows), [rows, *values.shape[1:]]
    )
    times = tf.math.unsorted_segment_sum(
        tf.ones_like(gradient.indices, tf.int32), gradient.indices, rows
    )
    # One by one: together they would be copied into one tensor and out of it again.
    return _sum(replica, total), _sum(replica, tf.ensure_shape(times, [rows])) > 0


def _sum(replica, tensor):
    # `all_reduce` has a gradient of its own. To find the variables that it depends on, TensorFlow
    # walks back through the graphs of the other replicas, which takes minutes for a deep model. The
    # walk ends at `stop_gradient`.
    return replica.all_reduce("SUM", tf.stop_gradient(tensor))


def add_gradients(first, second):
    """The sums of two lists of gradients of the same variables, sparse where both are sparse; None
    counts as 0.
    """
    return [_add(a, b) for a, b in zip(first, second, strict=True)]


def clip_by_global_norm(gradients, norm):
    """Gradients times norm / max(norm, |all of them|), where |.| is the root of the sum of all
    squares.

    `tf.clip_by_global_norm` squares the values of repeated rows one by one; here each sparse
    gradient must name a row once.

    Args:
      gradients: dense, or sparse with distinct rows; None is passed on.
      norm: above 0.

    Reference: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks,
    ICML 2013.
    """
    squares = [
        tf.reduce_sum(tf.square(tf.cast(_values(gradient), tf.float32)))
        for gradient in gradients
        if gradient is not None
    ]
    scale = norm / tf.maximum(tf.sqrt(tf.add_n(squares)), norm)
    return [_scaled(gradient, scale) for gradient in gradients]


def _add(a, b):
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, tf.IndexedSlices) and isinstance(b, tf.IndexedSlices):
        values, indices = (
            tf.concat([a.values, b.values], axis=0),
            tf.concat([a.indices, b.indices], axis=0),
        )
        return tf.IndexedSlices(values, indices, a.dense_shape)
    return tf.convert_to_tensor(a) + tf.convert_to_tensor(b)


def _values(gradient):
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def _scaled(gradient, scale):
    if gradient is None:
        return None
    values = _values(gradient) * tf.cast(scale, gradient.dtype)
    return (
        tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
        if isinstance(gradient, tf.IndexedSlices)
        else values
    )
