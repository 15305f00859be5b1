"""MQSA's encoder: one stack with short queries beside one with long queries."""

import numbers

import tensorflow as tf

from tfrec_attn.layers.transformer_block import TransformerBlock


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class MultiQueryAttention(tf.keras.layers.Layer):
    """Two independent stacks of causal self-attention over the same input, mixed.

        short = LayerNorm(blocks with query window 1 of x),  long = LayerNorm(blocks with query window W of x)
        y = alpha * short + (1 - alpha) * long

    The paper mixes logits; `(alpha short + (1 - alpha) long) Eᵀ` is the same with one product. A stack of weight 0 is not made: alpha = 1
    is SASRec's encoder, alpha = 0 the long queries alone.

    Args:
        num_blocks: blocks in each stack.
        num_heads: attention heads, a divisor of D.
        query_window: W, events whose mean is a long query.
        alpha: weight of the short queries, in [0, 1].
        dropout: probability in [0, 1) of dropping, in the attention and in the network of each block, in training.
        units: width of the network's hidden layer; None takes D.
        epsilon: added to the variance in the layer normalisations.

    Shapes:
        inputs [B, L, D], mask bool [B, L] (True = real; padding on the left) -> [B, L, D] in the compute dtype. The output at a padded
        position means nothing; the mask is passed on. With `return_attention_scores=True` also the attention of each stack's last block,
        mean over its heads, mixed as y is: [B, L, L] in float32 (float64 in a float64 layer). With `latest_only=True` the latest position
        alone, [B, 1, D] and [B, 1, L], for less work in the last blocks.

    Reference:
        Zhu et al., "Understanding or Manipulation: Distilling Item Transitions into Multi-Query Self-Attention", WSDM 2024
        (arXiv 2311.01056), multi-query self-attention.
    """

    def __init__(self, num_blocks=1, num_heads=1, query_window=3, alpha=0.5, dropout=0.0, units=None, epsilon=1e-12, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(num_blocks, numbers.Integral) or isinstance(num_blocks, bool) or num_blocks < 1:
            raise ValueError(f"`num_blocks` must be an integer of at least 1; got {num_blocks!r}.")
        if not isinstance(alpha, numbers.Real) or isinstance(alpha, bool) or not 0 <= alpha <= 1:
            raise ValueError(f"`alpha` must be a number in [0, 1]; got {alpha!r}.")
        self.num_blocks = int(num_blocks)
        self.num_heads = num_heads
        self.query_window = query_window
        self.alpha = float(alpha)
        self.dropout = dropout
        self.units = units
        self.epsilon = epsilon
        self.supports_masking = True
        self.short_stack = self._make_stack("short", 1) if self.alpha > 0 else []
        self.long_stack = self._make_stack("long", query_window) if self.alpha < 1 else []

    def build(self, input_shape):
        for layer in (*self.short_stack, *self.long_stack):
            with tf.name_scope(layer.name):
                layer.build(input_shape)
        super().build(input_shape)

    def call(self, inputs, mask=None, training=None, return_attention_scores=False, latest_only=False):
        weighted = [(self.alpha, self.short_stack), (1.0 - self.alpha, self.long_stack)]
        results = [(weight, *_run(stack, inputs, mask, training, latest_only)) for weight, stack in weighted if stack]
        mixed = tf.cast(sum(weight * y for weight, y, _ in results), self.compute_dtype)
        if not return_attention_scores:
            return mixed
        return mixed, sum(weight * tf.reduce_mean(scores, axis=1) for weight, _, scores in results)

    def _make_stack(self, name, query_window):
        arguments = (self.num_heads, query_window, self.dropout, self.units, self.epsilon)
        blocks = [TransformerBlock(*arguments, name=f"{name}_block_{i}", dtype=self.dtype_policy) for i in range(self.num_blocks)]
        wide = "float64" if self.compute_dtype == "float64" else "float32"
        return [*blocks, tf.keras.layers.LayerNormalization(epsilon=self.epsilon, dtype=wide, name=f"{name}_norm")]

    def get_config(self):
        return {
            **super().get_config(),
            "num_blocks": self.num_blocks,
            "num_heads": self.num_heads,
            "query_window": self.query_window,
            "alpha": self.alpha,
            "dropout": self.dropout,
            "units": self.units,
            "epsilon": self.epsilon,
        }


def _run(stack, x, mask, training, latest_only):
    """(outputs [B, L, D], attention of the last block [B, H, L, L])."""
    *blocks, last, norm = stack
    for block in blocks:
        x = block(x, mask=mask, training=training)
    x, scores = last(x, mask=mask, training=training, return_attention_scores=True, latest_only=latest_only)
    return norm(x), scores
