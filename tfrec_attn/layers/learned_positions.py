"""Learned positions, aligned to the latest event."""

import math

import tensorflow as tf

from tfrec_attn.layers.rows import gather_rows
from tfrec_attn.layers.support import Layer, positive_integer, real_number


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class LearnedPositions(Layer):
    """Adds a learned vector for each position, counted from the latest event.

        y_t = x_t + P[max_length - L + t]               or P[max_length - 1 - age_t] with `ages`

    The latest event has the last row of P for any length of the input, so left padding does not
    change the result.

    Args:
        max_length: Longest history in events, the number of rows of P.
        stddev: Standard deviation of the initial P, drawn with mean 0. Default 0.01.

    Shapes:
        inputs [..., L, D] -> [..., L, D] in the compute dtype; D must be known, L is at most
        `max_length`. A mask is passed on. If a row of inputs [B, L, D] has several sequences,
        `ages` int [B, L] counts the later events of the same sequence.

    Reference:
        Kang, McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section III.A.
    """

    def __init__(self, max_length, stddev=0.01, **kwargs):
        super().__init__(**kwargs)
        self.max_length = positive_integer("max_length", max_length)
        self.stddev = real_number(
            "stddev", stddev, "a finite number of at least 0", lambda x: 0 <= x < math.inf
        )
        self.supports_masking = True

    def build(self, input_shape):
        shape = tf.TensorShape(input_shape)
        if shape.rank is None or shape.rank < 2 or shape[-1] is None:
            raise ValueError(
                f"`inputs` must have the shape [..., L, D] with a known D; got {shape}."
            )
        self.table = self.add_weight(
            name="table",
            shape=(self.max_length, shape[-1]),
            initializer=tf.keras.initializers.RandomNormal(stddev=self.stddev),
        )
        super().build(input_shape)

    def call(self, inputs, ages=None):
        x = tf.cast(inputs, self.compute_dtype)
        if ages is not None:
            table = tf.cast(tf.convert_to_tensor(self.table), x.dtype)
            return x + gather_rows(table, self.max_length - 1 - ages)
        length = x.shape[-2]
        if length is None:
            length = tf.shape(x)[-2]
            tf.debugging.assert_less_equal(
                length, self.max_length, "`inputs` must have at most `max_length` positions."
            )
        elif length > self.max_length:
            raise ValueError(
                f"`inputs` must have at most `max_length` = {self.max_length} positions; "
                f"got {length}."
            )
        return x + tf.cast(tf.convert_to_tensor(self.table)[self.max_length - length :], x.dtype)
