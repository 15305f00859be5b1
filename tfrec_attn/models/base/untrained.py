"""What training never touched: rows of tables that are initial noise, so that nothing is known by
them.
"""

import numpy as np
import tensorflow as tf

# The score of an item that training never touched: below every score of a model, above the lowest
# float, which is that of an item that cannot be recommended.
UNTRAINED = np.float32(np.finfo(np.float32).min / 2)


def touched(trained, ids):
    """Returns which ids are of rows that training touched: bool [...].

    Args:
        trained: Whether it touched each row, NumPy bool [R].
        ids: int [...] in 0..R; 0 is none.
    """
    return tf.gather(np.concatenate([[False], trained]), ids)


def pass_over(inputs, kept):
    """Returns features without some events of each history, whose others move up to the right.

    Args:
        inputs: Features; all those with a value for each event, [B, L], lose the same events.
        kept: Which events stay, bool [B, L].
    """
    left = tf.cast(kept, tf.int32)
    # The place of an event that stays, from 1; all others fall on place 0, which is cut off.
    place = left * (tf.shape(left)[1] + 1 - tf.cumsum(left, axis=1, reverse=True))
    row = tf.range(tf.shape(left)[0])[:, tf.newaxis] + tf.zeros_like(place)
    index, shape = (
        tf.stack([row, place], axis=-1),
        tf.stack([tf.shape(left)[0], tf.shape(left)[1] + 1]),
    )

    def moved(value):
        return tf.scatter_nd(index, tf.where(kept, value, tf.zeros_like(value)), shape)[:, 1:]

    return {name: moved(value) if len(value.shape) > 1 else value for name, value in inputs.items()}
