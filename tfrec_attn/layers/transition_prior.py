"""A prior of item transitions, which is added to the scores of a trained model."""

import tensorflow as tf

from tfrec_attn.layers.item_neighbours import ItemNeighbours
from tfrec_attn.layers.support import Layer


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class TransitionPrior(Layer):
    """Computes the values that the transitions from a history add to the scores of some items.

        prior(j) = weight ln((epsilon + T_j / sum of T) / epsilon),   T of `ItemNeighbours`

    If the scores are logits, their sum with the prior is, up to a number that all items share,

        ln(softmax(score)_j (epsilon + T_j / sum of T)^weight)

    Items without a transition have the prior 0.

    Args:
        num_items: N.
        neighbours: K, largest number of neighbours of an item.

    Attributes:
        weight: Variable, 0 until it is set.
        epsilon: Variable, 1 until it is set; above 0.
        rows: The `ItemNeighbours`.

    Shapes:
        history int [B, L], 0 is padding on the left -> (items int32 [B, P], prior float32 [B, P]).
        The items of each row are unique, with 0 as padding.
    """

    def __init__(self, num_items, neighbours, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.num_items, self.neighbours = num_items, neighbours
        self.rows = ItemNeighbours(num_items, neighbours, name="rows")
        self.weight, self.epsilon = (
            self.add_weight(
                name=name, shape=(), dtype="float32", initializer=initial, trainable=False
            )
            for name, initial in (("weight", "zeros"), ("epsilon", "ones"))
        )
        self.built = True

    def call(self, history):
        items, shares = self.shares(history)
        return items, self.weight * tf.math.log1p(shares / self.epsilon)

    def shares(self, history):
        """Returns (items int32 [B, P], T_j / sum of T float32 [B, P])."""
        items, sums = self.rows(history)
        total = tf.reduce_sum(sums, axis=1, keepdims=True)
        return items, tf.math.divide_no_nan(sums, total)
