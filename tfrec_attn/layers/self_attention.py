"""Scaled dot-product self-attention."""

import math

import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.support import (
    Layer,
    as_mask,
    boolean,
    dropout_rate,
    fresh,
    input_width,
    positive_integer,
    project,
    visible_keys,
)


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class SelfAttention(Layer):
    """Single-head self-attention.

        q = x Wq,  k = x Wk,  v = x Wv             (+ a bias each, if `use_bias`)
        s = softmax(q kᵀ / sqrt(d_k))              d_k = units
        y = dropout(s) v

    Padded keys have the weight 0 and, with `causal`, later keys too. The other weights of a query
    sum to 1. The output is 0 where all keys are masked.

    Args:
        units: Width of q, k, v and of the output; None (default) takes the width D of the input.
        causal: Whether an event attends only to itself and earlier events. Default False.
        use_bias: Whether the three projections have a bias, initially 0. Default False.
        dropout: Probability in [0, 1) of dropping an attention weight in training. Default 0.
        kernel_initializer: Keras initializer of Wq, Wk, Wv; each draws its own values unless the
            initializer has a seed. Default "glorot_uniform".
        kernel_regularizer: Keras regularizer of Wq, Wk, Wv, or None (default).

    Shapes:
        inputs [B, L, D], mask bool [B, L] (True: a real event, as the Keras mask of an Embedding)
        -> [B, L, units] in the compute dtype. If a row has several sequences, the mask numbers
        them, int [B, L] with 0 at padding. `return_attention_scores=True` also returns s [B, L, L],
        before dropout, in float32 (float64 in a float64 layer).

    Reference:
        Vaswani et al., "Attention Is All You Need", NeurIPS 2017, equation 1.
    """

    def __init__(
        self,
        units=None,
        causal=False,
        use_bias=False,
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = positive_integer("units", units, "for the input's width")
        self.causal = boolean("causal", causal)
        self.use_bias = boolean("use_bias", use_bias)
        self.dropout = dropout_rate(dropout)
        self.kernel_initializer = _resolve(
            tf.keras.initializers,
            "kernel_initializer",
            kernel_initializer,
            "glorot_uniform, he_normal",
        )
        self.kernel_regularizer = _resolve(
            tf.keras.regularizers, "kernel_regularizer", kernel_regularizer, "l1, l2, None"
        )
        self.supports_masking = True
        self._dropout_layer = Dropout(self.dropout, dtype=self.compute_dtype)

    def build(self, input_shape):
        width = input_width(input_shape)
        units = self.units or width
        for name in ("query", "key", "value"):
            kernel = self.add_weight(
                name=f"{name}_kernel",
                shape=(width, units),
                initializer=fresh(self.kernel_initializer),
                regularizer=self.kernel_regularizer,
            )
            setattr(self, f"{name}_kernel", kernel)
            bias = (
                self.add_weight(name=f"{name}_bias", shape=(units,), initializer="zeros")
                if self.use_bias
                else None
            )
            setattr(self, f"{name}_bias", bias)
        super().build(input_shape)

    def call(self, inputs, mask=None, training=None, return_attention_scores=False):
        x = tf.cast(inputs, self.compute_dtype)
        query = project(x, self.query_kernel, self.query_bias)
        key = project(x, self.key_kernel, self.key_bias)
        value = project(x, self.value_kernel, self.value_bias)
        # Scaling q, not the [L, L] logits, costs less and keeps float16 products in range.
        logits = tf.einsum("bqd,bkd->bqk", query * (1.0 / math.sqrt(query.shape[-1])), key)
        scores = masked_softmax(logits, self._visible(tf.shape(x)[1], as_mask(mask)))
        weights = self._dropout_layer(tf.cast(scores, x.dtype), training=training)
        outputs = tf.einsum("bqk,bkd->bqd", weights, value)
        return (outputs, scores) if return_attention_scores else outputs

    def _visible(self, length, mask):
        """Returns which keys a query attends to, broadcastable to [B, L, L]; None: all keys."""
        visible = visible_keys(length, mask, self.causal, False)
        return visible if mask is None else visible[:, 0]

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_initializer": tf.keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": tf.keras.regularizers.serialize(self.kernel_regularizer),
        }


def masked_softmax(logits: tf.Tensor, visible: tf.Tensor | None) -> tf.Tensor:
    """Returns the softmax over visible keys, in float32 or float64; 0 in rows without such keys."""
    logits = tf.cast(logits, tf.float64 if logits.dtype == tf.float64 else tf.float32)
    if visible is None:
        return tf.nn.softmax(logits)
    scores = tf.nn.softmax(tf.where(visible, logits, logits.dtype.min))
    return tf.where(visible, scores, tf.zeros_like(scores))


def _resolve(module, name, value, examples):
    """Returns `module.get(value)`; an error names the argument."""
    kind = module.__name__.rsplit(".", 1)[-1]
    message = f"`{name}` must be one that tf.keras.{kind} knows, such as {examples}; got {value!r}."
    try:
        resolved = module.get(value)
    except (TypeError, ValueError) as error:
        raise ValueError(message) from error
    # Keras 2 returns the name of an unknown regularizer.
    if not callable(resolved) and value is not None:
        raise ValueError(message)
    return resolved
