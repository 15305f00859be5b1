"""Squared Euclidean distances as inner products."""

import tensorflow as tf

from tfrec_attn.layers.support import Layer


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class SquaredDistance(Layer):
    """Squared Euclidean distances between points and items.

        |q - v|^2 = |q|^2 - [2 q, -1] . [v, |v|^2]
        query(q, w) . item(v) = w (|q|^2 - |v - q|^2)        ranks items as -w |v - q|^2 does

    A model that adds several distances concatenates their query vectors and their item vectors.

    Shapes:
        points [B, D], items [N, D] -> distances [B, N]; `query` [B, D + 1]; `item` [N, D + 1].
    """

    def call(self, points, items):
        return (
            _squares(points)
            - 2.0 * tf.matmul(points, items, transpose_b=True)
            + tf.transpose(_squares(items))
        )

    def query(self, points, weight=1.0):
        """Returns the query vectors [B, D + 1] of points [B, D].

        Args:
            points: [B, D].
            weight: w, a number or one number for each point, [B]. Default 1.
        """
        weight = tf.convert_to_tensor(weight, points.dtype)
        if weight.shape.rank:
            weight = weight[:, tf.newaxis]
        else:
            weight *= tf.ones_like(points[:, :1])
        return tf.concat([2.0 * weight * points, -weight], axis=1)

    def item(self, items):
        """Returns the item vectors [N, D + 1] of items [N, D]."""
        return tf.concat([items, _squares(items)], axis=1)


def _squares(x):
    return tf.reduce_sum(tf.square(x), axis=1, keepdims=True)
