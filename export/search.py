"""The best items for a query that are not hidden: among all, or among those that an index proposes."""

import tensorflow as tf

from tfrec_attn.models.base.scoring import Query, score_listed

from . import selection


def search_all(scores, hidden, k):
    """Best of all items.

    Args:
      scores: float32 [B, N + 1].
      hidden: rows that may not come, int32 [B, X].
      k: scalar, at most N.

    Returns: (scores float32 [B, k], rows int32 [B, k]), best first; the floor where fewer are left.
    """
    return tuple(tf.math.top_k(selection.hide(scores, hidden), k))


def search_index(index, query, item_vectors, hidden, k, prior=None):
    """The same among the items that an `InvertedFile` proposes, as many more than k as may be
    hidden, and those that a prior lists.

    Args:
      index: whose items these are.
      query: float32 [B, D'].
      item_vectors: tensor [N + 1, D'].
      hidden: int32 [B, X].
      k: scalar.
      prior: of the query, as that of `tfrec_attn.models.base.scoring.Query`, or None.
    """
    if prior is None:
        scores, rows = index.top(query, item_vectors, k + tf.shape(hidden)[1])
    else:
        # A listed item can lose by its value, so that another one takes its place.
        _, rows = index.top(query, item_vectors, k + tf.shape(hidden)[1] + tf.shape(prior[0])[1])
        rows = selection.distinct(tf.concat([rows, prior[0]], axis=1))
        scores = score_listed(Query(query, prior), item_vectors, rows)
    return selection.best(selection.hide_among(scores, rows, hidden), rows, k)
