"""Scores items for the queries of requests, and finds the best."""

import tensorflow as tf

from tfrec_attn.models.base.scoring import Query, add_prior, score_listed
from tfrec_attn.models.base.untrained import FLOOR

from . import retrieval
from .compact_matrix import CompactMatrix, products_of, rows_of
from .retrieval import InvertedFile

Found = tuple[tf.Tensor, tf.Tensor]


class ItemRanking:
    """Ranks items by their scores or, where nothing is known, by their popularity.

    Methods take `fallback`, bool [B], which is true for requests that get the popular items, and
    `hidden`, int32 [B, X], the rows of items to leave out. Methods that find items return (scores
    float32 [B, k], rows int32 [B, k]), best first, with FLOOR where fewer items are left.

    Args:
        vectors: Item matrix [N + 1, D'], a variable or, without an index, a `CompactMatrix`.
        popularity: Share of the training events, a variable [N + 1]; negative for items without
            training events.
        has_untrained: Whether there are items without training events. They come last.
        index: Proposes the items to rank. None: all items are ranked.
    """

    def __init__(
        self,
        vectors: tf.Variable | CompactMatrix,
        popularity: tf.Variable,
        has_untrained: bool,
        index: InvertedFile | None,
    ):
        self._vectors, self._popularity = vectors, popularity
        self._has_untrained, self._index = has_untrained, index

    def best(self, query: Query, fallback: tf.Tensor, hidden: tf.Tensor, k: tf.Tensor) -> Found:
        """Finds the k best items."""
        if self._index is None:
            return retrieval.search_all(self._all_scores(query, fallback), hidden, k)
        vectors = tf.convert_to_tensor(self._vectors)
        found = retrieval.search_index(self._index, query, vectors, hidden, k)

        def with_popular():
            shape = tf.stack([tf.shape(hidden)[0], tf.shape(vectors)[0]])
            popular = tf.broadcast_to(self._popularity, shape)
            return _choose(fallback, retrieval.search_all(popular, hidden, k), found)

        return tf.cond(tf.reduce_any(fallback), with_popular, lambda: found)

    def best_allowed(
        self,
        query: Query,
        fallback: tf.Tensor,
        hidden: tf.Tensor,
        allowed: tf.Tensor,
        is_filtered: tf.Tensor,
        k: tf.Tensor,
    ) -> Found:
        """Finds the k best of the allowed items.

        `allowed`, bool [B, N + 1], says which items a request allows, and `is_filtered`, bool [B],
        which requests have a filter. These requests get an exact search, because an index could
        miss allowed items. The others must allow all items; they get the result of `best`.
        """
        scores = tf.where(allowed, self._all_scores(query, fallback), FLOOR)
        found = retrieval.search_all(scores, hidden, k)
        if self._index is None:
            return found
        return _choose(is_filtered, found, self.best(query, fallback, hidden, k))

    def best_among(
        self,
        listed: tf.Tensor,
        query: Query,
        fallback: tf.Tensor,
        hidden: tf.Tensor,
        k: tf.Tensor,
    ) -> Found:
        """Finds the k best of listed items, int32 [B, A]."""
        rows = retrieval.deduplicate(listed)
        scores = self.scores(query, fallback, rows)
        return retrieval.top_k(retrieval.hide_listed(scores, rows, hidden), rows, k)

    def scores(self, query: Query, fallback: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Returns the scores of listed items: int32 [B, C] -> float32 [B, C]."""
        scores = score_listed(query, rows_of(self._vectors, rows), rows)
        popularity = tf.gather(tf.convert_to_tensor(self._popularity), rows)
        by_popularity = fallback[:, tf.newaxis]
        if self._has_untrained:
            by_popularity |= popularity < 0
        return tf.where(by_popularity, popularity, scores)

    def _all_scores(self, query, fallback):
        """Scores of all rows, of which row 0 is padding, float32 [B, N + 1]."""
        scores = products_of(query.vectors, self._vectors)
        scores = scores if query.prior is None else add_prior(scores, query.prior)
        popular = fallback[:, tf.newaxis]
        scores = tf.cond(
            tf.reduce_any(fallback),
            lambda: tf.where(popular, self._popularity, scores),
            lambda: scores,
        )
        if self._has_untrained:
            scores = tf.where(self._popularity < 0, self._popularity, scores)
        return scores


def _choose(condition, found, other):
    """`found` for the requests where the condition [B] holds, else `other`."""
    rows = condition[:, tf.newaxis]
    return tuple(tf.where(rows, one, two) for one, two in zip(found, other, strict=True))
