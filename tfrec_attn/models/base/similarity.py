"""Similarity of items by their vectors."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec_attn.layers.squared_distance import SquaredDistance
from tfrec_attn.models.base.recommendation import ids_of, rows_of

SIMILARITIES = ("cosine", "score")


class ItemSpace(NamedTuple):
    """Two similarities of items by their vectors.

        cosine(i, j) = cosine of v_i and v_j over the columns of points
        score(i, j) = (scale v_i + offset) . v_j

    The columns of points are the embedding rows of the items, or all columns if the model names no
    tables. The other columns are biases and squared norms. `score` is the score of item j for a
    query at the point of item i: their inner product plus the bias of j or, for a model of
    distances, |v_i|^2 - |v_i - v_j|^2.

    Attributes:
        points: Which columns are embeddings, bool [D'].
        scale: Float32 [D'].
        offset: Float32 [D'].
    """

    points: np.ndarray
    scale: np.ndarray
    offset: np.ndarray

    def units(self, vectors: np.ndarray) -> np.ndarray:
        """Returns the points of vectors [R, D'] scaled to the norm 1; zeros do not change."""
        points = np.where(self.points, vectors, np.float32(0.0))
        return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)

    def queries(self, vectors: np.ndarray) -> np.ndarray:
        """Returns the queries [R, D'] at the points of vectors [R, D']."""
        return vectors * self.scale + self.offset


def item_space(model, width: int) -> ItemSpace:
    """Returns the similarities of the items of a `SequenceModel`.

    Args:
        model: The model. If all of its tables have one column, it has no points.
        width: D', number of columns of its item vectors.
    """
    summands = model.summands()
    if len(summands) > 1:
        return _side_by_side(summands)
    columns = model.item_columns()
    points, biases = np.full(width, not columns), np.zeros(width, bool)
    for table, first in columns.items():
        kind = points if table.dim > 1 else biases
        kind[first : first + table.dim] = True
    by_distance = any(isinstance(layer, SquaredDistance) for layer in model.submodules)
    scale = np.where(points, 2.0 if by_distance else 1.0, 0.0).astype(np.float32)
    offset = np.where(biases, 1.0, np.where(points, 0.0, -1.0 if by_distance else 0.0))
    return ItemSpace(points, scale, offset.astype(np.float32))


def _side_by_side(summands):
    """Returns the similarities of models whose scores are added."""
    spaces = []
    for weight, model in summands:
        width = model.item_vectors(tf.zeros([1], tf.int32)).shape[1]
        points, scale, offset = item_space(model, width)
        spaces.append((points, np.float32(weight) * scale, np.float32(weight) * offset))
    return ItemSpace(*(np.concatenate(parts) for parts in zip(*spaces, strict=True)))


def similar(model, items, k=10, by="cosine"):
    """Returns the k nearest trained items of each item, by the item vectors.

    It is a method of `SequenceModel`.

    Args:
        model: The model.
        items: Ids as in `recommend`. Unknown and untrained items have no neighbours.
        k: Number of items. Default 10.
        by: "cosine" (default), without biases and squared norms, or "score", the score of the model
            for a query at the item. See `ItemSpace`.

    Returns:
        (items, scores): lists of up to k ids and similarities for each item, nearest first.

    Raises:
        ValueError: If an argument is not as above, or if the model counts and has no vectors.
    """
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"k must be an integer of at least 1, but is {k!r}.")
    if by not in SIMILARITIES:
        raise ValueError(f"by must be one of {', '.join(SIMILARITIES)}, but is {by!r}.")
    vectors = model.item_vectors().numpy()
    space = item_space(model, vectors.shape[1])
    if not space.points.any():
        raise ValueError(f"{type(model).__name__} counts, and has no item vectors to compare.")
    rows = rows_of("items", items, model.item_vocabulary, model.num_items)
    is_trained = np.append(False, np.ones(model.num_items, bool))
    if model.trained_items is not None:
        is_trained[1:] = model.trained_items
    compared = space.units(vectors) if by == "cosine" else vectors
    neighbours, scores = [], []
    for row in rows:
        query = compared[row] if by == "cosine" else space.queries(vectors[row])
        is_other = is_trained & (np.arange(len(is_trained)) != row)
        values = np.where(is_other, compared @ query, -np.inf)
        best = np.argsort(-values, kind="stable")[:k]
        best = best[np.isfinite(values[best]) & is_trained[row]]
        neighbours.append(ids_of(best, model.item_vocabulary))
        scores.append(values[best].tolist())
    return neighbours, scores
