"""The one place where a query becomes scores of items, for ranks, recommendations, exports and
explanations.
"""

from typing import NamedTuple

import tensorflow as tf


class Query(NamedTuple):
    """What items are scored by: score(j) = vectors . v_j + the value of j in the prior, if there is
    one.

    Attributes:
        vectors: Float32 [B, D'].
        prior: (items int32 [B, P], values float32 [B, P]), or None. An item stands in a row at most
            once; 0 is padding. Items that are not listed have the value 0.
    """

    vectors: tf.Tensor
    prior: tuple[tf.Tensor, tf.Tensor] | None = None

    def rows(self, places):
        """Returns the query of some rows, int [R]."""
        prior = (
            None if self.prior is None else tuple(tf.gather(part, places) for part in self.prior)
        )
        return Query(tf.gather(self.vectors, places), prior)


def score_all(query, item_vectors, first=0):
    """Scores of neighbouring items.

    Args:
        query: A `Query` of B rows.
        item_vectors: Float32 [R, D'], of the items `first`, `first` + 1, ...
        first: 0 (default) where the vectors begin with padding, else 1.

    Returns:
        float32 [B, R].
    """
    scores = tf.matmul(query.vectors, item_vectors, transpose_b=True)
    if query.prior is None:
        return scores
    items, values = query.prior
    rows = tf.broadcast_to(tf.range(tf.shape(items)[0])[:, tf.newaxis], tf.shape(items))
    index = tf.stack([rows, tf.maximum(items - first, 0)], axis=-1)
    return tf.tensor_scatter_nd_add(scores, index, tf.where(items > 0, values, 0.0))


def score_listed(query, item_vectors, items):
    """Scores of some items of each row.

    Args:
        query: A `Query` of B rows.
        item_vectors: Tensor float32 [N + 1, D'], row 0 for padding.
        items: Int32 [B, C].

    Returns:
        float32 [B, C]; that of padding means nothing.
    """
    scores = tf.einsum("bd,bcd->bc", query.vectors, tf.gather(item_vectors, items))
    return scores if query.prior is None else scores + _values(query.prior, items)


def score_repeated(query, item_vectors, items, count):
    """Scores of one item for `count` queries in a row, such as those of variants of a history.

    Args:
        query: A `Query` of B * `count` rows.
        item_vectors: Tensor float32 [N + 1, D'], row 0 for padding.
        items: Int32 [B].
        count: C.

    Returns:
        float32 [B, C].
    """
    vectors = tf.gather(item_vectors, items)
    scores = tf.einsum(
        "bcd,bd->bc", tf.reshape(query.vectors, [-1, count, vectors.shape[1]]), vectors
    )
    if query.prior is None:
        return scores
    return scores + tf.reshape(
        _values(query.prior, tf.repeat(items, count)[:, tf.newaxis]), [-1, count]
    )


def _values(prior, items):
    """Values of items [B, C] in a prior, 0 where it does not list them."""
    order = tf.argsort(prior[0], axis=1)
    listed, values = (tf.gather(part, order, batch_dims=1) for part in prior)
    listed, values = tf.pad(listed, [[0, 0], [1, 0]]), tf.pad(values, [[0, 0], [1, 0]])
    place = tf.minimum(tf.searchsorted(listed, items), tf.shape(listed)[1] - 1)
    found = (tf.gather(listed, place, batch_dims=1) == items) & (items > 0)
    return tf.where(found, tf.gather(values, place, batch_dims=1), 0.0)
