"""Checks of the arguments of losses over items."""

import tensorflow as tf


def rows_of(items, indices):
    """Returns the rows [..., D] of `items` [N, D] at `indices` [...], in float32."""
    return tf.cast(tf.gather(items, indices), tf.float32)


def checked(queries, items, targets, weights):
    """Returns (queries float32, targets, weights float32) as tensors.

    Args:
        queries: [P, D].
        items: [N, D].
        targets: int [P].
        weights: [P]; None: 1 / P each.

    Raises:
        ValueError: If an argument has another number of axes or another width.
    """
    queries = with_axes("queries", queries, ["P", "D"])
    targets = with_axes("targets", targets, ["P"])
    if len(items.shape) != 2:
        raise ValueError(f"items must have the shape [N, D], but has {items.shape}.")
    if queries.shape[1] != items.shape[1] and None not in (queries.shape[1], items.shape[1]):
        raise ValueError(
            f"queries and items must have the same width, but have {queries.shape[1]} and "
            f"{items.shape[1]}."
        )
    if weights is None:
        positions = tf.shape(queries)[:1]
        weights = tf.fill(positions, 1.0 / tf.cast(tf.maximum(positions[0], 1), tf.float32))
    weights = with_axes("weights", weights, ["P"])
    return tf.cast(queries, tf.float32), targets, tf.cast(weights, tf.float32)


def with_axes(name, value, axes):
    """Returns an argument as a tensor.

    Args:
        name: Name of the argument.
        value: Its value.
        axes: Names of its axes.

    Raises:
        ValueError: If it has another number of axes.
    """
    value = tf.convert_to_tensor(value)
    if len(value.shape) != len(axes):
        raise ValueError(f"{name} must have the shape [{', '.join(axes)}], but has {value.shape}.")
    return value
