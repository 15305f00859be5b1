"""The bidirectional transformer block of BERT4Rec."""

import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.feed_forward import FeedForward
from tfrec_attn.layers.layer_norm import layer_norm
from tfrec_attn.layers.multi_head_self_attention import MultiHeadSelfAttention
from tfrec_attn.layers.support import Layer, add_and_norm, build_parts


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class PostNormBlock(Layer):
    """Self-attention and a position-wise network, each followed by a layer normalisation.

        o = LayerNorm(x + dropout(MultiHeadSelfAttention(x)))
        y = LayerNorm(o + dropout(gelu(o W1 + b1) W2 + b2))

    Args:
        num_heads: Number of attention heads, a divisor of D. Default 1.
        dropout: Probability in [0, 1) of dropping an attention weight, or an output of the
            attention or of the network, in training. Default 0.
        units: Width of the network's hidden layer; None (default) takes 4 D.
        epsilon: Added to the variance in the layer normalisations. Default 1e-12.
        causal: Whether an event attends only to itself and earlier events. Default False.

    Shapes:
        inputs [B, L, D], mask bool [B, L] (True: a real event) -> [B, L, D] in the compute dtype.
        The output at padding has no meaning. `return_attention_scores=True` also returns the scores
        [B, H, L, L] in float32. `latest_only=True` computes only the latest position: [B, 1, D]
        and [B, H, 1, L].

    Reference:
        Devlin et al., "BERT", NAACL 2019; Sun et al., "BERT4Rec", CIKM 2019 (arXiv 1904.06690).
    """

    def __init__(self, num_heads=1, dropout=0.0, units=None, epsilon=1e-12, causal=False, **kwargs):
        super().__init__(**kwargs)
        policy = {"dtype": self.dtype_policy}
        self.num_heads, self.dropout, self.units = num_heads, dropout, units
        self.epsilon, self.causal = epsilon, causal
        self.attention = MultiHeadSelfAttention(
            num_heads, causal, dropout, name="attention", **policy
        )
        self.attention_norm = layer_norm(self, epsilon, "attention_norm")
        self.norm = layer_norm(self, epsilon, "norm")
        self._dropout_layer = Dropout(dropout, dtype=self.compute_dtype)
        self.supports_masking = True

    def build(self, input_shape):
        self.feed_forward = FeedForward(
            self.units or 4 * input_shape[-1],
            activation="gelu",
            name="feed_forward",
            dtype=self.dtype_policy,
        )
        build_parts(
            [self.attention, self.attention_norm, self.feed_forward, self.norm], input_shape
        )
        super().build(input_shape)

    def call(
        self, inputs, mask=None, training=None, return_attention_scores=False, latest_only=False
    ):
        x = tf.cast(inputs, self.compute_dtype)
        attended, scores = self.attention(
            x, mask=mask, training=training, return_attention_scores=True, latest_only=latest_only
        )
        x = x[:, -1:] if latest_only else x
        x = add_and_norm(self.attention_norm, self._dropout_layer, x, attended, training)
        outputs = add_and_norm(self.norm, self._dropout_layer, x, self.feed_forward(x), training)
        return (outputs, scores) if return_attention_scores else outputs
