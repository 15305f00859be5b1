"""Finds the best items of a block of users: one matrix product, then its best columns."""

import numpy as np
import tensorflow as tf

from tfrec_attn.models.base.scoring import Query, score_all
from tfrec_attn.models.base.untrained import FLOOR

# Number of neighbouring columns in a group.
_GROUP = 64


class BestItems(tf.Module):
    """Finds the k columns with the best scores for a query.

        score of column c = query . row c of the vectors + value of c in the prior

    Of equal scores the lower column is first.

    The search first takes the maximum of each group of neighbouring columns. The best k columns are
    in the k groups with the best maxima, because these k maxima are at least as good as all columns
    of the other groups. So most scores are read only once.

    Args:
        vectors: Vectors of the columns, float32 [C, D'].
        popularity: Scores of the columns where nothing is known, float32 [C].
        k: Number of columns to find, at most C.
    """

    def __init__(self, vectors: np.ndarray, popularity: np.ndarray, k: int):
        super().__init__(name="best_items")
        self._count, self._k = len(vectors), k
        # Column 0 is padding, and so are the columns that fill the last group.
        self._groups = -(-(self._count + 1) // _GROUP)
        fill = self._groups * _GROUP - self._count - 1
        self._matrix = tf.Variable(np.pad(vectors, [(1, fill), (0, 0)]), trainable=False)
        self._popularity = tf.Variable(np.pad(popularity, (1, fill)), trainable=False)
        integers = tf.TensorSpec([None, None], tf.int32)
        floats = tf.TensorSpec([None, None], tf.float32)
        query = tf.TensorSpec([None, vectors.shape[1]], tf.float32)

        def by_query(query, hidden, *prior):
            scores = score_all(Query(query, prior or None), self._matrix)
            return self._select(scores, hidden)

        def by_popularity(hidden):
            shape = tf.stack([tf.shape(hidden)[0], self._groups * _GROUP])
            return self._select(tf.broadcast_to(self._popularity, shape), hidden)

        def traced(function, *specs):
            return tf.function(function, input_signature=specs, autograph=False)

        self._by_query = traced(by_query, query, integers)
        self._by_query_and_prior = traced(by_query, query, integers, integers, floats)
        self._by_popularity = traced(by_popularity, integers)

    def of(
        self,
        query: np.ndarray,
        hidden: np.ndarray,
        prior: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the best columns for queries.

        Args:
            query: float32 [B, D'].
            hidden: Columns 1..C to leave out, int32 [B, X]; 0 is padding.
            prior: (columns int32 [B, P], values float32 [B, P]), or None; 0 is padding.

        Returns:
            (columns 1..C int32 [B, k], scores float32 [B, k]), best first, with column 0 and the
            lowest float where fewer columns are left.
        """
        if prior is None:
            return self._found(self._by_query(query, hidden))
        return self._found(self._by_query_and_prior(query, hidden, *prior))

    def popular(self, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the columns with the greatest popularity, as `of` does."""
        return self._found(self._by_popularity(hidden))

    @staticmethod
    def _found(result):
        columns, scores = (one.numpy() for one in result)
        return np.where(scores > FLOOR, columns, 0), scores

    def _select(self, scores, hidden):
        padding = np.r_[0, self._count + 1 : self._groups * _GROUP].astype(np.int32)
        padding = tf.broadcast_to(padding, tf.stack([tf.shape(scores)[0], len(padding)]))
        # Hidden columns and padding, which is in two groups, can be the maxima of groups.
        needed = self._k + tf.shape(hidden)[1] + 2
        hidden = tf.concat([hidden, padding], axis=1)
        return tf.cond(
            needed < self._groups // 2,
            lambda: self._select_in_groups(scores, hidden, needed),
            lambda: tuple(tf.math.top_k(_hide(scores, hidden), self._k))[::-1],
        )

    def _select_in_groups(self, scores, hidden, count):
        """Selects among the columns of the `count` groups with the best maxima."""
        grouped = tf.reshape(scores, [-1, self._groups, _GROUP])
        groups = tf.math.top_k(tf.reduce_max(grouped, axis=2), count).indices
        groups = tf.sort(groups, axis=1)
        # One more column stands for the hidden columns of other groups.
        few = tf.gather(grouped, groups, batch_dims=1)
        few = tf.pad(tf.reshape(few, [-1, count * _GROUP]), [[0, 0], [0, 1]])
        place = tf.scatter_nd(
            _with_rows(groups),
            tf.broadcast_to(tf.range(1, count + 1), tf.shape(groups)),
            tf.stack([tf.shape(groups)[0], self._groups]),
        )
        place = tf.gather(place, hidden // _GROUP, batch_dims=1)
        elsewhere = tf.fill(tf.shape(hidden), count * _GROUP)
        place = tf.where(place > 0, (place - 1) * _GROUP + hidden % _GROUP, elsewhere)
        best, column = tf.math.top_k(_hide(few, place)[:, :-1], self._k)
        group = tf.gather(groups, column // _GROUP, batch_dims=1)
        return group * _GROUP + column % _GROUP, best


def _hide(scores, columns):
    """Sets the scores of some columns [B, X] to the lowest float."""
    return tf.tensor_scatter_nd_update(
        scores, _with_rows(columns), tf.fill(tf.shape(columns), FLOOR)
    )


def _with_rows(columns):
    """Indices [B, X, 2] of columns [B, X]."""
    rows = tf.range(tf.shape(columns)[0])[:, tf.newaxis]
    return tf.stack([rows + tf.zeros_like(columns), columns], axis=-1)
