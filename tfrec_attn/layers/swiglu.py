"""The gated position-wise network of eSASRec."""

import tensorflow as tf

from tfrec_attn.layers.support import Layer, add_projection, input_width, positive_integer, project


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class SwiGLU(Layer):
    """A position-wise network with gated hidden units, without biases.

        y = (silu(x A) * (x B)) C,      silu(a) = a / (1 + exp(-a))

    Args:
        units: Width of the hidden layer; None (default) takes 4 D for inputs of width D.

    Shapes:
        inputs [B, L, D] -> [B, L, D] in the compute dtype; D must be known. A mask is passed on.

    Reference:
        Shazeer, "GLU Variants Improve Transformer", 2020 (arXiv 2002.05202).
    """

    def __init__(self, units=None, **kwargs):
        super().__init__(**kwargs)
        self.units = positive_integer("units", units, "for four times the input's width")
        self.supports_masking = True

    def build(self, input_shape):
        width = input_width(input_shape)
        units = self.units or 4 * width
        for name in ("gate", "value"):
            add_projection(self, name, width, units, use_bias=False)
        add_projection(self, "output", units, width, use_bias=False)
        super().build(input_shape)

    def call(self, inputs):
        x = tf.cast(inputs, self.compute_dtype)
        hidden = tf.nn.silu(project(x, self.gate_kernel)) * project(x, self.value_kernel)
        return project(hidden, self.output_kernel)
