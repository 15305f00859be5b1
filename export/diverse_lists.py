"""Lists of allowed items and categories, re-ranked for novelty and diversity."""

from typing import NamedTuple

import tensorflow as tf

from tfrec_attn.lists.reranking import Pool, RerankOptions, rerank
from tfrec_attn.models.base.scoring import Query

from .catalogue import Catalogue
from .item_ranking import Found, ItemRanking
from .related import RelatedItems


class Allowed(NamedTuple):
    """The items and categories that requests allow.

    A request can have a list of items, a list of categories, or both. With both, an item must be in
    the first and have a category of the second.

    Attributes:
        items: Rows of the allowed items, int32 [B, A]; 0 if unknown.
        has_items: Whether the request has a list of items, bool [B].
        categories: Numbers of the allowed categories, int32 [B, C]; 0 if unknown.
        has_categories: Whether the request has a list of categories, bool [B].
    """

    items: tf.Tensor
    has_items: tf.Tensor
    categories: tf.Tensor
    has_categories: tf.Tensor

    @classmethod
    def of(cls, items: tuple[tf.Tensor, tf.Tensor], categories: tuple[tf.Tensor, tf.Tensor]):
        """Makes an `Allowed` from pairs (ids string [B, A], their rows or numbers int32 [B, A])."""
        has_some = (tf.reduce_any(ids != "", axis=1) for ids, _ in (items, categories))
        return cls(items[1], next(has_some), categories[1], next(has_some))


class DiverseLists:
    """Finds the best items and re-ranks them.

    Args:
        ranking: Finds the best items.
        related: Gives the unit vectors of items, for their similarity.
        popularity: Share of the training events of each item, a variable [N + 1].
        catalogue: Categories of the items. None: the items have no categories.
        size: M, the number of best items that are re-ranked.
    """

    def __init__(
        self,
        ranking: ItemRanking,
        related: RelatedItems,
        popularity: tf.Variable,
        catalogue: Catalogue | None,
        size: int,
    ):
        self._ranking, self._popularity, self._size = ranking, popularity, size
        self._catalogue = catalogue
        self._units = related.units if related.has_points else None

    def category_numbers(self, categories: tf.Tensor) -> tf.Tensor:
        """Returns the numbers of categories: string [...] -> int32 [...], 0 if unknown."""
        if self._catalogue is None:
            return tf.zeros_like(categories, tf.int32)
        return self._catalogue.numbers(categories)

    def best(
        self,
        query: Query,
        fallback: tf.Tensor,
        hidden: tf.Tensor,
        allowed: Allowed,
        options: RerankOptions,
        k: tf.Tensor,
    ) -> Found:
        """Returns the re-ranked list of each request; shapes are those of `ItemRanking.best`.

        Re-ranking changes the order, not the scores.
        """
        is_filtered = allowed.has_items | allowed.has_categories
        scores, rows = tf.cond(
            tf.reduce_any(is_filtered),
            lambda: self._ranking.best_allowed(
                query, fallback, hidden, self._is_allowed(allowed), is_filtered, self._size
            ),
            lambda: self._ranking.best(query, fallback, hidden, self._size),
        )
        pool = Pool(scores, rows, self._log_popularity(rows, fallback), self._categories(rows))
        return rerank(pool, options, k, self._units)

    def _is_allowed(self, allowed):
        """Whether each request allows each item, bool [B, N + 1]."""
        number = self._popularity.shape[0]
        of_list = _marked(allowed.items, number) | ~allowed.has_items[:, tf.newaxis]
        if self._catalogue is None:
            return of_list & ~allowed.has_categories[:, tf.newaxis]
        of_categories = tf.gather(
            _marked(allowed.categories, self._catalogue.size + 1),
            tf.convert_to_tensor(self._catalogue.of_items),
            axis=1,
        )
        return of_list & (of_categories | ~allowed.has_categories[:, tf.newaxis])

    def _log_popularity(self, rows, fallback):
        """ln(1 + N share) of items; 0 in rows with popular items, whose scores are shares."""
        shares = tf.gather(tf.convert_to_tensor(self._popularity), rows)
        relative = (self._popularity.shape[0] - 1) * tf.maximum(shares, 0.0)
        return tf.where(fallback[:, tf.newaxis], 0.0, tf.math.log1p(relative))

    def _categories(self, rows):
        if self._catalogue is None:
            return tf.zeros_like(rows)
        return tf.gather(tf.convert_to_tensor(self._catalogue.of_items), rows)


def _marked(numbers, size):
    """Whether each of 1..size - 1 is among the numbers: int32 [B, X] -> bool [B, size]."""
    batch = tf.shape(numbers)[0]
    rows = tf.range(batch)[:, tf.newaxis] + tf.zeros_like(numbers)
    index = tf.stack([rows, numbers], axis=-1)
    found = tf.scatter_nd(index, tf.ones_like(numbers), tf.stack([batch, size]))
    return (found > 0) & (tf.range(size) > 0)
