"""The transformer block of SASRec and MQSA-TED."""

import tensorflow as tf

from tfrec_attn.layers.feed_forward import FeedForward
from tfrec_attn.layers.lquery_attention import LQueryAttention
from tfrec_attn.layers.support import Layer, build_parts, real_events


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class TransformerBlock(Layer):
    """Self-attention followed by a position-wise network.

        o = LQueryAttention(x)              ends with LayerNorm(attended + LayerNorm(query))
        y = o + FeedForward(o),   0 at padding

    With `query_window` = 1 this is the block of SASRec's code: Q is a projection of LayerNorm(x),
    K and V are projections of x, and the residual connections add to the normalised values.

    Args:
        num_heads: Number of attention heads, a divisor of D. Default 1.
        query_window: Number of events whose mean is the query; 1 (default) is ordinary
            self-attention.
        dropout: Probability in [0, 1) of dropping an attention weight, or a hidden unit or output
            of the network, in training. Default 0.
        units: Width of the network's hidden layer; None (default) takes D.
        epsilon: Added to the variance in the layer normalisations. Default 1e-12.
        causal: Whether an event attends only to itself and earlier events. Default True.

    Shapes:
        inputs [B, L, D], mask bool [B, L] (True: a real event; padding on the left) -> [B, L, D]
        in the compute dtype. `return_attention_scores=True` also returns the scores [B, H, L, L]
        in float32. `latest_only=True` computes only the latest position: [B, 1, D] and
        [B, H, 1, L].

    Deviations:
        In SASRec's paper, the residual connection starts at x: `x + Attention(LayerNorm(x))`. This
        block follows the code of SASRec's authors, as MQSA-TED does.

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
        self.num_heads, self.query_window, self.dropout = num_heads, query_window, dropout
        self.units, self.epsilon, self.causal = units, epsilon, causal
        policy = {"dtype": self.dtype_policy}
        self.attention = LQueryAttention(
            num_heads, query_window, dropout, epsilon, causal, name="attention", **policy
        )
        self.feed_forward = FeedForward(units, dropout, name="feed_forward", **policy)
        self.supports_masking = True

    def build(self, input_shape):
        build_parts([self.attention, self.feed_forward], input_shape)
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
            outputs *= real_events(mask[:, -1:] if latest_only else mask, outputs.dtype)
        return (outputs, scores) if return_attention_scores else outputs
