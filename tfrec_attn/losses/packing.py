"""Packing of the sequences of a batch into few rows with little padding."""

import tensorflow as tf


def pack(inputs: dict) -> tuple[dict, tf.Tensor]:
    """Packs sequences into rows of the length of the longest sequence.

    Sequences fill a row, longest first, until the next one does not fit.

    Args:
        inputs: "history" int64 [B, L], padded on the left, and other features [B, L]. Features [B]
            are left out.

    Returns:
        (features, places). The features are [R, W] with R <= B and W <= L. They also have
        "sequence" int64 [R, W], the number of the sequence of each event, 0 at padding, and "age"
        int64 [R, W], the number of later events of the same sequence. `places` int64 [B, L] is the
        place of each event in the flattened rows; at padding it has no meaning.
    """
    history = inputs["history"]
    rows, columns = tf.unstack(tf.shape(history, tf.int64))
    lengths = tf.reduce_sum(tf.cast(history > 0, tf.int64), axis=1)
    width = tf.maximum(tf.reduce_max(lengths), 1)
    order = tf.cast(tf.argsort(lengths, direction="DESCENDING"), tf.int64)
    row, first = _places_in_order(tf.gather(lengths, order), width, history.shape[0])
    first = tf.scatter_nd(order[:, tf.newaxis], row * width + first, rows[tf.newaxis])
    places = (first + lengths - columns)[:, tf.newaxis] + tf.range(columns)
    event = tf.where(history > 0)
    place = tf.gather_nd(places, event)[:, tf.newaxis]
    # A batch without sequences, which a replica can get, becomes one empty row.
    size = ((tf.reduce_sum(row[-1:]) + 1) * width)[tf.newaxis]

    def packed(values):
        return tf.reshape(tf.scatter_nd(place, values, size), tf.stack([-1, width]))

    features = {
        name: packed(tf.gather_nd(value, event))
        for name, value in inputs.items()
        if len(value.shape) > 1
    }
    features["sequence"] = packed(event[:, 0] + 1)
    features["age"] = packed(columns - 1 - event[:, 1])
    return features, places


def _places_in_order(lengths, width, most):
    """Returns the row and the first column of each sequence, int64 [B].

    Args:
        lengths: int64 [B], at most `width`.
        width: Number of columns of a row.
        most: B if it is static, else None.
    """
    ends, count = tf.cumsum(lengths), tf.size(lengths, tf.int64)
    begins = ends - lengths
    # If a row begins with sequence i, the next row begins with sequence jump[i]; B: no next row.
    jump = tf.searchsorted(ends, begins + width, side="right", out_type=tf.int64)
    jump = tf.concat([jump, [count]], axis=0)
    starts = tf.zeros([1], tf.int64)
    # Each pass finds twice as many rows as the one before.
    for _ in range(((most or 2**20) - 1).bit_length()):
        starts = tf.concat([starts, tf.gather(jump, starts)], axis=0)
        jump = tf.gather(jump, jump)
    row = tf.searchsorted(starts, tf.range(count), side="right", out_type=tf.int64) - 1
    return row, begins - tf.gather(begins, tf.gather(starts, row))
