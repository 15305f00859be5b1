"""Sinusoidal positions, aligned to the latest event."""

import math
import numbers

import numpy as np
import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class SinusoidalPositions(tf.keras.layers.Layer):
    """Adds a fixed sinusoidal signal of the position, `x + TE`.

        TE(t, 2i)     = sin(t / max_wavelength^(2i/D))
        TE(t, 2i + 1) = cos(t / max_wavelength^(2i/D))

    An odd D ends with a sine. Without `length` the first position is t = 0; with it the last
    position is always t = length - 1, so more or less left padding changes nothing. The layer has
    no weights and passes the mask on.

    Args:
        length: longest history in events, which fixes t = length - 1 as the latest event; None
            counts t = 0 .. L-1 from the left.
        max_wavelength: base of the geometric wavelengths, in positions (a wavelength is 2 pi times
            its power).

    Shapes:
        inputs [..., L, D] -> [..., L, D] in the layer's compute dtype; D must be known, L need not
        be.

    Deviations:
        AttRec's authors' code has other wavelengths: its exponent is i / (D/2 - 1), and that of the
        paper and of this layer i / (D/2). It also puts the sines before the cosines, which
        interleave here, as in the paper. With its columns in our order the two signals are up to
        0.02 apart at D = 150 and L = 5, and up to 1.9 at D = 7 and L = 50.

    Reference:
        Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.5; Zhang et al., "Next
        Item Recommendation with Self-Attentive Metric Learning", arXiv 1808.06414, equations of
        TE(t, 2i) and TE(t, 2i + 1).
    """

    def __init__(self, length=None, max_wavelength=10000.0, **kwargs):
        super().__init__(**kwargs)
        if length is not None and (
            not isinstance(length, numbers.Integral) or isinstance(length, bool) or length < 1
        ):
            raise ValueError(
                f"SinusoidalPositions: `length` must be an integer of at least 1, or None to count from the left; got {length!r}."
            )
        real = isinstance(max_wavelength, numbers.Real) and not isinstance(max_wavelength, bool)
        if not real or not 0 < max_wavelength < math.inf:
            raise ValueError(
                f"SinusoidalPositions: `max_wavelength` must be a finite number above 0; got {max_wavelength!r}."
            )
        self.length = None if length is None else int(length)
        self.max_wavelength = float(max_wavelength)
        self.supports_masking = True

    def signal(self, length, depth):
        """Returns TE [length, depth] in float32, for callers that add it elsewhere, as in `(x + TE)
        W = x W + TE W`.

        Args:
            length: number of positions L, an integer or a scalar integer tensor; at most the
                layer's `length` where that is given.
            depth: width D, an integer.
        """
        if not isinstance(depth, numbers.Integral) or isinstance(depth, bool) or depth < 1:
            raise ValueError(
                f"SinusoidalPositions: `depth` must be an integer of at least 1; got {depth!r}."
            )
        if not tf.is_tensor(length) and (
            not isinstance(length, numbers.Integral) or isinstance(length, bool) or length < 0
        ):
            raise ValueError(
                f"SinusoidalPositions: `length` of the signal must be an integer of at least 0 or a scalar tensor; got {length!r}."
            )
        if self.length is not None and not tf.is_tensor(length) and length > self.length:
            raise ValueError(
                f"SinusoidalPositions: inputs must have at most `length` = {self.length} positions; got {length}."
            )
        # In float64, because a float32 angle of some thousand radians is off by 1e-4.
        wavelength = self.max_wavelength ** (
            2.0 * np.arange((depth + 1) // 2, dtype=np.float64) / depth
        )
        length = tf.cast(length, tf.int32)
        first = 0 if self.length is None else self.length - length
        angle = tf.cast(first + tf.range(length), tf.float64)[:, None] / wavelength
        pairs = tf.stack([tf.sin(angle), tf.cos(angle)], axis=-1)
        return tf.cast(tf.reshape(pairs, [length, 2 * len(wavelength)])[:, :depth], tf.float32)

    def call(self, inputs):
        x = tf.cast(inputs, self.compute_dtype)
        if x.shape.rank is None or x.shape.rank < 2 or x.shape[-1] is None:
            raise ValueError(
                f"SinusoidalPositions: `inputs` must have the shape [..., L, D] with a known D; got {x.shape}."
            )
        length = tf.shape(x)[-2] if x.shape[-2] is None else x.shape[-2]
        return x + tf.cast(self.signal(length, x.shape[-1]), x.dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "length": self.length,
            "max_wavelength": self.max_wavelength,
        }
