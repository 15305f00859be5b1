"""The gated position-wise network of eSASRec."""

import tensorflow as tf

from tfrec_attn.layers.support import positive_integer, project, without_autograph


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class SwiGLU(tf.keras.layers.Layer):
    """A position-wise network whose hidden units are gated, without biases.

        y = (silu(x A) * (x B)) C,      silu(a) = a / (1 + exp(-a))

    Args:
        units: Width of the hidden layer; None (default) takes 4 D.

    Shapes:
        inputs [B, L, D] -> [B, L, D] in the compute dtype; D must be known. A mask is passed on.

    Reference:
        Shazeer, "GLU Variants Improve Transformer", 2020 (arXiv 2002.05202).
    """

    def __init__(self, units=None, **kwargs):
        super().__init__(**kwargs)
        if units is not None:
            units = positive_integer("units", units, ", or None for four times the input's width")
        self.units = units
        self.supports_masking = True

    def build(self, input_shape):
        shape = tf.TensorShape(input_shape)
        if shape.rank != 3 or shape[-1] is None:
            raise ValueError(f"`inputs` must have the shape [B, L, D] with a known D; got {shape}.")
        width = shape[-1]
        units = self.units or 4 * width
        for name, sizes in (("gate", (width, units)), ("value", (width, units))):
            setattr(self, f"{name}_kernel", self._kernel(name, sizes))
        self.output_kernel = self._kernel("output", (units, width))
        super().build(input_shape)

    def _kernel(self, name, shape):
        return self.add_weight(name=f"{name}_kernel", shape=shape, initializer="glorot_uniform")

    @without_autograph
    def call(self, inputs):
        x = tf.cast(inputs, self.compute_dtype)
        hidden = tf.nn.silu(project(x, self.gate_kernel)) * project(x, self.value_kernel)
        return project(hidden, self.output_kernel)

    def get_config(self):
        return {**super().get_config(), "units": self.units}
