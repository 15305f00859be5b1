"""Re-ranks the best items of a request: a popularity penalty, a cap of categories, and diversity.

The best items of a request are its pool. A list is made from the pool in these steps:

1. The score of each item falls by `penalty` ln(1 + N share), where share is the item's share of the
   training events. N share is its number of training events relative to that of an average item.
2. Items are added to the list one after the other, the best item first. An item is skipped if the
   list already has `cap` items of its category.
3. With a `diversity` d above 0, the best item is the one with the greatest marginal relevance,

       (1 - d) relevance - d (greatest cosine with an item of the list).

   The relevance is the score of step 1, scaled from 0 for the lowest of the pool to 1 for the
   highest.

Items without training events come last, in the order of the pool.

Reference: Carbonell, Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents
and Producing Summaries", SIGIR 1998.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfrec_attn.models.base.untrained import FLOOR, UNTRAINED

# Least number of items in a pool.
LEAST_POOL = 200
# Value of untrained items, below all marginal relevances.
_LAST = -2.0


class Pool(NamedTuple):
    """The best items of each request.

    Attributes:
        scores: Scores of the items, best first, float32 [B, M]; FLOOR where there is no item.
        rows: Rows of the items, int32 [B, M].
        popularity: ln(1 + N share) of each item, float32 [B, M].
        categories: Category of each item, int32 [B, M]; 0 for no category, which has no cap.
    """

    scores: tf.Tensor
    rows: tf.Tensor
    popularity: tf.Tensor
    categories: tf.Tensor

    def ordered(self, order: tf.Tensor) -> "Pool":
        """Returns the pool with its columns in another order, int [B, M]."""
        return Pool(*(tf.gather(one, order, batch_dims=1) for one in self))


class RerankOptions(NamedTuple):
    """The re-ranking options of each request.

    Attributes:
        penalty: Penalty of the popularity, 0 or greater, float32 [B].
        cap: Most items of a category, int32 [B]; 0 for any number.
        diversity: Weight d of the cosine, from 0 to 1, float32 [B].
    """

    penalty: tf.Tensor
    cap: tf.Tensor
    diversity: tf.Tensor

    @classmethod
    def of(cls, penalty: tf.Tensor, cap: tf.Tensor, diversity: tf.Tensor) -> "RerankOptions":
        """Makes options from values, clipped to their ranges; NaN and infinity become 0."""
        penalty, diversity = (
            tf.where(tf.math.is_finite(one), tf.maximum(one, 0.0), 0.0)
            for one in (penalty, diversity)
        )
        return cls(penalty, tf.maximum(cap, 0), tf.minimum(diversity, 1.0))


def rerank(
    pool: Pool, options: RerankOptions, k: tf.Tensor, units: Callable[[tf.Tensor], tf.Tensor] | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes a list from each pool.

    Args:
        pool: The best items of each request.
        options: Options of each request.
        k: Scalar, at most M.
        units: Function from rows of items to their unit vectors, int32 [B, M] -> [B, M, D']. None
            for a model without points, whose lists do not depend on `diversity`.

    Returns:
        (scores float32 [B, k], rows int32 [B, k]) in the order of the list. The scores are those of
        the pool, with FLOOR and row 0 where no item of the pool can follow.
    """
    is_trained = pool.scores > UNTRAINED
    penalised = pool.scores - options.penalty[:, tf.newaxis] * pool.popularity
    values = tf.where(is_trained, penalised, pool.scores)
    size = tf.shape(values)[1]
    values, order = tf.math.top_k(values, size)
    pool = pool.ordered(order)
    if units is None:
        places = _best_within_cap(pool, options.cap, k)
    else:
        places = tf.cond(
            tf.reduce_any(options.diversity > 0),
            lambda: _most_relevant(pool, values, options, k, units(pool.rows)),
            lambda: _best_within_cap(pool, options.cap, k),
        )
    ends = [[0, 0], [0, 1]]
    return (
        tf.gather(tf.pad(pool.scores, ends, constant_values=FLOOR), places, batch_dims=1),
        tf.gather(tf.pad(pool.rows, ends), places, batch_dims=1),
    )


def _best_within_cap(pool, cap, k):
    """Columns of the first k items within the cap, [B, k]; M where no item is left."""
    size = tf.shape(pool.scores)[1]
    order = tf.argsort(pool.categories, axis=1, stable=True)
    ordered = tf.gather(pool.categories, order, batch_dims=1)
    # Number of better items with the same category.
    earlier = tf.range(size) - tf.searchsorted(ordered, ordered)
    earlier = tf.gather(earlier, tf.argsort(order, axis=1), batch_dims=1)
    fits = (pool.categories == 0) | (cap == 0)[:, tf.newaxis] | (earlier < cap[:, tf.newaxis])
    fits &= pool.scores > FLOOR
    return tf.sort(tf.where(fits, tf.range(size), size), axis=1)[:, :k]


def _most_relevant(pool, values, options, k, units):
    """Columns of the k items by marginal relevance, [B, k]; M where no item is left."""
    columns, (cap, weight) = tf.range(tf.shape(values)[1]), (options.cap, options.diversity)
    cap, weight = cap[:, tf.newaxis], weight[:, tf.newaxis]
    relevance = (1.0 - weight) * _relevance(pool.scores, values)

    def take(place, taken, is_open, nearest, same):
        value = tf.where(pool.scores > UNTRAINED, relevance - weight * nearest, _LAST)
        value = tf.where(is_open, value, FLOOR)
        best = tf.argmax(value, axis=1, output_type=tf.int32)
        found = (tf.reduce_max(value, axis=1) > FLOOR)[:, tf.newaxis]
        taken = tf.where(found & (tf.range(k) == place), best[:, tf.newaxis], taken)
        cosine = tf.linalg.matvec(units, tf.gather(units, best, batch_dims=1))
        category = tf.gather(pool.categories, best, batch_dims=1)[:, tf.newaxis]
        same += tf.cast((pool.categories == category) & (category > 0), tf.int32)
        is_open &= (columns != best[:, tf.newaxis]) & ((cap == 0) | (same < cap))
        return place + 1, taken, is_open, tf.maximum(nearest, cosine), same

    none = tf.fill(tf.stack([tf.shape(values)[0], k]), tf.size(columns))
    begin = (0, none, pool.scores > FLOOR, -tf.ones_like(values), tf.zeros_like(pool.rows))
    return tf.while_loop(lambda place, *_: place < k, take, begin, parallel_iterations=1)[1]


def _relevance(scores, values):
    """Values of the trained items, scaled from 0 for the lowest to 1 for the highest of a row."""
    is_trained = scores > UNTRAINED
    lowest = tf.reduce_min(tf.where(is_trained, values, -FLOOR), axis=1, keepdims=True)
    highest = tf.reduce_max(tf.where(is_trained, values, FLOOR), axis=1, keepdims=True)
    return tf.where(is_trained, tf.math.divide_no_nan(values - lowest, highest - lowest), 0.0)
