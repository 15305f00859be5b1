"""Histories in the graph: the latest known events of a request, and how much each contributes.

A history [B, W] can have padding and unknown ids at any position; both are row 0. The latest known
event has the recency 1, the known event before it 2, and so on. Row 0 has the recency 0.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfrec_attn.models.base.scoring import Query, score_repeated


def recency(rows: tf.Tensor) -> tf.Tensor:
    """Returns the recency of each event: int32 [B, W] -> int32 [B, W]."""
    known = tf.cast(rows > 0, tf.int32)
    return known * tf.cumsum(known, axis=1, reverse=True)


def latest_events(rows: tf.Tensor, length: int) -> tf.Tensor:
    """Returns the latest known events, padded on the left: int32 [B, W] -> int32 [B, length]."""
    rows = tf.pad(rows, [[0, 0], [length, 0]])
    known = tf.cast(rows > 0, tf.int32)
    # top_k gets the position of each known event, from 1, and 0 for row 0.
    latest_first = tf.math.top_k(known * tf.cumsum(known, axis=1), length).indices
    return tf.gather(rows, tf.reverse(latest_first, [1]), batch_dims=1)


def at_events(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Moves a value of each of the latest events to the column of this event in the request.

    Args:
        values: Values of the events of `latest_events(rows, L)`, float32 [B, L].
        rows: History of the request, int32 [B, W].

    Returns:
        Float32 [B, W]; 0 in all other columns.
    """
    padded = tf.pad(values, [[0, 0], [1, 1]])
    return tf.gather(padded, _column(recency(rows), values.shape[1]), batch_dims=1)


def _column(recency, length):
    """Column 1..length of an event; 0 for older events, length + 1 for no event."""
    return tf.maximum(length + 1 - recency, 0)


def leave_events_out(events: tf.Tensor) -> tf.Tensor:
    """Returns the latest L events, and L windows that each leave one of them out.

    The event before the latest L fills a window where one is left out.

    Args:
        events: The latest L + 1 events, padded on the left, int32 [B, L + 1].

    Returns:
        Int32 [B, L + 1, L]: the latest L events, then the window without the first of them, then
        without the second, and so on.
    """
    length = events.shape[1] - 1
    without, column = np.arange(length + 1)[:, np.newaxis], np.arange(length)
    return tf.gather(events, column + (column >= without), axis=1)


def contributions(
    query_of: Callable[[dict[str, tf.Tensor]], Query],
    features: dict[str, tf.Tensor],
    vectors: tf.Tensor,
    items: tf.Tensor,
) -> tf.Tensor:
    """Computes by how much the score of an item falls when an event is left out of the history.

    Args:
        query_of: Function from features of R rows to their `Query`.
        features: "user" int32 [B], and "history" int32 [B, L + 1]: the latest L + 1 events, padded
            on the left.
        vectors: Vectors of the items, float32 [B, D'].
        items: The item of each row, int32 [B].

    Returns:
        Contributions of the latest L events, float32 [B, L].
    """
    windows = leave_events_out(features["history"])
    count, length = windows.shape[1], windows.shape[2]
    query = query_of(
        {"user": tf.repeat(features["user"], count), "history": tf.reshape(windows, [-1, length])}
    )
    scores = score_repeated(query, vectors, items, count)
    return scores[:, :1] - scores[:, 1:]
