"""The block of FMLP-Rec: a filter in place of self-attention."""

import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.feed_forward import FeedForward
from tfrec_attn.layers.fourier_filter import FourierFilter
from tfrec_attn.layers.layer_norm import layer_norm
from tfrec_attn.layers.support import Layer, add_and_norm, build_parts, dropout_rate


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class FilterBlock(Layer):
    """A learned filter and a position-wise network, each followed by a layer normalisation.

        o = LayerNorm(x + dropout(FourierFilter(x)))
        y = LayerNorm(o + dropout(gelu(o W1 + b1) W2 + b2))

    Args:
        length: L, number of positions of the window.
        dropout: Probability in [0, 1) of dropping an output of the filter or of the network in
            training. Default 0.
        units: Width of the network's hidden layer; None (default) takes 4 D.
        epsilon: Added to the variance in the layer normalisations. Default 1e-12.
        stddev: Standard deviation of the initial filter. Default 0.02.

    Shapes:
        inputs [B, L, D] -> [B, L, D] in the compute dtype. `latest_only=True` computes only the
        latest position, [B, 1, D], which is faster.

    Reference:
        Zhou et al., "Filter-enhanced MLP is All You Need for Sequential Recommendation", WWW 2022
        (arXiv 2202.13556).
    """

    def __init__(self, length, dropout=0.0, units=None, epsilon=1e-12, stddev=0.02, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.dropout, self.units, self.epsilon = dropout_rate(dropout), units, epsilon
        self.length, self.stddev = length, stddev
        self.filter = FourierFilter(length, stddev, name="filter", dtype=self.dtype_policy)
        self.filter_norm = layer_norm(self, epsilon, "filter_norm")
        self.norm = layer_norm(self, epsilon, "norm")
        self._dropout_layer = Dropout(dropout, dtype=self.compute_dtype)

    def build(self, input_shape):
        self.feed_forward = FeedForward(
            self.units or 4 * input_shape[-1],
            activation="gelu",
            name="feed_forward",
            dtype=self.dtype_policy,
        )
        build_parts([self.filter, self.filter_norm, self.feed_forward, self.norm], input_shape)
        super().build(input_shape)

    def call(self, inputs, training=None, latest_only=False):
        x = tf.cast(inputs, self.compute_dtype)
        filtered = self.filter(x, latest_only=latest_only)
        x = x[:, -1:] if latest_only else x
        x = add_and_norm(self.filter_norm, self._dropout_layer, x, filtered, training)
        return add_and_norm(self.norm, self._dropout_layer, x, self.feed_forward(x), training)
