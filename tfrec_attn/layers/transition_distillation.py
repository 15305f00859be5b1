"""TED: item vectors learn from how often one item follows another."""

import math
import numbers

import numpy as np
import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.rows import gather_rows


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class TransitionDistillation(tf.keras.layers.Layer):
    """Cross entropy between the transitions counted in the training events and those that the item
    vectors give.

        teacher p_i = softmax(C_i / max(C_i) / tau),  student q_i = softmax(dropout(E_i sqrt(D)) Eᵀ / tau)      over the N items
        loss = sum over positions of weight * cross entropy(p_i, q_i)

    A teacher row has one value p0_i on all items that never follow i, so it is never built: with z
    = dropout(E_i sqrt(D)) / tau and the teacher's mean item vector `T_i = sum_j p_ij E_j = p0_i
    sum_j E_j + sum over neighbours (p_ij - p0_i) E_j`,

        cross entropy(p_i, q_i) = logsumexp_j(z · E_j) - z · T_i = softmax loss of z with target i
        +  z · (E_i - T_i)

    An item that nothing ever follows has the uniform teacher. All arithmetic is in float32 whatever
    the policy; there are no weights.

    The call makes all logits [P, N] at once. For a large catalogue `softmax_terms` returns the
    parts of the last form, whose softmax loss `tfrec_attn.losses.softmax` computes in tiles, and
    together with the queries of the caller's own loss if he joins them.

    Args:
        transitions: a `tfrec_attn.data.sequences.transitions.Transitions`, or its arrays `(offsets
            [N + 2], neighbours [nnz], counts [nnz])`.
        temperature: tau of teacher and student, above 0.
        dropout: probability in [0, 1) of dropping a feature of the student's scaled row in
            training, at each position on its own.

    Shapes:
        items int [P] (1..N, real ones only), item_vectors [N + 1, D] (row 0 is padding and takes no
        part), weights [P] (None: 1 / P each, the mean) -> scalar float32.

    Deviations:
        The authors' code adds 1e-24 inside the logarithm of q. Here log q is exact, however small q
        is. It counts transitions in the latest 50 training events of each user, those that the
        model sees; here `transitions` says what was counted. Training counts all events unless
        `train.distillation.latest` is set.

    Reference:
        Zhu et al., "Collaboration and Transition: Distilling Item Transitions into Multi-Query
        Self-Attention for Sequential Recommendation", WSDM 2024 (arXiv 2311.01056),
        transition-aware embedding distillation.
    """

    def __init__(self, transitions, temperature=0.1, dropout=0.0, **kwargs):
        # Else the layer's policy would round the item vectors before the sums.
        super().__init__(autocast=False, **kwargs)
        if (
            not isinstance(temperature, numbers.Real)
            or isinstance(temperature, bool)
            or not 0 < temperature < math.inf
        ):
            raise ValueError(f"`temperature` must be a finite number above 0; got {temperature!r}.")
        if (
            not isinstance(dropout, numbers.Real)
            or isinstance(dropout, bool)
            or not 0 <= dropout < 1
        ):
            raise ValueError(f"`dropout` must be a number in [0, 1); got {dropout!r}.")
        self.temperature = float(temperature)
        self.dropout = float(dropout)
        self._transitions = _arrays(transitions)
        background, excess = _teacher(*self._transitions, self.temperature)
        self.num_items = len(background) - 1
        with tf.init_scope():  # Eager tensors are captured by a graph, not written into it.
            self._offsets, self._neighbours = (
                tf.constant(array, tf.int64) for array in self._transitions[:2]
            )
            self._background, self._excess = (
                tf.constant(background, tf.float32),
                tf.constant(excess, tf.float32),
            )
            self._real = tf.constant(np.arange(len(background)) > 0, tf.float32)
        self._dropout_layer = Dropout(self.dropout, dtype="float32")

    def call(self, items, item_vectors, weights=None, training=None):
        queries, targets, weights, rest = self.softmax_terms(items, item_vectors, weights, training)
        return _softmax(queries, tf.cast(item_vectors, tf.float32)[1:], targets, weights) + rest

    def softmax_terms(self, items, item_vectors, weights=None, training=False):
        """The loss as a softmax loss over the catalogue and a rest that needs no catalogue.

            loss = sum_p weights_p (logsumexp_j(queries_p · E_(j+1)) - queries_p · E_(targets_p +
            1)) + rest

        Without dropout each distinct item comes once, with the sum of its weights.

        Args: as of the call.

        Returns:
            (queries [R, D], targets int32 [R] from 0, weights [R], rest scalar), all but the
            targets float32.
        """
        vectors = self._check_vectors(item_vectors)
        items = tf.cast(tf.reshape(items, [-1]), tf.int32)
        if weights is None:
            weights = tf.fill(
                [tf.size(items)], 1.0 / tf.cast(tf.maximum(tf.size(items), 1), tf.float32)
            )
        weights = tf.cast(weights, tf.float32)
        distinct, place = tf.unique(items)
        teacher = self._teacher_means(distinct, vectors)
        if self.dropout == 0.0 or training in (None, False):
            items, weights = (
                distinct,
                tf.math.unsorted_segment_sum(weights, place, tf.size(distinct)),
            )
            rows = student = gather_rows(vectors, items)
        else:
            rows, teacher = gather_rows(vectors, items), gather_rows(teacher, place)
            student = self._dropout_layer(rows, training=training)
        queries = student * (math.sqrt(vectors.shape[1]) / self.temperature)
        rest = tf.reduce_sum(weights * tf.einsum("pd,pd->p", queries, rows - teacher))
        return queries, items - 1, weights, rest

    def _teacher_means(self, items, vectors):
        """T of some items, [R, D]."""
        begins = tf.gather(self._offsets, items)
        places = tf.ragged.range(begins, tf.gather(self._offsets, items + 1))
        index = tf.stack(
            [places.value_rowids(), tf.gather(self._neighbours, places.values)], axis=1
        )
        shape = tf.stack([tf.size(begins, tf.int64), self.num_items + 1])
        excess = tf.SparseTensor(index, tf.gather(self._excess, places.values), shape)
        # A product with 0, 1, 1, ...: its gradient is one pass over the table, that of a sum over a
        # slice takes three.
        everything = tf.linalg.matvec(vectors, self._real, transpose_a=True)
        return tf.gather(self._background, items)[
            :, tf.newaxis
        ] * everything + tf.sparse.sparse_dense_matmul(excess, vectors)

    def _check_vectors(self, item_vectors):
        vectors = tf.cast(item_vectors, tf.float32)
        if (
            vectors.shape.rank != 2
            or vectors.shape[0] not in (None, self.num_items + 1)
            or vectors.shape[1] is None
        ):
            raise ValueError(
                f"`item_vectors` must have the shape [{self.num_items + 1}, D] with a known D; got {vectors.shape}."
            )
        return vectors

    def get_config(self):
        return {
            **super().get_config(),
            "transitions": [array.tolist() for array in self._transitions],
            "temperature": self.temperature,
            "dropout": self.dropout,
        }


