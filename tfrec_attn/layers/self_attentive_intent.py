"""The short-term intent of AttRec: self-attention over a window of items, aggregated."""

import tensorflow as tf

from tfrec_attn.layers.rows import add_to_each, gather_rows, gram, weighted_sum
from tfrec_attn.layers.sinusoidal_positions import SinusoidalPositions
from tfrec_attn.layers.support import Layer, boolean, fresh

_AGGREGATIONS = ("mean", "sum", "max", "min")
_DIAGONALS = ("after", "before", "keep")
_MASKED = -1e4


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class SelfAttentiveIntent(Layer):
    """Self-attention over a window of item vectors, aggregated to one vector.

        q = relu((x + TE) Wq),   k = relu((x + TE) Wk)
        s = softmax(q k^T / sqrt(D)) with a masked diagonal
        m = aggregate over the positions of s x

    The position encoding TE (the paper's time signal) is added to queries and keys, not to values.
    The result of an empty window is 0. The result of a window with one item is the vector of this
    item.

    Args:
        length: Window length L. The latest item has the position L - 1 for any amount of padding.
            None (default) takes the length of the input.
        tied: Whether Wq = Wk. Default True.
        diagonal: "after" (default): the diagonal is set to 0 after the softmax, and rows are not
            normalised again. "before": the diagonal is left out of the softmax. "keep": an item
            attends to itself.
        aggregation: "mean" (default), "sum", "max" or "min" over the real positions.
        max_wavelength: Base of the sinusoids' wavelengths, in positions. Default 10000.
        kernel_initializer: Keras initializer of Wq and Wk. Default "glorot_uniform".
        self_attention: Whether to apply attention. False makes s the identity, without Wq and Wk;
            `tied`, `diagonal` and `time_signal` then have no effect. Default True.
        time_signal: Whether TE is added to queries and keys. Default True.

    Shapes:
        x [B, L, D], mask bool [B, L] (True: a real item) -> m [B, D].
        `return_attention_scores=True` also returns s [B, L, L].

    Deviations:
        By default Wq = Wk, and the diagonal is set to 0 after the softmax. Both follow the authors'
        code, not the paper. The sinusoids follow the paper; see `SinusoidalPositions`.

    Reference:
        Zhang et al., "Next Item Recommendation with Self-Attentive Metric Learning", AAAI-19
        RecNLP (arXiv 1808.06414), equations 2 to 7.
    """

    def __init__(
        self,
        length=None,
        tied=True,
        diagonal="after",
        aggregation="mean",
        max_wavelength=10000.0,
        kernel_initializer="glorot_uniform",
        self_attention=True,
        time_signal=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check_choice("diagonal", diagonal, _DIAGONALS)
        _check_choice("aggregation", aggregation, _AGGREGATIONS)
        self.length = length
        self.tied = tied
        self.diagonal = diagonal
        self.aggregation = aggregation
        self.max_wavelength = max_wavelength
        self.kernel_initializer = tf.keras.initializers.get(kernel_initializer)
        self.self_attention = boolean("self_attention", self_attention)
        self.adds_time_signal = boolean("time_signal", time_signal)
        self.time_signal = SinusoidalPositions(length=length, max_wavelength=max_wavelength)
        self.supports_masking = True

    def build(self, input_shape):
        if self.self_attention:
            depth = input_shape[-1]
            self.query_kernel = self._add_kernel("query_kernel", depth)
            self.key_kernel = (
                self.query_kernel if self.tied else self._add_kernel("key_kernel", depth)
            )
        self.built = True

    def call(self, inputs, mask=None, return_attention_scores=False):
        if not self.self_attention:
            return self._attend(inputs, None, None, mask, return_attention_scores)
        signal = self._signal(
            inputs.shape[1] or tf.shape(inputs)[1], inputs.shape[-1], inputs.dtype
        )
        positioned = inputs if signal is None else inputs + signal

        def project(kernel):
            kernel = tf.cast(kernel, inputs.dtype)
            return tf.nn.relu(tf.einsum("bld,de->ble", positioned, kernel))

        query = project(self.query_kernel)
        key = None if self.tied else project(self.key_kernel)
        return self._attend(inputs, query, key, mask, return_attention_scores)

    def from_rows(self, rows, indices, mask=None, return_attention_scores=False):
        """Returns `call(rows[indices], mask)`, but projects each row once, not each position.

        This is possible because `(x + TE) W = x W + TE W`.

        Args:
            rows: Item vectors [R, D].
            indices: Row of each position, int [B, L].
            mask: Real positions, bool [B, L]; None: all.
            return_attention_scores: Whether to return (m, s) instead of m. Default False.
        """
        if not self.built:
            self.build(rows.shape)
        inputs = gather_rows(rows, indices)
        if not self.self_attention:
            return self._attend(inputs, None, None, mask, return_attention_scores)
        signal = self._signal(indices.shape[1] or tf.shape(indices)[1], rows.shape[-1], rows.dtype)

        def project(kernel):
            kernel = tf.cast(kernel, rows.dtype)
            projected = gather_rows(tf.matmul(rows, kernel), indices)
            if signal is not None:
                projected = add_to_each(projected, tf.matmul(signal, kernel))
            return tf.nn.relu(projected)

        query = project(self.query_kernel)
        key = None if self.tied else project(self.key_kernel)
        return self._attend(inputs, query, key, mask, return_attention_scores)

    def compute_mask(self, inputs, mask=None):
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_initializer": tf.keras.initializers.serialize(self.kernel_initializer),
            "time_signal": self.adds_time_signal,
        }

    def _add_kernel(self, name, depth):
        initializer = fresh(self.kernel_initializer)
        return self.add_weight(
            name=name, shape=(depth, depth), initializer=initializer, trainable=True
        )

    def _signal(self, length, depth, dtype):
        if not self.adds_time_signal:
            return None
        return tf.cast(self.time_signal.signal(length, depth), dtype)

    def _attend(self, inputs, query, key, mask, return_attention_scores):
        if mask is None:
            mask = tf.ones(tf.shape(inputs)[:2], tf.bool)
        if self.self_attention:
            scores = self._attention(query, key, mask)
        else:
            scores = tf.linalg.diag(tf.cast(mask, tf.float32))
        intent = self._aggregate(scores, inputs, mask)
        return (intent, scores) if return_attention_scores else intent

    def _attention(self, query, key, mask):
        products = gram(query) if key is None else tf.matmul(query, key, transpose_b=True)
        logits = tf.cast(products, tf.float32) / tf.sqrt(tf.cast(tf.shape(query)[-1], tf.float32))
        real = tf.cast(mask, tf.float32)
        # The diagonal is masked only in windows with more than one item.
        others = tf.cast(tf.reduce_sum(real, axis=1) > 1.0, real.dtype)
        diagonal = tf.eye(tf.shape(real)[1]) * others[:, tf.newaxis, tf.newaxis]
        logits += (1.0 - real[:, tf.newaxis]) * _MASKED
        if self.diagonal == "before":
            logits += diagonal * _MASKED
        kept = real[:, tf.newaxis] * real[:, :, tf.newaxis]
        if self.diagonal != "keep":
            kept *= 1.0 - diagonal
        return tf.nn.softmax(logits) * kept

    def _aggregate(self, scores, inputs, mask):
        if self.aggregation in ("mean", "sum"):
            weights = tf.reduce_sum(scores, axis=1)
            if self.aggregation == "mean":
                count = tf.reduce_sum(tf.cast(mask, tf.float32), axis=1, keepdims=True)
                weights /= tf.maximum(count, 1.0)
            return weighted_sum(tf.cast(weights, inputs.dtype), inputs)
        attended = tf.matmul(tf.cast(scores, inputs.dtype), inputs)
        sign = 1.0 if self.aggregation == "max" else -1.0
        real = mask[:, :, tf.newaxis]
        extreme = sign * tf.reduce_max(tf.where(real, sign * attended, attended.dtype.min), axis=1)
        return tf.where(tf.reduce_any(mask, axis=1)[:, tf.newaxis], extreme, tf.zeros_like(extreme))


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, but is {value!r}.")
