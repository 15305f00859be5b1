"""Users and items without training events, whose table rows are still random."""

import numpy as np
import tensorflow as tf

# Score of an item that cannot be recommended, the lowest number that JSON has.
FLOOR = np.finfo(np.float32).min
# Score of an item without training events, below all scores of a model and above FLOOR.
UNTRAINED = np.float32(FLOOR / 2)


def is_trained(trained: np.ndarray, ids: tf.Tensor) -> tf.Tensor:
    """Returns which ids have training events, bool [...].

    Args:
        trained: Whether each of the ids 1..R has training events, bool [R].
        ids: int [...] in 0..R; 0 has no training events.
    """
    return tf.gather(np.concatenate([[False], trained]), ids)


def drop_events(inputs: dict, keep: tf.Tensor) -> dict:
    """Removes events of each history; the others move to the right, after the padding.

    Args:
        inputs: Features. Events are removed from each feature [B, L].
        keep: Which events remain, bool [B, L].
    """
    kept = tf.cast(keep, tf.int64)
    # New column of each event, from 1. Removed events have column 0, which is cut off.
    rows, columns = tf.unstack(tf.shape(kept, tf.int64))
    column = kept * (columns + 1 - tf.cumsum(kept, axis=1, reverse=True))
    index = tf.stack([tf.range(rows)[:, tf.newaxis] + tf.zeros_like(column), column], axis=-1)
    shape = tf.stack([rows, columns + 1])

    def moved(value):
        return tf.scatter_nd(index, tf.where(keep, value, tf.zeros_like(value)), shape)[:, 1:]

    return {name: moved(value) if len(value.shape) > 1 else value for name, value in inputs.items()}
