"""Gradients of a batch, computed one micro-batch after the other."""

import tensorflow as tf

from tfrec_attn.keras_versions import keras
from tfrec_attn.keras_versions.variables import variable_of
from tfrec_attn.optimizers.gradients import add_gradients


def accumulated_gradients(model, objective, features, micro_batches):
    """Returns the gradients of a replica's batch.

    Args:
        model: A compiled model, also with an optimizer that scales the loss.
        objective: A `WindowObjective` or a `PositionObjective`.
        features: The batch.
        micro_batches: Number of micro-batches.

    Returns:
        (gradients of the scaled loss by trainable variable, summed loss, number of examples).

    Raises:
        ValueError: If the batch cannot be split into equal micro-batches.
    """
    gradients, totals, counts = [], [], []
    variables = [variable_of(one) for one in model.trainable_variables]
    for part in _split(features, micro_batches, objective.shared):
        # Each micro-batch waits for the gradients of the one before, so that memory holds the
        # activations of only one micro-batch.
        with tf.control_dependencies(
            [one for one in tf.nest.flatten(gradients, expand_composites=True) if one is not None]
        ):
            with tf.GradientTape() as tape:
                loss, total, count = objective(model, part, True, micro_batches)
                loss = keras.scaled_loss(model.optimizer, loss)
            found = tape.gradient(loss, variables)
            gradients = add_gradients(gradients, found) if gradients else found
        totals.append(total)
        counts.append(count)
    return gradients, tf.add_n(totals), tf.add_n(counts)


def _split(features, count, shared):
    """Returns `count` micro-batches; each gets the features named in `shared` as a whole."""
    if count == 1:
        return [features]
    rows = features["user"].shape[0]
    if rows is not None and rows % count:
        raise ValueError(
            f"accumulate must divide the examples of a batch on each replica, {rows}, "
            f"but is {count}."
        )
    parts = {
        name: [value] * count if name in shared else tf.split(value, count)
        for name, value in features.items()
    }
    return [{name: values[part] for name, values in parts.items()} for part in range(count)]
