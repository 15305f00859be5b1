"""Re-ranks the lists of many users for novelty and diversity."""

import numpy as np
import tensorflow as tf

from tfrec_attn.errors import ConfigError
from tfrec_attn.lists.reranking import Pool, RerankOptions, rerank
from tfrec_attn.lists.source import Source

# Number of best items that are re-ranked: at least _POOL, and _POOL_FACTOR for each item of a list.
# The signature `recommend_diverse` of an export with the default --max-k has the same numbers.
_POOL, _POOL_FACTOR = 400, 4
# Number of users whose items are compared at once, which takes some MB of vectors.
_ROWS = 128


class ListReranking:
    """Re-ranks lists of items as the signature `recommend_diverse` does.

    Args:
        source: The model.
        k: Number of items of a list.
        per_category: Most items of a category; 0 (default) for any number.
        popularity_penalty: Penalty of `reranking`, from 0 (default) to 1e6: the score of an item
            falls by this number times ln(1 + N share).
        diversity: Weight of the cosine with other items of the list, from 0 (default) to 1.

    Raises:
        ConfigError: If a number is out of range, or if `diversity` is not 0 and the model does not
            say which columns of its vectors are the point of an item.
    """

    def __init__(
        self,
        source: Source,
        k: int,
        per_category: int = 0,
        popularity_penalty: float = 0.0,
        diversity: float = 0.0,
    ):
        # With a larger penalty, the product with the logarithm may not be a finite float32.
        if not 0 <= popularity_penalty <= 1e6:
            raise ConfigError(
                f"--popularity-penalty must be from 0 to 1000000, but is {popularity_penalty}."
            )
        if not 0 <= diversity <= 1:
            raise ConfigError(f"--diversity must be from 0 to 1, but is {diversity}.")
        self._k, self._options = k, (float(popularity_penalty), per_category, float(diversity))
        relative = len(source.items) * np.maximum(source.popularity, 0)
        self._popularity = np.append(0, np.log1p(relative)).astype(np.float32)
        categories = source.categories or [""] * len(source.items)
        names = {"": 0} | {name: 1 + place for place, name in enumerate(sorted({*categories}))}
        self._categories = np.array(
            [0, *(names[one] if one else 0 for one in categories)], np.int32
        )
        self._units = _units(source) if diversity else None
        self._traced = tf.function(
            self._trace,
            input_signature=[
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None, None], tf.float32),
                tf.TensorSpec([None], tf.bool),
            ],
            autograph=False,
        )

    @staticmethod
    def pool(k: int) -> int:
        """Returns the number of best items that are re-ranked for a list of k items."""
        return max(_POOL, _POOL_FACTOR * k)

    def first(
        self, rows: np.ndarray, scores: np.ndarray, popular: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first k items of each re-ranked list.

        Args:
            rows: Items, best first, int32 [B, M]; 0 is no item.
            scores: Scores of the items, float32 [B, M]; the lowest float where there is no item.
            popular: Whether the scores of a list are popularities, bool [B].

        Returns:
            (items int32 [B, k], scores float32 [B, k]), with 0 and the lowest float where fewer
            items are left.
        """
        parts = [
            self._traced(*(one[begin : begin + _ROWS] for one in (rows, scores, popular)))
            for begin in range(0, len(rows), _ROWS)
        ]
        scores, rows = (
            np.concatenate([one.numpy() for one in part]) for part in zip(*parts, strict=True)
        )
        return rows, scores

    def _trace(self, rows, scores, popular):
        popularity = tf.where(popular[:, tf.newaxis], 0.0, tf.gather(self._popularity, rows))
        options = (tf.fill(tf.shape(popular), one) for one in self._options)
        units = None if self._units is None else lambda rows: tf.gather(self._units, rows)
        pool = Pool(scores, rows, popularity, tf.gather(self._categories, rows))
        return rerank(pool, RerankOptions.of(*options), self._k, units)


def _units(source: Source) -> np.ndarray | None:
    """Unit vectors of the items 0..N, zeros for untrained ones; None if items have no points."""
    if source.points is None:
        raise ConfigError(
            f"--diversity needs to know which columns of the vectors place an item, which "
            f"{source.path} does not say; export it again, or give the run."
        )
    if not source.points.any():
        return None
    points = np.where(source.points & source.trained[:, np.newaxis], source.vectors, 0.0)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    return np.pad(points, [(1, 0), (0, 0)]).astype(np.float32)
