"""The best items of a block of users: one matrix product, and the best columns of it."""

import numpy as np
import tensorflow as tf

from tfrec_attn.models.base.scoring import Query, score_all

_FLOOR = tf.float32.min
# Columns whose maximum is found first.
_GROUP = 64


class BestItems(tf.Module):
    """Finds the k columns of a matrix that score best for a query, the lower column among equals.

        score of column c = query . row c of the matrix + the value of c in the prior

    The best k columns lie in the k groups of neighbouring columns with the best maxima, so most
    scores are read only once.

    Args:
        vectors: float32 [C, D'].
        popularity: Scores of the columns where nothing is known, float32 [C].
        k: Number of columns, at most C.
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

        def traced(function, *specs):
            return tf.function(function, input_signature=specs, autograph=False)

        self._by_query = traced(self._trace_query, query, integers)
        self._by_query_and_prior = traced(self._trace_prior, query, integers, integers, floats)
        self._by_popularity = traced(self._trace_popularity, integers)

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
            (columns 1..C int32 [B, k], scores float32 [B, k]), best first; column 0 and the lowest
            float where fewer are left.
        """
        if prior is None:
            return self._found(self._by_query(query, hidden))
        return self._found(self._by_query_and_prior(query, hidden, *prior))

    def popular(self, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the columns with the highest popularity, as `of`."""
        return self._found(self._by_popularity(hidden))

    @staticmethod
    def _found(result):
        columns, scores = (one.numpy() for one in result)
        return np.where(scores > _FLOOR, columns, 0), scores

    def _trace_query(self, query, hidden):
        return self._select(score_all(Query(query), self._matrix), hidden)

    def _trace_prior(self, query, hidden, columns, values):
        return self._select(score_all(Query(query, (columns, values)), self._matrix), hidden)

    def _trace_popularity(self, hidden):
        shape = tf.stack([tf.shape(hidden)[0], self._groups * _GROUP])
        return self._select(tf.broadcast_to(self._popularity, shape), hidden)

    def _select(self, scores, hidden):
        scores = self._hide(scores, hidden)
        k = self._k
        if k >= self._groups // 2:
            best, columns = tf.math.top_k(scores, k)
            return columns, best
        grouped = tf.reshape(scores, [-1, self._groups, _GROUP])
        _, groups = tf.math.top_k(tf.reduce_max(grouped, axis=2), k)
        groups = tf.sort(groups, axis=1)
        few = tf.reshape(tf.gather(grouped, groups, batch_dims=1), [-1, k * _GROUP])
        best, place = tf.math.top_k(few, k)
        group = tf.gather(groups, place // _GROUP, batch_dims=1)
        return group * _GROUP + place % _GROUP, best

    def _hide(self, scores, hidden):
        """Sets the scores of hidden and of padding columns to the lowest float."""
        padding = np.r_[0, self._count + 1 : self._groups * _GROUP].astype(np.int32)
        batch = tf.shape(scores)[0]
        padding = tf.broadcast_to(padding, tf.stack([batch, len(padding)]))
        hidden = tf.concat([hidden, padding], axis=1)
        rows = tf.range(batch)[:, tf.newaxis] + tf.zeros_like(hidden)
        index = tf.stack([rows, hidden], axis=-1)
        return tf.tensor_scatter_nd_update(scores, index, tf.fill(tf.shape(hidden), _FLOOR))
