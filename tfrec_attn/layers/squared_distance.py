"""A squared distance as an inner product of a query side and an item side."""

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class SquaredDistance(tf.keras.layers.Layer):
    """Squared Euclidean distances between points and items, also as one inner product.

        |q - v|^2 = |q|^2 - [2 q, -1] . [v, |v|^2]

    `query(q, w) . item(v) = w (|q|^2 - |v - q|^2)`, which ranks items as `-w |v - q|^2` does. No
    tensor of shape [B, N, D] is made. Queries and items of several distances are concatenated.

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
        """Returns the query side [B, D + 1] of points [B, D], weighted by a number or by one for
        each point, [B].
        """
        weight = tf.convert_to_tensor(weight, points.dtype)
        weight = (
            weight * tf.ones_like(points[:, :1]) if not weight.shape.rank else weight[:, tf.newaxis]
        )
        return tf.concat([2.0 * weight * points, -weight], axis=1)

    def item(self, items):
        """Returns the item side [N, D + 1] of items [N, D]."""
        return tf.concat([items, _squares(items)], axis=1)


def _squares(x):
    return tf.reduce_sum(tf.square(x), axis=1, keepdims=True)
