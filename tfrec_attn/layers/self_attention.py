"""Plain scaled dot-product self-attention."""

import math
import numbers

import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class SelfAttention(tf.keras.layers.Layer):
    """Every position becomes a weighted mean of all positions' values, weighted by the match of its
    query with their keys.

        q = x Wq,  k = x Wk,  v = x Wv             (+ a bias each, where `use_bias`)
        s = softmax(q kᵀ / sqrt(d_k))              d_k = units
        y = dropout(s) v

    The logits are scaled before the softmax, so each row of s sums to one over the keys that the
    query may see. A padded key has weight zero, and so has a later key where `causal`; a query that
    may see no key at all gives zeros.

    Args:
        units: width of q, k, v and of the output; None takes the width D of the input.
        causal: whether position t sees only positions up to t.
        use_bias: whether the three projections have a bias (it starts at zero).
        dropout: probability in [0, 1) of dropping an attention weight in training.
        kernel_initializer: Keras initializer of Wq, Wk, Wv; each draws its own values unless the
            initializer has a seed.
        kernel_regularizer: Keras regularizer of Wq, Wk, Wv, or None.

    Shapes:
        inputs [B, L, D], mask [B, L] (True = real; Keras passes an Embedding's on) -> [B, L, units]
        in the compute dtype; with `return_attention_scores=True` also s [B, L, L], before dropout,
        in float32 (float64 in a float64 layer).

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
        if units is not None and (
            not isinstance(units, numbers.Integral) or isinstance(units, bool) or units < 1
        ):
            raise ValueError(
                f"SelfAttention: `units` must be an integer of at least 1, or None for the input's width; got {units!r}."
            )
        for name, value in (("causal", causal), ("use_bias", use_bias)):
            if not isinstance(value, bool):
                raise ValueError(f"SelfAttention: `{name}` must be True or False; got {value!r}.")
        if (
            not isinstance(dropout, numbers.Real)
            or isinstance(dropout, bool)
            or not 0 <= dropout < 1
        ):
            raise ValueError(
                f"SelfAttention: `dropout` must be a number in [0, 1); got {dropout!r}."
            )
        self.units = None if units is None else int(units)
        self.causal = causal
        self.use_bias = use_bias
        self.dropout = float(dropout)
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
        shape = tf.TensorShape(input_shape)
        if shape.rank != 3 or shape[-1] is None:
            raise ValueError(
                f"SelfAttention: `inputs` must have the shape [B, L, D] with a known D; got {shape}."
            )
        width = shape[-1]
        units = self.units or width
        for name in ("query", "key", "value"):
            kernel = self.add_weight(
                name=f"{name}_kernel",
                shape=(width, units),
                initializer=_fresh(self.kernel_initializer),
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
        query = _project(x, self.query_kernel, self.query_bias)
        key = _project(x, self.key_kernel, self.key_bias)
        value = _project(x, self.value_kernel, self.value_bias)
        # Scaling q, not the [L, L] logits, costs less and keeps float16 products in range.
        logits = tf.einsum("bqd,bkd->bqk", query * (1.0 / math.sqrt(query.shape[-1])), key)
        scores = _masked_softmax(logits, self._visible(tf.shape(x)[1], mask))
        weights = self._dropout_layer(tf.cast(scores, x.dtype), training=training)
        outputs = tf.einsum("bqk,bkd->bqd", weights, value)
        return (outputs, scores) if return_attention_scores else outputs

    def _visible(self, length, mask):
        """Which keys a query may see: a boolean that broadcasts to [B, L, L], or None where all."""
        position = tf.range(length)
        earlier = (position[:, None] >= position)[None] if self.causal else None
        if mask is None:
            return earlier
        mask = tf.cast(mask, tf.bool)
        if mask.shape.rank != 2:
            raise ValueError(
                f"SelfAttention: `mask` must have the shape [B, L], True for a real event; got {mask.shape}."
            )
        return mask[:, None, :] if earlier is None else mask[:, None, :] & earlier

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "causal": self.causal,
            "use_bias": self.use_bias,
            "dropout": self.dropout,
            "kernel_initializer": tf.keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": tf.keras.regularizers.serialize(self.kernel_regularizer),
        }


def _project(x, kernel, bias):
    projected = tf.einsum("bld,du->blu", x, kernel)
    return projected if bias is None else projected + bias


def _masked_softmax(logits, visible):
    """Softmax over the visible keys, at least in float32; a row without any is zero."""
    logits = tf.cast(logits, tf.float64 if logits.dtype == tf.float64 else tf.float32)
    if visible is None:
        return tf.nn.softmax(logits)
    scores = tf.nn.softmax(tf.where(visible, logits, logits.dtype.min))
    return tf.where(visible, scores, tf.zeros_like(scores))


def _resolve(module, name, value, examples):
    """`module.get(value)`, with an error that names the argument."""
    kind = module.__name__.rsplit(".", 1)[-1]
    message = f"SelfAttention: `{name}` must be one that tf.keras.{kind} knows, such as {examples}; got {value!r}."
    try:
        resolved = module.get(value)
    except (TypeError, ValueError) as error:
        raise ValueError(message) from error
    if (
        not callable(resolved) and value is not None
    ):  # Keras 2 returns an unknown regularizer's name as it is.
        raise ValueError(message)
    return resolved


def _fresh(initializer):
    """A copy: one unseeded instance called three times would give Wq = Wk = Wv."""
    return (
        type(initializer).from_config(initializer.get_config())
        if hasattr(initializer, "get_config")
        else initializer
    )
