"""Layer normalisation with a short gradient."""

import tensorflow as tf

from tfrec_attn.layers.support import without_autograph


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class LayerNorm(tf.keras.layers.LayerNormalization):
    """Keras' layer normalisation over the last axis, in a third of the operations with gradient.

        y = gamma (x - mean) / sqrt(variance + epsilon) + beta

    Args:
        **kwargs: Those of `tf.keras.layers.LayerNormalization`, without `axis`, `center`, `scale`.

    Shapes:
        inputs [..., D] -> [..., D] in the compute dtype. A mask is passed on.

    Reference:
        Ba, Kiros, Hinton, "Layer Normalization", 2016 (arXiv 1607.06450).
    """

    @without_autograph
    def call(self, inputs):
        dtype = self.compute_dtype
        gamma, beta = (tf.cast(tf.convert_to_tensor(x), dtype) for x in (self.gamma, self.beta))
        return _normalized(tf.cast(inputs, dtype), gamma, beta, self.epsilon)


def layer_norm(layer: tf.keras.layers.Layer, epsilon: float, name: str) -> LayerNorm:
    """Returns a layer normalisation for a layer, in float32, or float64 in a float64 layer."""
    wide = "float64" if layer.compute_dtype == "float64" else "float32"
    return LayerNorm(epsilon=epsilon, dtype=wide, name=name)


def _normalized(x, gamma, beta, epsilon):
    @tf.custom_gradient
    def normalized(x, gamma, beta):
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        scale = tf.math.rsqrt(variance + epsilon)
        unit = centred * scale

        def gradient(upstream):
            axes = list(range(len(x.shape) - 1))
            to_unit = upstream * gamma
            along = unit * tf.reduce_mean(to_unit * unit, axis=-1, keepdims=True)
            to_x = scale * (to_unit - tf.reduce_mean(to_unit, axis=-1, keepdims=True) - along)
            return to_x, tf.reduce_sum(upstream * unit, axes), tf.reduce_sum(upstream, axes)

        return unit * gamma + beta, gradient

    return normalized(x, gamma, beta)
