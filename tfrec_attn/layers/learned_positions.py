"""Learned positions, aligned to the latest event."""

import math
import numbers

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class LearnedPositions(tf.keras.layers.Layer):
    """Adds a learned vector of the position, counted from the latest event.

        y_t = x_t + P[max_length - L + t]

    The latest event has the last row of P whatever the length of the input, so more or less left
    padding changes nothing.

    Args:
        max_length: rows of P, the longest history in events.
        stddev: of the normal distribution that P starts from.

    Shapes:
        inputs [..., L, D] -> [..., L, D] in the compute dtype; D must be known, L is at most
        `max_length`. A mask is passed on.

    Reference:
        Kang, McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section III.A.
    """

    def __init__(self, max_length, stddev=0.01, **kwargs):
        super().__init__(**kwargs)
        if (
            not isinstance(max_length, numbers.Integral)
            or isinstance(max_length, bool)
            or max_length < 1
        ):
            raise ValueError(f"`max_length` must be an integer of at least 1; got {max_length!r}.")
        if (
            not isinstance(stddev, numbers.Real)
            or isinstance(stddev, bool)
            or not 0 <= stddev < math.inf
        ):
            raise ValueError(f"`stddev` must be a finite number of at least 0; got {stddev!r}.")
        self.max_length = int(max_length)
        self.stddev = float(stddev)
        self.supports_masking = True

    def build(self, input_shape):
        shape = tf.TensorShape(input_shape)
        if shape.rank is None or shape.rank < 2 or shape[-1] is None:
            raise ValueError(
                f"`inputs` must have the shape [..., L, D] with a known D; got {shape}."
            )
        initializer = tf.keras.initializers.RandomNormal(stddev=self.stddev)
        self.table = self.add_weight(
            name="table", shape=(self.max_length, shape[-1]), initializer=initializer
        )
        super().build(input_shape)

    def call(self, inputs):
        x = tf.cast(inputs, self.compute_dtype)
        length = x.shape[-2]
        if length is None:
            length = tf.shape(x)[-2]
            tf.debugging.assert_less_equal(
                length, self.max_length, "`inputs` must have at most `max_length` positions."
            )
        elif length > self.max_length:
            raise ValueError(
                f"`inputs` must have at most `max_length` = {self.max_length} positions; got {length}."
            )
        return x + tf.cast(tf.convert_to_tensor(self.table)[self.max_length - length :], x.dtype)

    def get_config(self):
        return {**super().get_config(), "max_length": self.max_length, "stddev": self.stddev}
