"""Sequences of a batch, packed into few rows without much padding."""

import tensorflow as tf


def pack(inputs: dict) -> tuple[dict, tf.Tensor]:
    """Packs sequences into rows as long as the longest of them.

    A row is filled with sequences, longest first, until the next one does not fit.

    Args:
        inputs: "history" int64 [B, L], padded on the left, and other features [B, L]. Features [B]
            are left out.

    Returns:
        (features, places). The features are [R, W], R <= B and W <= L, and have further "sequence"
        int64 [R, W], a number for each sequence, 0 at padding, and "age" int64 [R, W], how many
        events of the sequence come later. Places int64 [B, L] are where the events are in the
        flattened rows; those of padding have no meaning.
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
    # A batch without sequences, which a replica can get, is one empty row.
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
        width: Columns of a row.
        most: B where it is static, else None.
    """
    ends, count = tf.cumsum(lengths), tf.size(lengths, tf.int64)
    begins = ends - lengths
    # The first sequence of the row that follows a row beginning at each sequence; B: none.
    jump = tf.searchsorted(ends, begins + width, side="right", out_type=tf.int64)
    jump = tf.concat([jump, [count]], axis=0)
    starts = tf.zeros([1], tf.int64)
    # Twice as many rows each time.
    for _ in range(((most or 2**20) - 1).bit_length()):
        starts = tf.concat([starts, tf.gather(jump, starts)], axis=0)
        jump = tf.gather(jump, jump)
    row = tf.searchsorted(starts, tf.range(count), side="right", out_type=tf.int64) - 1
    return row, begins - tf.gather(begins, tf.gather(starts, row))
