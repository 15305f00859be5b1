"""The encoder of MQSA-TED: a stack with short queries and one with long queries."""

import tensorflow as tf

from tfrec_attn.layers.support import Layer, build_parts, real_number
from tfrec_attn.layers.transformer_stack import TransformerStack


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class MultiQuerySelfAttention(Layer):
    """The weighted sum of two transformer stacks over the same input.

        y = alpha short(x) + (1 - alpha) long(x)      `TransformerStack`s of query window 1 and W

    A stack of weight 0 is not built.

    Args:
        num_blocks: Number of blocks of each stack. Default 1.
        num_heads: Number of attention heads, a divisor of D. Default 1.
        query_window: W, number of events whose mean is a long query. Default 3.
        alpha: Weight of the short queries, in [0, 1]. Default 0.5.
        causal: Whether an event attends only to itself and earlier events. Default True.
        dropout: Dropout probability in [0, 1) of the attention and the network of each block, in
            training. Default 0.
        units: Width of the networks' hidden layers; None (default) takes D.
        epsilon: Added to the variance in the layer normalisations. Default 1e-12.

    Shapes:
        Those of `TransformerStack`. The attention is the same weighted sum of both stacks.

    Deviations:
        The paper adds the logits of the two stacks. `(alpha short + (1 - alpha) long) Eᵀ` is the
        same sum.

    Reference:
        Zhu et al., "Collaboration and Transition: Distilling Item Transitions into Multi-Query
        Self-Attention for Sequential Recommendation", WSDM 2024 (arXiv 2311.01056).
    """

    def __init__(
        self,
        num_blocks=1,
        num_heads=1,
        query_window=3,
        alpha=0.5,
        causal=True,
        dropout=0.0,
        units=None,
        epsilon=1e-12,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.alpha = real_number("alpha", alpha, "a number in [0, 1]", lambda x: 0 <= x <= 1)
        self.num_blocks, self.num_heads, self.query_window = num_blocks, num_heads, query_window
        self.causal, self.dropout, self.units, self.epsilon = causal, dropout, units, epsilon
        self.supports_masking = True
        self.short = self._make_stack("short", 1) if self.alpha > 0 else None
        self.long = self._make_stack("long", query_window) if self.alpha < 1 else None

    def build(self, input_shape):
        build_parts([stack for _, stack in self._weighted()], input_shape)
        super().build(input_shape)

    def call(
        self, inputs, mask=None, training=None, return_attention_scores=False, latest_only=False
    ):
        options = {"mask": mask, "training": training, "latest_only": latest_only}
        results = [
            (weight, *stack(inputs, return_attention_scores=True, **options))
            for weight, stack in self._weighted()
        ]
        mixed = sum(weight * y for weight, y, _ in results)
        if not return_attention_scores:
            return mixed
        return mixed, sum(weight * scores for weight, _, scores in results)

    def attention_of_stacks(self, inputs, mask=None):
        """Returns the attention [B, L, L] of each stack that is built, by "short" and "long"."""
        options = {"mask": mask, "return_attention_scores": True}
        return {stack.name: stack(inputs, **options)[1] for _, stack in self._weighted()}

    def _make_stack(self, name, query_window):
        sizes = (self.num_blocks, self.num_heads, query_window)
        options = (self.causal, self.dropout, self.units, self.epsilon)
        return TransformerStack(*sizes, *options, name=name, dtype=self.dtype_policy)

    def _weighted(self):
        pairs = [(self.alpha, self.short), (1.0 - self.alpha, self.long)]
        return [(weight, stack) for weight, stack in pairs if stack is not None]
