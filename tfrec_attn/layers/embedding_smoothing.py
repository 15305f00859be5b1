"""Graph embedding smoothing: item vectors averaged along counted transitions."""

import numpy as np
import tensorflow as tf

from tfrec_attn.layers.support import Layer, positive_integer, positive_number
from tfrec_attn.layers.transition_rows import item_matrix, transition_arrays


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class EmbeddingSmoothing(Layer):
    """Item vectors, multiplied by the normalised graph of item transitions (GES).

        result = A^K E
        A = G^(-1/2) (weight (C + Cᵀ) + I) G^(-1/2)

    C counts the transitions. G is diagonal, with the row sums of `weight (C + Cᵀ) + I`. An item
    without a transition keeps its vector. The layer computes in float32 and has no weights.

    Args:
        transitions: A `tfrec_attn.data.sequences.transitions.Transitions`, or its arrays
            `(offsets [N + 2], neighbours [nnz], counts [nnz])`.
        weight: Weight of one transition; the item itself has the weight 1. Default 1.
        num_layers: K. Default 1.

    Shapes:
        item_vectors [N + 1, D] -> [N + 1, D] float32; row 0, padding, does not change.

    Deviations:
        The authors also drop edges of the graph in training, and add edges between items with the
        same attributes.

    Reference:
        Zhu, Sun, Chen, "Graph-based Embedding Smoothing for Sequential Recommendation", TKDE 2021;
        Zhu et al. compare TED with it (WSDM 2024, arXiv 2311.01056, GES).
    """

    def __init__(self, transitions, weight=1.0, num_layers=1, **kwargs):
        # Autocasting would round the item vectors before the sums.
        super().__init__(autocast=False, **kwargs)
        self.weight = positive_number("weight", weight)
        self.num_layers = positive_integer("num_layers", num_layers)
        self.transitions = transition_arrays(transitions)
        self.num_items = len(self.transitions[0]) - 2
        index, values = _normalised(*self.transitions, self.weight)
        size = self.num_items + 1
        with tf.init_scope():  # A graph captures eager tensors instead of storing their values.
            self._graph = tf.SparseTensor(index, tf.constant(values, tf.float32), [size, size])

    def call(self, item_vectors):
        result = item_matrix(item_vectors, self.num_items)
        for _ in range(self.num_layers):
            result = tf.sparse.sparse_dense_matmul(self._graph, result)
        return result

    def get_config(self):
        return {
            **super().get_config(),
            "transitions": [array.tolist() for array in self.transitions],
        }


def _normalised(offsets, neighbours, counts, weight):
    """Returns the entries of A: (row and column int64 [E, 2] in ascending order, values [E])."""
    size = len(offsets) - 1
    itself, row = np.arange(size), np.repeat(np.arange(size), np.diff(offsets))
    ends = np.concatenate([row, neighbours, itself]), np.concatenate([neighbours, row, itself])
    added = np.concatenate([weight * counts, weight * counts, np.ones(size)])
    entries, place = np.unique(ends[0] * size + ends[1], return_inverse=True)
    values, index = np.bincount(place, added), np.stack(np.divmod(entries, size), axis=1)
    degrees = np.bincount(index[:, 0], values)
    return index, values / np.sqrt(degrees[index[:, 0]] * degrees[index[:, 1]])
