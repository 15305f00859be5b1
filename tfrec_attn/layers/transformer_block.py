"""The block that SASRec and MQSA are stacks of."""

import tensorflow as tf

from tfrec_attn.layers.feed_forward import FeedForward
from tfrec_attn.layers.lquery_attention import LQueryAttention


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class TransformerBlock(tf.keras.layers.Layer):
    """Self-attention followed by a position-wise network.

        o = LQueryAttention(x)                       ends with LayerNorm(attended + LayerNorm(query))
        y = o + FeedForward(o),  0 where padded

    With `query_window` = 1 this is SASRec's block as its authors' code has it: Q from the
    normalised x, K and V from x itself, the residual connections onto the normalised values. A
    stack of blocks ends with one more layer normalisation, which is not part of the block.

    Args:
        num_heads: attention heads, a divisor of D.
        query_window: events whose mean is the query; 1 is ordinary self-attention.
        dropout: probability in [0, 1) of dropping an attention weight, a hidden unit and an output
            of the network in training.
        units: width of the network's hidden layer; None takes D.
        epsilon: added to the variance in the layer normalisations.
        causal: whether later events are hidden. Default True.

    Shapes:
        inputs [B, L, D], mask bool [B, L] (True = real; padding on the left) -> [B, L, D] in the
        compute dtype; with `return_attention_scores=True` also the scores [B, H, L, L] in float32.
        With `latest_only=True` the latest position alone: [B, 1, D] and [B, H, 1, L].

    Deviations:
        SASRec's paper puts the residual connection onto x, `x + Attention(LayerNorm(x))`; this
        follows its code, as MQSA-TED does.

    Reference:
        Kang, McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section III.B; Zhu et
        al., WSDM 2024 (arXiv 2311.01056).
    """

    def __init__(
        self,
        num_heads=1,
        query_window=1,
        dropout=0.0,
        units=None,
        epsilon=1e-12,
        causal=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        policy = {"dtype": self.dtype_policy}
        self.attention = LQueryAttention(
            num_heads, query_window, dropout, epsilon, causal, name="attention", **policy
        )
        self.feed_forward = FeedForward(units, dropout, name="feed_forward", **policy)
        self.supports_masking = True

    def build(self, input_shape):
        for layer in (self.attention, self.feed_forward):
            with tf.name_scope(layer.name):
                layer.build(input_shape)
        super().build(input_shape)

    def call(
        self, inputs, mask=None, training=None, return_attention_scores=False, latest_only=False
    ):
        attended, scores = self.attention(
            inputs,
            mask=mask,
            training=training,
            return_attention_scores=True,
            latest_only=latest_only,
        )
        outputs = attended + self.feed_forward(attended, training=training)
        if mask is not None:
            mask = mask[:, -1:] if latest_only else mask
            outputs *= tf.cast(mask, outputs.dtype)[:, :, tf.newaxis]
        return (outputs, scores) if return_attention_scores else outputs

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.attention.num_heads,
            "query_window": self.attention.query_window,
            "dropout": self.attention.dropout,
            "units": self.feed_forward.units,
            "epsilon": self.attention.epsilon,
            "causal": self.attention.causal,
        }