def _arrays(transitions):
    """The three arrays, checked, as int64 of NumPy."""
    if hasattr(transitions, "offsets"):
        transitions = (transitions.offsets, transitions.neighbours, transitions.counts)
    offsets, neighbours, counts = (np.asarray(array, np.int64) for array in transitions)
    fits = (
        offsets.ndim == 1
        and len(offsets) > 2
        and offsets[0] == offsets[1] == 0
        and (np.diff(offsets) >= 0).all()
    )
    if not fits or not offsets[-1] == len(neighbours) == len(counts):
        raise ValueError(
            "`transitions` must have offsets [N + 2] that ascend from 0, 0 to the number of neighbours and of counts."
        )
    if len(neighbours) and (
        neighbours.min() < 1 or neighbours.max() > len(offsets) - 2 or counts.min() < 1
    ):
        raise ValueError(
            f"`transitions` must have neighbours in 1..N = {len(offsets) - 2} and counts of at least 1."
        )
    return offsets, neighbours, counts


def _teacher(offsets, neighbours, counts, temperature):
    """p0 of each item [N + 1], and `p_ij - p0_i` of each neighbour [nnz]."""
    sizes, num_items = np.diff(offsets), len(offsets) - 2
    row = np.repeat(np.arange(num_items + 1), sizes)
    largest = np.ones(num_items + 1)
    np.maximum.at(largest, row, counts)
    # Over its largest count a row's logits are 1 / tau at most: the exponentials below are in 0..1.
    neighbour = np.exp((counts / largest[row] - 1.0) / temperature)
    other = np.where(sizes > 0, np.exp(-1.0 / temperature), 1.0)
    normaliser = np.bincount(row, neighbour, num_items + 1) + (num_items - sizes) * other
    return other / normaliser, (neighbour - other[row]) / normaliser[row]


def _softmax(queries, items, targets, weights):
    """Weighted sum of the softmax losses of queries [R, D] over items [N, D] with targets int [R]."""
    logits = tf.matmul(queries, items, transpose_b=True)
    return tf.reduce_sum(weights * tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
