"""TED: distillation of item transitions into item vectors."""

import math

import numpy as np
import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.rows import gather_rows
from tfrec_attn.layers.support import Layer, dropout_rate, positive_number
from tfrec_attn.layers.transition_rows import (
    TransitionRows,
    item_matrix,
    multiply_entries,
    position_weights,
    transition_arrays,
)


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class TransitionDistillation(Layer):
    """Cross entropy between counted transitions (teacher) and item vectors (student).

        teacher p_i = softmax(C_i / max(C_i) / tau)                     over the N items
        student q_i = softmax(dropout(E_i sqrt(D)) Eᵀ / tau)
        loss = sum over positions of weight * cross entropy(p_i, q_i)

    C counts the transitions. p_i has the same value p0_i at all items that never follow i, so the
    layer stores only the neighbours of i, which follow it. With z = dropout(E_i sqrt(D)) / tau and
    T_i, the mean item vector under p_i:

        T_i = sum_j p_ij E_j = p0_i sum_j E_j + sum over neighbours (p_ij - p0_i) E_j
        cross entropy(p_i, q_i) = logsumexp_j(z · E_j) - z · T_i
                                = softmax loss of z with target i  +  z · (E_i - T_i)

    The teacher of an item without neighbours is uniform. The layer computes in float32 and has no
    weights. A call computes all logits [P, N] at once. For a large catalogue, pass the queries,
    targets and weights of `softmax_terms` to `tfrec_attn.losses.softmax`, which computes in tiles.

    Args:
        transitions: A `tfrec_attn.data.sequences.transitions.Transitions`, or its arrays
            `(offsets [N + 2], neighbours [nnz], counts [nnz])`.
        temperature: tau of teacher and student, above 0. Default 0.1.
        dropout: Probability in [0, 1) of dropping a feature of the student's scaled row in
            training, with one mask for each position. Default 0.

    Shapes:
        items int [P] in 1..N, item_vectors [N + 1, D] (row 0, padding, is left out), weights [P]
        (None: 1 / P each) -> scalar float32.

    Deviations:
        The authors' code adds 1e-24 inside the logarithm of q; here log q is exact. The authors
        count transitions in the latest 50 training events of each user; the training command counts
        those in all training events, unless `train.distillation.latest` is set.

    Reference:
        Zhu et al., "Collaboration and Transition: Distilling Item Transitions into Multi-Query
        Self-Attention for Sequential Recommendation", WSDM 2024 (arXiv 2311.01056),
        transition-aware embedding distillation.
    """

    def __init__(self, transitions, temperature=0.1, dropout=0.0, **kwargs):
        # Autocasting would round the item vectors before the sums.
        super().__init__(autocast=False, **kwargs)
        self.temperature = positive_number("temperature", temperature)
        self.dropout = dropout_rate(dropout)
        self.transitions = offsets, neighbours, counts = transition_arrays(transitions)
        background, excess = _teacher(offsets, counts, self.temperature)
        self._excess = TransitionRows(offsets, neighbours, excess)
        self.num_items = self._excess.num_items
        with tf.init_scope():  # A graph captures eager tensors instead of storing their values.
            self._background = tf.constant(background, tf.float32)
            self._real = tf.constant(np.arange(len(background)) > 0, tf.float32)
        self._dropout_layer = Dropout(self.dropout, dtype="float32")

    def call(self, items, item_vectors, weights=None, training=None):
        queries, targets, weights, remainder = self.softmax_terms(
            items, item_vectors, weights, training
        )
        logits = tf.matmul(queries, tf.cast(item_vectors, tf.float32)[1:], transpose_b=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        return tf.reduce_sum(weights * losses) + remainder

    def softmax_terms(self, items, item_vectors, weights=None, training=False):
        """Returns the loss as a softmax loss over the catalogue and a remainder.

            loss = softmax(queries, E[1:], targets, weights) + remainder

        Without dropout, each distinct item has one query, with the sum of the weights of its
        positions.

        Args:
            items: int [P] in 1..N.
            item_vectors: E [N + 1, D].
            weights: [P]; None: 1 / P each.
            training: Whether to apply dropout.

        Returns:
            (queries [R, D], targets int64 [R] in 0..N-1, weights [R], remainder []), float32.
        """
        vectors = item_matrix(item_vectors, self.num_items)
        items = tf.cast(tf.reshape(items, [-1]), tf.int64)
        weights = position_weights(items, weights)
        unique, index = tf.unique(items, tf.int64)
        teacher = self._teacher_means(unique, vectors)
        if self.dropout == 0.0 or training in (None, False):
            weights = tf.math.unsorted_segment_sum(weights, index, tf.size(unique))
            items = unique
            rows = student = gather_rows(vectors, items)
        else:
            rows, teacher = gather_rows(vectors, items), gather_rows(teacher, index)
            student = self._dropout_layer(rows, training=training)
        queries = student * (math.sqrt(vectors.shape[1]) / self.temperature)
        remainder = tf.reduce_sum(weights[:, tf.newaxis] * queries * (rows - teacher))
        return queries, items - 1, weights, remainder

    def _teacher_means(self, items, vectors):
        """Returns T of unique items, [R, D]."""
        # The gradient of this product takes one pass over the table, that of a sum over a slice
        # three.
        everything = tf.linalg.matvec(vectors, self._real, transpose_a=True)
        entries = self._excess.of(items)
        means = multiply_entries(entries, tf.size(items, tf.int64), vectors)
        return tf.gather(self._background, items)[:, tf.newaxis] * everything + means

    def get_config(self):
        return {
            **super().get_config(),
            "transitions": [array.tolist() for array in self.transitions],
        }


def _teacher(offsets, counts, temperature):
    """Returns p0 of each item [N + 1], and `p_ij - p0_i` of each neighbour [nnz]."""
    sizes, num_items = np.diff(offsets), len(offsets) - 2
    row = np.repeat(np.arange(num_items + 1), sizes)
    largest = np.ones(num_items + 1)
    np.maximum.at(largest, row, counts)
    # The largest logit of a row is 1 / tau; subtracting it keeps the exponentials in 0..1.
    neighbour = np.exp((counts / largest[row] - 1.0) / temperature)
    other = np.where(sizes > 0, np.exp(-1.0 / temperature), 1.0)
    normaliser = np.bincount(row, neighbour, num_items + 1) + (num_items - sizes) * other
    return other / normaliser, (neighbour - other[row]) / normaliser[row]
