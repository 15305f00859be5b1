"""Graph regularisation: a loss of the distances between items that follow each other."""

import numpy as np
import tensorflow as tf

from tfrec_attn.layers.support import Layer
from tfrec_attn.layers.transition_rows import (
    TransitionRows,
    item_matrix,
    position_weights,
    transition_arrays,
)


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class GraphRegularization(Layer):
    """Squared distances between the vectors of items that follow each other.

        loss = sum over positions of weight * 1/2 sum_j p_ij |E_i - E_j|²
        p_ij = C_ij / sum_k C_ik

    C counts the transitions. An item without transitions has the loss 0. The layer computes in
    float32 and has no weights.

    Args:
        transitions: A `tfrec_attn.data.sequences.transitions.Transitions`, or its arrays
            `(offsets [N + 2], neighbours [nnz], counts [nnz])`.

    Shapes:
        items int [P] in 1..N, item_vectors [N + 1, D], weights [P] (None: 1 / P each) -> scalar
        float32.

    Reference:
        The graph Laplacian regulariser of Belkin and Niyogi, "Laplacian Eigenmaps for
        Dimensionality Reduction and Data Representation", Neural Computation 2003, on the graph of
        transitions; Zhu et al. compare TED with it (WSDM 2024, arXiv 2311.01056, GraReg).
    """

    def __init__(self, transitions, **kwargs):
        # Autocasting would round the item vectors before the sums.
        super().__init__(autocast=False, **kwargs)
        self.transitions = offsets, neighbours, counts = transition_arrays(transitions)
        row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        shares = counts / np.bincount(row, counts, len(offsets) - 1)[row]
        self._shares = TransitionRows(offsets, neighbours, shares)
        self.num_items = self._shares.num_items

    def call(self, items, item_vectors, weights=None):
        vectors = item_matrix(item_vectors, self.num_items)
        items = tf.cast(tf.reshape(items, [-1]), tf.int64)
        unique, index = tf.unique(items, tf.int64)
        weights = tf.math.unsorted_segment_sum(
            position_weights(items, weights), index, tf.size(unique)
        )
        row, neighbours, shares = self._shares.of(unique)
        difference = tf.gather(vectors, tf.gather(unique, row)) - tf.gather(vectors, neighbours)
        squares = tf.reduce_sum(tf.square(difference), axis=1)
        return 0.5 * tf.reduce_sum(tf.gather(weights, row) * shares * squares)

    def get_config(self):
        return {
            **super().get_config(),
            "transitions": [array.tolist() for array in self.transitions],
        }
