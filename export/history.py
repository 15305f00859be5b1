"""Histories in the graph: the latest known events of a request, and how much each contributes.

A history [B, W] comes with padding and unknown ids at any position; both are row 0. The recency of
the latest known event is 1, that of the one before it 2, and so on; 0 means no event.
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
    # Each event has its number, from 1, and all others 0.
    latest_first = tf.math.top_k(known * tf.cumsum(known, axis=1), length).indices
    return tf.gather(rows, tf.reverse(latest_first, [1]), batch_dims=1)


def at_events(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns values of the latest events at the columns of these events in the request, else 0.

    Args:
        values: Float32 [B, L], one for each event of `latest_events(rows, L)`.
        rows: Int32 [B, W].

    Returns:
        Float32 [B, W].
    """
    padded = tf.pad(values, [[0, 0], [1, 1]])
    return tf.gather(padded, _column(recency(rows), values.shape[1]), batch_dims=1)


def _column(recency, length):
    """Column of an event: 1..length; 0 for one that is too old, length + 1 for no event."""
    return tf.maximum(length + 1 - recency, 0)


def leave_events_out(events: tf.Tensor) -> tf.Tensor:
    """Returns windows without one of their events; the event before the window moves in.

    Args:
        events: Int32 [B, L + 1], the latest L + 1 events, padded on the left.

    Returns:
        Int32 [B, L + 1, L]: first the latest L events, then these without the first of them,
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
        query_of: From features of R rows to their `Query`.
        features: "user" int32 [B], and "history" int32 [B, L + 1], the latest L + 1 events, padded
            on the left.
        vectors: Those of the items, float32 [B, D'].
        items: Int32 [B].

    Returns:
        Float32 [B, L], for the latest L events.
    """
    windows = leave_events_out(features["history"])
    count, length = windows.shape[1], windows.shape[2]
    query = query_of(
        {"user": tf.repeat(features["user"], count), "history": tf.reshape(windows, [-1, length])}
    )
    scores = score_repeated(query, vectors, items, count)
    return scores[:, :1] - scores[:, 1:]
