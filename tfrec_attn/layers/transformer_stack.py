"""A stack of transformer blocks: the encoder of SASRec, and each half of MQSA-TED's."""

import tensorflow as tf

from tfrec_attn.layers.layer_norm import layer_norm
from tfrec_attn.layers.support import (
    Layer,
    apply_blocks,
    boolean,
    build_parts,
    positive_integer,
)
from tfrec_attn.layers.transformer_block import TransformerBlock


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class TransformerStack(Layer):
    """Transformer blocks one after the other, followed by a layer normalisation.

        y = LayerNorm(block_n(... block_1(x)))

    Args:
        num_blocks: Number of blocks. Default 1.
        num_heads: Number of attention heads, a divisor of D. Default 1.
        query_window: Number of events whose mean is the query; 1 (default) is ordinary
            self-attention.
        causal: Whether an event attends only to itself and earlier events. Default True.
        dropout: Dropout probability in [0, 1) of the attention and the network of each block, in
            training. Default 0.
        units: Width of the networks' hidden layers; None (default) takes D.
        epsilon: Added to the variance in the layer normalisations. Default 1e-12.

    Shapes:
        inputs [B, L, D], mask bool [B, L] (True: a real event; padding on the left) -> [B, L, D]
        in the compute dtype. The output at padding has no meaning. `return_attention_scores=True`
        also returns the attention of the last block, averaged over its heads: [B, L, L] in float32
        (float64 in a float64 layer). `latest_only=True` computes only the latest position,
        [B, 1, D] and [B, 1, L], which is faster.

    Reference:
        Kang, McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018 (arXiv 1808.09781).
    """

    def __init__(
        self,
        num_blocks=1,
        num_heads=1,
        query_window=1,
        causal=True,
        dropout=0.0,
        units=None,
        epsilon=1e-12,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_blocks = positive_integer("num_blocks", num_blocks)
        self.num_heads = num_heads
        self.query_window = query_window
        self.causal = boolean("causal", causal)
        self.dropout = dropout
        self.units = units
        self.epsilon = epsilon
        self.supports_masking = True
        arguments = (num_heads, query_window, dropout, units, epsilon, causal)
        self.blocks = [
            TransformerBlock(*arguments, name=f"block_{i}", dtype=self.dtype_policy)
            for i in range(self.num_blocks)
        ]
        self.norm = layer_norm(self, epsilon, "norm")

    def build(self, input_shape):
        build_parts([*self.blocks, self.norm], input_shape)
        super().build(input_shape)

    def call(
        self, inputs, mask=None, training=None, return_attention_scores=False, latest_only=False
    ):
        x, scores = apply_blocks(self.blocks, inputs, latest_only, mask=mask, training=training)
        outputs = tf.cast(self.norm(x), self.compute_dtype)
        return (outputs, scores) if return_attention_scores else outputs
