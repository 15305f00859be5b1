"""The position-wise network of a transformer block."""

import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.support import Layer, add_projection, dropout_rate, positive_integer, project


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class FeedForward(Layer):
    """Two dense layers on each position, without the residual connection.

        y = dropout(dropout(relu(x W1 + b1)) W2 + b2)

    Args:
        units: Width of the hidden layer; None (default) takes the width D of the input.
        dropout: Probability in [0, 1) of dropping a hidden unit or an output in training.
            Default 0.
        activation: Keras activation of the hidden layer. Default "relu".

    Shapes:
        inputs [..., D] -> [..., D] in the compute dtype; D must be known. A mask is passed on.

    Reference:
        Vaswani et al., "Attention Is All You Need", NeurIPS 2017, equation 2; with dropout after
        both layers: Kang, McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018,
        section III.B.
    """

    def __init__(self, units=None, dropout=0.0, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.units = positive_integer("units", units, "for the input's width")
        self.dropout = dropout_rate(dropout)
        self.activation = tf.keras.activations.get(activation)
        self.supports_masking = True
        self._hidden_dropout = Dropout(self.dropout, dtype=self.compute_dtype)
        self._output_dropout = Dropout(self.dropout, dtype=self.compute_dtype)

    def build(self, input_shape):
        shape = tf.TensorShape(input_shape)
        width = shape[-1]
        if width is None:
            raise ValueError(f"`inputs` must have the shape [..., D] with a known D; got {shape}.")
        units = self.units or width
        add_projection(self, "hidden", width, units)
        add_projection(self, "output", units, width)
        super().build(input_shape)

    def call(self, inputs, training=None):
        x = tf.cast(inputs, self.compute_dtype)
        hidden = self.activation(project(x, self.hidden_kernel, self.hidden_bias))
        hidden = self._hidden_dropout(hidden, training=training)
        outputs = project(hidden, self.output_kernel, self.output_bias)
        return self._output_dropout(outputs, training=training)

    def get_config(self):
        return {
            **super().get_config(),
            "activation": tf.keras.activations.serialize(self.activation),
        }
