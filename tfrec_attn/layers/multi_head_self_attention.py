"""Multi-head self-attention with an output projection."""

import math

import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.head_attention import HeadAttention
from tfrec_attn.layers.support import (
    add_projection,
    as_mask,
    boolean,
    dropout_rate,
    positive_integer,
    project,
    visible_keys,
    width_of_heads,
)


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class MultiHeadSelfAttention(HeadAttention):
    """Multi-head self-attention over the real events.

        Q = x Wq + bq,  K = x Wk + bk,  V = x Wv + bv          H heads of width d = D / H
        s = softmax(Q Kᵀ / sqrt(d))
        y = (dropout(s) V) Wo + bo

    Args:
        num_heads: H, a divisor of D. Default 1.
        causal: Whether an event attends only to itself and earlier events. Default False.
        dropout: Probability in [0, 1) of dropping an attention weight in training. Default 0.

    Shapes:
        inputs [B, L, D], mask bool [B, L] (True: a real event) -> y [B, L, D] in the compute
        dtype. The output at padding has no meaning. `return_attention_scores=True` also returns s
        [B, H, L, L], before dropout, in float32 (float64 in a float64 layer). `latest_only=True`
        computes only the latest position: y [B, 1, D] and s [B, H, 1, L].

    Reference:
        Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.2.2.
    """

    def __init__(self, num_heads=1, causal=False, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = positive_integer("num_heads", num_heads)
        self.causal = boolean("causal", causal)
        self.dropout = dropout_rate(dropout)
        self.supports_masking = True
        self._dropout_layer = Dropout(self.dropout, dtype=self.compute_dtype)

    def build(self, input_shape):
        width = width_of_heads(input_shape, self.num_heads)
        for name in ("query", "key", "value", "output"):
            add_projection(self, name, width, width)
        super().build(input_shape)

    def call(
        self, inputs, mask=None, training=None, return_attention_scores=False, latest_only=False
    ):
        x = tf.cast(inputs, self.compute_dtype)
        # Scaling the kernel, not the [L, L] logits, costs less and keeps float16 products in range.
        scale = 1.0 / math.sqrt(x.shape[-1] // self.num_heads)
        queried = x[:, -1:] if latest_only else x
        query = project(queried, self.query_kernel * scale, self.query_bias * scale)
        visible = visible_keys(tf.shape(x)[1], as_mask(mask), self.causal, latest_only)
        attend = self.attend_latest if latest_only else self.attend
        attended, scores = attend(query, x, visible, training)
        outputs = project(attended, self.output_kernel, self.output_bias)
        return (outputs, scores) if return_attention_scores else outputs
