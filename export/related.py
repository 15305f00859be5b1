"""Similar items in the graph of a SavedModel, by the vectors of the items or by counts."""

import numpy as np
import tensorflow as tf

from tfrec_attn.layers.item_neighbours import ItemNeighbours
from tfrec_attn.models.base import SequenceModel
from tfrec_attn.models.base.similarity import item_space
from tfrec_attn.models.base.untrained import FLOOR

from . import retrieval
from .compact_matrix import CompactMatrix, products_of, rows_of
from .retrieval import InvertedFile

COSINE, SCORE, COUNTS = "cosine", "score", "counts"

Found = tuple[tf.Tensor, tf.Tensor]


class RelatedItems(tf.Module):
    """Finds the items with training events that are nearest to an item.

    Args:
        model: The model as from `with_item_matrix`.
        vectors: Its item matrix [N + 1, D'].
        trained: Which items have training events, bool [N]. None: all.

    Attributes:
        has_points: Whether item vectors can be compared. Those of counting models cannot.
        has_counts: Whether the model has counts of neighbours, as `ItemNeighbours`.
    """

    def __init__(
        self, model: SequenceModel, vectors: tf.Variable | CompactMatrix, trained: np.ndarray | None
    ):
        super().__init__(name="related_items")
        space = item_space(model, vectors.shape[1])
        # TensorFlow saves attributes, but not closures.
        self._space = lambda: space
        self._vectors = lambda: vectors
        layers = [one for one in model.submodules if isinstance(one, ItemNeighbours)]
        self._neighbours = lambda: layers[0]
        self.has_points, self.has_counts = bool(space.points.any()), bool(layers)
        norms = np.linalg.norm(np.where(space.points, _values(vectors), 0.0), axis=1)
        inverse = np.where(norms > 0, 1 / np.maximum(norms, 1e-12), 0.0)
        if trained is not None:
            inverse[1:] *= trained
        inverse[0] = 0.0
        # 0 marks an item that is similar to no other.
        self.inverse_norms = None
        if self.has_points:
            self.inverse_norms = tf.Variable(
                inverse, trainable=False, dtype=tf.float32, name="inverse_norms"
            )

    def units(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the unit vectors of items: int32 [...] -> float32 [..., D']."""
        inverse = tf.gather(tf.convert_to_tensor(self.inverse_norms), rows)
        points = rows_of(self._vectors(), rows) * self._space().points.astype(np.float32)
        return points * inverse[..., tf.newaxis]

    def nearest(
        self, rows: tf.Tensor, by_score: tf.Tensor, k: tf.Tensor, index: InvertedFile | None
    ) -> Found:
        """Finds the k nearest items of each item.

        Args:
            rows: Rows of the items, int32 [B]. Row 0 has no neighbours.
            by_score: Whether to rank by the score of the model instead of the cosine, bool [B].
            k: Scalar.
            index: Proposes the items to compare. None: all items are compared.

        Returns:
            (similarities float32 [B, k], rows int32 [B, k]), nearest first, with FLOOR where fewer
            items are left.
        """
        vectors, inverse = self._vectors(), tf.convert_to_tensor(self.inverse_norms)
        own, by_score = rows_of(vectors, rows), by_score[:, tf.newaxis]
        at_item = self._space().queries(own)
        queries = tf.where(by_score, at_item, self.units(rows))
        if index is None:
            scores = products_of(queries, vectors)
            scores = _listed(tf.where(by_score, scores, scores * inverse), rows, inverse)
            return retrieval.search_all(scores, rows[:, tf.newaxis], k)
        # The query at an item selects the cells around this item.
        near = index.rows_near(at_item)
        inverse = tf.gather(inverse, near)
        scores = retrieval.products(queries, rows_of(vectors, near))
        scores = _listed(tf.where(by_score, scores, scores * inverse), rows, inverse)
        hidden = retrieval.hide_listed(scores, near, rows[:, tf.newaxis])
        return retrieval.top_k(hidden, near, k)

    def counted(self, rows: tf.Tensor, k: tf.Tensor) -> Found:
        """Finds the k items with the greatest counts beside each item.

        Args and the result are as in `nearest`, with counts as similarities.
        """
        layer = self._neighbours()
        items, values = tf.gather(layer.items, rows), tf.gather(layer.values, rows)
        values = retrieval.hide_listed(values, items, rows[:, tf.newaxis])
        return retrieval.top_k(values, items, k)


def _values(matrix):
    return rows_of(matrix, tf.range(matrix.shape[0])).numpy()


def _listed(scores, rows, inverse):
    """Scores, with FLOOR for items that are similar to none, and in requests for row 0."""
    return tf.where((inverse > 0) & (rows > 0)[:, tf.newaxis], scores, FLOOR)
