"""Histories as they come, with padding and unknown ids anywhere, and the latest known events of
them.

Of W columns of which some are known, the latest known event has place 1, the one before it place 2;
place 0 is no event.
"""

import tensorflow as tf


def places(rows):
    """Place of each event counted from the latest: int32 [B, W], 0 where unknown -> int32 [B, W]."""
    known = tf.cast(rows > 0, tf.int32)
    return known * tf.cumsum(known, axis=1, reverse=True)


def latest(rows, length):
    """The latest known events in their order, padded with 0 on the left: int32 [B, W] -> int32 [B,
    length].
    """
    column = _column(places(rows), length)
    batch = tf.shape(rows)[0]
    index = tf.stack([tf.range(batch)[:, tf.newaxis] + tf.zeros_like(column), column], axis=-1)
    return tf.scatter_nd(index, rows, tf.stack([batch, length + 2]))[:, 1:-1]


def spread(values, rows):
    """What belongs to the latest events, put where these stand in the history as it came, 0
    elsewhere.

    Args:
      values: float32 [B, L] of `latest(rows, L)`.
      rows: int32 [B, W].

    Returns: float32 [B, W].
    """
    padded = tf.pad(values, [[0, 0], [1, 1]])
    return tf.gather(padded, _column(places(rows), values.shape[1]), batch_dims=1)


def _column(place, length):
    """Column of an event among 1..length, of one that is too old 0, of none length + 1: both fall
    outside and are cut off.
    """
    return tf.maximum(length + 1 - place, 0)
