"""What each event of a history adds to the score of an item, exactly: the history is scored again without it."""

import numpy as np
import tensorflow as tf


def left_out(events):
    """Windows without one of their events.

    Args:
      events: int32 [B, L + 1], the latest L + 1 events, padded on the left.

    Returns: int32 [B, L + 1, L]: first the latest L events, then these without the first of them, without the second, and so on; the
      event before them moves in.
    """
    length = events.shape[1] - 1
    without, column = np.arange(length + 1)[:, np.newaxis], np.arange(length)
    return tf.gather(events, column + (column >= without), axis=1)


def contributions(query_vectors, features, item_vectors):
    """By how much the score of an item falls when an event is left out.

    Args:
      query_vectors: the model's, from a dict of features to float32 [R, D'].
      features: "user" int32 [B], "history" int32 [B, L + 1], the latest L + 1 events, padded on the left.
      item_vectors: float32 [B, D'].

    Returns: float32 [B, L], for the latest L events.
    """
    windows = left_out(features["history"])
    count, length = windows.shape[1], windows.shape[2]
    queries = query_vectors({"user": tf.repeat(features["user"], count), "history": tf.reshape(windows, [-1, length])})
    queries = tf.reshape(queries, [-1, count, item_vectors.shape[1]])
    scores = tf.einsum("bcd,bd->bc", queries, item_vectors)
    return scores[:, :1] - scores[:, 1:]
