"""Scores of items, for ranks, recommendations, exports and explanations."""

from typing import NamedTuple

import tensorflow as tf

from tfrec_attn.layers.item_neighbours import sum_at


class Query(NamedTuple):
    """A query vector, and values that are added to the scores of some items.

        score(j) = vectors . v_j + value of j in the prior

    Attributes:
        vectors: Float32 [B, D'].
        prior: (items int32 [B, P], values float32 [B, P]), or None. The items of a row are unique;
            0 is padding. Items that are not listed have the value 0.
    """

    vectors: tf.Tensor
    prior: tuple[tf.Tensor, tf.Tensor] | None = None

    def rows(self, index: tf.Tensor) -> "Query":
        """Returns the query of some rows, int [R]."""
        prior = self.prior and tuple(tf.gather(part, index) for part in self.prior)
        return Query(tf.gather(self.vectors, index), prior)


def score_all(query, item_vectors, first=0):
    """Returns scores of consecutive items.

    Args:
        query: A `Query` of B rows.
        item_vectors: Vectors of the items `first`, `first` + 1, ..., float32 [R, D'].
        first: 0 (default) if the vectors begin with padding, else 1.

    Returns:
        float32 [B, R].
    """
    scores = tf.matmul(query.vectors, item_vectors, transpose_b=True)
    return scores if query.prior is None else add_prior(scores, query.prior, first)


def add_prior(scores, prior, first=0):
    """Adds a prior to the scores of consecutive items.

    Args:
        scores: Scores of the items `first`, `first` + 1, ..., float32 [B, R].
        prior: The prior of a `Query`.
        first: 0 (default) if the scores begin with that of padding, else 1.

    Returns:
        float32 [B, R].
    """
    items, values = prior
    columns, width = tf.maximum(items - first, 0), tf.shape(scores)[1]
    return scores + sum_at(columns, tf.where(items > 0, values, 0.0), width)


def popular_or(popularity, nothing, scores):
    """Replaces the scores in rows where nothing is known by the popularity of the items.

    Args:
        popularity: Float [N], or None to keep all scores.
        nothing: Rows where nothing is known, bool [B].
        scores: Float [B, N].

    Returns:
        [B, N], of the type of the scores.
    """
    if popularity is None:
        return scores
    popular, nothing = tf.cast(popularity, scores.dtype), nothing[:, tf.newaxis]
    return tf.cond(
        tf.reduce_any(nothing), lambda: tf.where(nothing, popular, scores), lambda: scores
    )


def score_listed(query, vectors, items):
    """Returns the scores of the items that are listed for each row.

    Args:
        query: A `Query` of B rows.
        vectors: Vectors of the items, float32 [B, C, D'].
        items: Int32 [B, C].

    Returns:
        float32 [B, C]; the score of padding has no meaning.
    """
    scores = tf.einsum("bd,bcd->bc", query.vectors, vectors)
    return scores if query.prior is None else scores + _values(query.prior, items)


def score_repeated(query, vectors, items, count):
    """Returns the scores of one item for several queries, such as variants of a history.

    Args:
        query: A `Query` of B * `count` rows: `count` rows for each item, one after the other.
        vectors: Vectors of the items, float32 [B, D'].
        items: Int32 [B].
        count: C, number of queries for each item.

    Returns:
        float32 [B, C].
    """
    scores = tf.einsum(
        "bcd,bd->bc", tf.reshape(query.vectors, [-1, count, vectors.shape[1]]), vectors
    )
    if query.prior is None:
        return scores
    return scores + tf.reshape(
        _values(query.prior, tf.repeat(items, count)[:, tf.newaxis]), [-1, count]
    )


def _values(prior, items):
    """Returns the values of items [B, C] in a prior, 0 for items that the prior does not list."""
    order = tf.argsort(prior[0], axis=1)
    listed, values = (tf.gather(part, order, batch_dims=1) for part in prior)
    listed, values = tf.pad(listed, [[0, 0], [1, 0]]), tf.pad(values, [[0, 0], [1, 0]])
    # tf.searchsorted does not take empty rows, so each row gets one more value.
    column = tf.searchsorted(listed, tf.pad(items, [[0, 0], [0, 1]]))[:, :-1]
    column = tf.minimum(column, tf.shape(listed)[1] - 1)
    found = (tf.gather(listed, column, batch_dims=1) == items) & (items > 0)
    return tf.where(found, tf.gather(values, column, batch_dims=1), 0.0)
