"""A learned filter over the history, in the frequency domain."""

import numpy as np
import tensorflow as tf

from tfrec_attn.layers.support import Layer, input_width, positive_integer, real_number


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class FourierFilter(Layer):
    """Multiplies the frequencies of each feature by learned complex numbers.

        y = irfft(W * rfft(x))        over the positions;   W complex [L / 2 + 1, D]

    This is a circular convolution over the window, with a kernel as long as the window. It is not
    causal: each output depends on all inputs and on the amount of padding. The layer multiplies
    each feature by a matrix [L, L], which it makes from irfft(W). For short windows this is faster
    than the transforms. The matrices take D L^2 floats.

    Args:
        length: L, number of positions of the window.
        stddev: Standard deviation of the real and imaginary parts of the initial W. Default 0.02.

    Shapes:
        inputs [B, L, D] -> [B, L, D] in the compute dtype; D must be known. `latest_only=True`
        computes only the latest position, [B, 1, D], which is faster.

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
        position = np.arange(self.length)
        # Element [t, s] of the matrix is element (t - s) mod L of irfft(W).
        self._distances = (position[:, None] - position) % self.length

    def build(self, input_shape):
        width = input_width(input_shape)
        # kernel[0] has the real parts of W, kernel[1] the imaginary parts.
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
        real, imaginary = _inverse_transform(self.length)
        weights = kernel[0] @ real + kernel[1] @ imaginary
        if latest_only:
            weights = tf.transpose(tf.gather(weights, self._distances[-1], axis=1))
            y = tf.reduce_sum(x * weights, axis=1, keepdims=True)
        else:
            matrices = tf.gather(weights, self._distances, axis=1)
            y = tf.matmul(tf.transpose(x, [2, 0, 1]), matrices, transpose_b=True)
            y = tf.transpose(y, [1, 2, 0])
        return tf.cast(y, self.compute_dtype)


def _inverse_transform(length):
    """Returns the matrices of irfft for the real and the imaginary parts, [L / 2 + 1, L] each."""
    frequency = np.arange(length // 2 + 1)
    angle = 2 * np.pi / length * np.outer(frequency, np.arange(length))
    # All frequencies except the first and, for even lengths, the last also have a conjugate.
    factor = np.where((frequency == 0) | (2 * frequency == length), 1, 2)[:, None] / length
    return (factor * np.cos(angle)).astype("float32"), (-factor * np.sin(angle)).astype("float32")
