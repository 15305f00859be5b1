"""What a step of training takes from a batch: gradients, part after part, and how many ids the
batch names.
"""

import tensorflow as tf

from tfrec_attn.losses.objectives import parts_of
from tfrec_attn.optimizers.gradients import add_gradients


def gradients_of(model, objective, features, parts):
    """Gradients of a replica's batch, taken in equal parts one after the other.

    Args:
        model: Compiled; its optimizer may scale the loss.
        objective: As those of `tfrec_attn.losses.objectives`.
        features: The batch.
        parts: Into how many parts it is cut.

    Returns:
        (gradients of the scaled loss by trainable variable, summed loss, number of examples).
    """
    gradients, totals, counts = [], [], []
    for part in parts_of(features, parts, whole=objective.shared):
        # Each part waits for the gradients of the one before, so that the activations of one part
        # are in memory at a time.
        with tf.control_dependencies(
            [one for one in tf.nest.flatten(gradients, expand_composites=True) if one is not None]
        ):
            with tf.GradientTape() as tape:
                loss, total, count = objective(model, part, True, parts)
                loss = (
                    model.optimizer.get_scaled_loss(loss) if scales_loss(model.optimizer) else loss
                )
            found = tape.gradient(loss, model.trainable_variables)
            gradients = add_gradients(gradients, found) if gradients else found
        totals.append(total)
        counts.append(count)
    return gradients, tf.add_n(totals), tf.add_n(counts)


def scales_loss(optimizer):
    """Tells whether an optimizer's gradients are those of a scaled loss."""
    return isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)


def ids_named(features, tables):
    """Reference of each table -> how many ids a batch names of it over all replicas, repeated ones
    counted.

    Args:
        features: The batch of a replica.
        tables: Variables by what they are of, "users" and "items".
    """
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    sizes = {
        name: (value.shape.num_elements() or 0) * replicas
        for name, value in features.items()
        if value.dtype.is_integer
    }
    counts = {"users": sizes.pop("user"), "items": sum(sizes.values())}
    return {table.ref(): count for of, count in counts.items() for table in tables[of]}
