"""Operations on dense and sparse gradients (`tf.IndexedSlices`)."""

import functools

import tensorflow as tf

from tfrec_attn.keras_versions.variables import scale_gradient, sum_repeated_rows
from tfrec_attn.optimizers.packed_rows import can_be_packed, exchange_rows

# With at most this many rows for each lookup, summing the whole table is faster
# (benchmarks/step.py).
_ROWS_PER_LOOKUP = 2


def all_reduce(gradients, lookups, used=None):
    """Sums gradients over all replicas, in a replica context.

    If a table is small for its number of lookups, each replica makes a dense gradient, and the
    dense gradients are summed. Other sparse gradients stay sparse, with unique rows.

    Args:
        gradients: Dense or sparse gradients of this replica.
        lookups: Number of lookups of all replicas for each gradient, an upper bound of its rows; 0
            keeps a sparse gradient sparse.
        used: How often this replica used each row, float32 [N], or None, for each gradient.
            Default: None for all.

    Returns:
        (sums, masks). The mask of a sparse gradient that became dense, or of a gradient with
        `used`, tells which rows were used, bool [N]. The other masks are None.
    """
    replica = tf.distribute.get_replica_context()
    used = used or [None] * len(gradients)
    parts = [_part(*one) for one in zip(gradients, lookups, used, strict=True)]
    small = _sum_together(replica, [part if times is None else times for part, times in parts])
    sums, masks = [], []
    for (part, times), summed in zip(parts, small, strict=True):
        sums.append(summed if times is None else _sum(replica, part))
        masks.append(None if times is None else summed > 0)
    return sums, masks


def _part(gradient, lookups, used):
    """Returns (gradient to be summed, number of uses of each row or None)."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient, used
    if gradient.shape[0] > _ROWS_PER_LOOKUP * lookups:
        return gradient, None
    rows, values = gradient.shape[0], gradient.values
    total = tf.ensure_shape(
        tf.math.unsorted_segment_sum(values, gradient.indices, rows), [rows, *values.shape[1:]]
    )
    times = tf.math.unsorted_segment_sum(
        tf.ones_like(gradient.indices, tf.float32), gradient.indices, rows
    )
    return total, tf.ensure_shape(times, [rows])


def _sum(replica, tensors):
    # `all_reduce` has a gradient. To find the variables that it depends on, TensorFlow walks back
    # through the graphs of the other replicas, which takes minutes for a deep model.
    # `stop_gradient` ends the walk.
    return replica.all_reduce("SUM", tf.nest.map_structure(tf.stop_gradient, tensors))


def _sum_together(replica, tensors):
    """Sums a list of dense and sparse gradients in as few exchanges between hosts as possible."""
    sparse = [one for one in tensors if isinstance(one, tf.IndexedSlices)]
    dense = [one for one in tensors if not isinstance(one, tf.IndexedSlices)]
    dense = iter(_sum(replica, dense) if dense else [])
    sparse = iter(_sum_rows(replica, sparse) if sparse else [])
    return [next(sparse if isinstance(one, tf.IndexedSlices) else dense) for one in tensors]


def _sum_rows(replica, gradients):
    """Sums sparse gradients; the results have unique rows."""
    if isinstance(tf.distribute.get_strategy(), tf.distribute.MirroredStrategy):
        # One sum serves all replicas, which would otherwise all sum the same rows.
        return replica.merge_call(_sum_on_one_device, args=(gradients,))
    gradients = [sum_repeated_rows(one) for one in gradients]
    if all(map(can_be_packed, gradients)):
        gradients = exchange_rows(replica, tf.nest.map_structure(tf.stop_gradient, gradients))
    else:
        gradients = _sum(replica, gradients)
    return [sum_repeated_rows(one) for one in gradients]


def _sum_on_one_device(strategy, gradients):
    parts = map(strategy.experimental_local_results, gradients)
    return [sum_repeated_rows(functools.reduce(_add, copies)) for copies in parts]


def add_gradients(first, second):
    """Adds two lists of gradients of the same variables; None counts as 0.

    Returns:
        The sums, sparse where both are sparse.
    """
    return [_add(a, b) for a, b in zip(first, second, strict=True)]


def clip_by_global_norm(gradients, norm):
    """Scales gradients by norm / max(norm, global norm).

    Sparse gradients must have unique rows, because the squares of repeated rows are not those of
    their sum.

    Args:
        gradients: Gradients: dense, sparse with unique rows, or None.
        norm: Largest global norm, above 0.

    Reference:
        Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", ICML
        2013.
    """
    squares = [
        tf.reduce_sum(tf.square(tf.cast(_values(gradient), tf.float32)))
        for gradient in gradients
        if gradient is not None
    ]
    scale = norm / tf.maximum(tf.sqrt(tf.add_n(squares)), norm)
    return [
        None if one is None else scale_gradient(one, tf.cast(scale, one.dtype)) for one in gradients
    ]


def _add(a, b):
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, tf.IndexedSlices) and isinstance(b, tf.IndexedSlices):
        values = tf.concat([a.values, b.values], axis=0)
        indices = tf.concat([a.indices, b.indices], axis=0)
        return tf.IndexedSlices(values, indices, a.dense_shape)
    return tf.convert_to_tensor(a) + tf.convert_to_tensor(b)


def _values(gradient):
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
