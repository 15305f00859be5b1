"""A learned filter over the history, in the frequency domain."""

import tensorflow as tf

from tfrec_attn.layers.support import Layer, input_width, positive_integer, real_number


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class FourierFilter(Layer):
    """Multiplies the frequencies of each feature by learned complex numbers.

        y = irfft(W * rfft(x))        over the positions;   W complex [L / 2 + 1, D]

    This is a circular convolution over the window, with a kernel as long as the window. It is not
    causal: each output depends on all inputs, and on how much padding there is.

    Args:
        length: L, positions of the window.
        stddev: Of the real and imaginary parts of the initial W. Default 0.02.

    Shapes:
        inputs [B, L, D] -> [B, L, D] in the compute dtype; D must be known. With
        `latest_only=True` only the latest position, [B, 1, D], which is faster.

    Reference:
        Zhou et al., "Filter-enhanced MLP is All You Need for Sequential Recommendation", WWW 2022
        (arXiv 2202.13556).
    """

    def __init__(self, length, stddev=0.02, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.length = positive_integer("length", length)
        self.stddev = real_number(
            "stddev", stddev, "a finite number of at least 0", lambda x: 0 <= x < float("inf")
        )

    def build(self, input_shape):
        width = input_width(input_shape)
        # Real and imaginary parts, one below the other for each feature.
        self.kernel = self.add_weight(
            name="kernel",
            shape=(2, width, self.length // 2 + 1),
            initializer=tf.keras.initializers.RandomNormal(stddev=self.stddev),
        )
        super().build(input_shape)

    def call(self, inputs, latest_only=False):
        if inputs.shape[1] not in (None, self.length):
            raise ValueError(
                f"`inputs` must have `length` = {self.length} positions; got {inputs.shape[1]}."
            )
        x = tf.cast(inputs, tf.float32)
        kernel = tf.cast(self.kernel, tf.float32)
        frequencies = tf.complex(kernel[0], kernel[1])
        if latest_only:
            # Of the circular convolution one output, a weighted sum.
            weights = tf.reverse(tf.signal.irfft(frequencies, [self.length]), axis=[1])
            y = tf.reduce_sum(x * tf.transpose(weights), axis=1, keepdims=True)
        else:
            spectrum = tf.signal.rfft(tf.transpose(x, [0, 2, 1]))
            y = tf.transpose(tf.signal.irfft(spectrum * frequencies, [self.length]), [0, 2, 1])
        return tf.cast(y, self.compute_dtype)
