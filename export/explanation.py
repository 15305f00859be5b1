"""What each event of a history adds to the score of an item, exactly: the history is scored again
without it.
"""

import numpy as np
import tensorflow as tf

from tfrec_attn.models.base.scoring import score_repeated


def left_out(events):
    """Windows without one of their events.

    Args:
      events: int32 [B, L + 1], the latest L + 1 events, padded on the left.

    Returns: int32 [B, L + 1, L]: first the latest L events, then these without the first of them,
    without the second, and so on; the
      event before them moves in.
    """
    length = events.shape[1] - 1
    without, column = np.arange(length + 1)[:, np.newaxis], np.arange(length)
    return tf.gather(events, column + (column >= without), axis=1)


def contributions(query_of, features, item_vectors, items):
    """By how much the score of an item falls when an event is left out.

    Args:
      query_of: from a dict of features of R rows to their `tfrec_attn.models.base.scoring.Query`.
      features: "user" int32 [B], "history" int32 [B, L + 1], the latest L + 1 events, padded on the
          left.
      item_vectors: float32 [N + 1, D'].
      items: int32 [B].

    Returns: float32 [B, L], for the latest L events.
    """
    windows = left_out(features["history"])
    count, length = windows.shape[1], windows.shape[2]
    query = query_of(
        {"user": tf.repeat(features["user"], count), "history": tf.reshape(windows, [-1, length])}
    )
    scores = score_repeated(query, item_vectors, items, count)
    return scores[:, :1] - scores[:, 1:]
