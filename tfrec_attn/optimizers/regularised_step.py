"""A step of an optimizer with L2 regularisation, clipping and max-norm constraints."""

import tensorflow as tf

from tfrec_attn.keras_versions import keras
from tfrec_attn.keras_versions.variables import gather_from, sum_repeated_rows, variable_of
from tfrec_attn.optimizers.gradients import all_reduce, clip_by_global_norm


class RegularisedStep:
    """Applies the gradients of all replicas with L2, clipping and max-norm constraints.

        g = sum of the gradients of all replicas and micro-batches + weight * w
        w <- constraint(optimizer(w, clip(g)))

    L2 and constraint apply once to each updated row of a table. These are the rows of a sparse
    gradient, the used rows of a dense one or, without `used`, all of its rows. All replicas update
    their copies of a table equally.

    Args:
        optimizer: Keras optimizer, also one that scales the loss.
        constraints: Reference of each table -> its `MaxNorm`, or None.
        l2: Weight of |row|^2 / 2 of the rows of tables. Default 0.
        kernel_l2: Weight of |w|^2 / 2 of all other variables. Default 0.
        clip_norm: Largest global norm of the gradients; None (default): no limit.
    """

    def __init__(self, optimizer, constraints, l2=0.0, kernel_l2=0.0, clip_norm=None):
        self.optimizer = optimizer
        self.constraints = constraints
        self.l2 = l2
        self.kernel_l2 = kernel_l2
        self.clip_norm = clip_norm

    def __call__(self, gradients, variables, lookups, used=None):
        """Updates the variables.

        Args:
            gradients: Unscaled gradients of this replica: dense, sparse or None.
            variables: `tf.Variable`s in the same order.
            lookups: Reference of each table -> number of lookups in the batches of all replicas, an
                upper bound of the rows in its gradient.
            used: Reference of each table with a dense gradient -> how often this replica looked up
                each row, float32 [N]; None or missing: all rows are updated.
        """
        pairs = [pair for pair in zip(gradients, variables, strict=True) if pair[0] is not None]
        gradients, variables = (list(column) for column in zip(*pairs, strict=True))
        gradients, updated = self._sums(
            gradients,
            [lookups.get(variable.ref(), 0) for variable in variables],
            [(used or {}).get(variable.ref()) for variable in variables],
        )
        gradients = [
            self._add_l2(*each) for each in zip(gradients, variables, updated, strict=True)
        ]
        if self.clip_norm is not None:
            gradients = clip_by_global_norm(gradients, self.clip_norm)
        keras.apply_summed(self.optimizer, list(zip(gradients, variables, strict=True)))
        for variable, rows in zip(variables, updated, strict=True):
            constraint = self.constraints.get(variable.ref())
            if constraint is not None:
                _project(constraint, variable, rows)

    def _sums(self, gradients, lookups, used):
        """Returns the summed gradients with unique rows, and the updated rows of each.

        Updated rows are indices, a mask bool [N], or None for all rows.
        """
        masks = [None if times is None else times > 0 for times in used]
        if tf.distribute.get_replica_context().num_replicas_in_sync > 1:
            optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
            if not getattr(optimizer, "keeps_rows_of_gradient_0", False):
                lookups = [0] * len(lookups)
            gradients, masks = all_reduce(gradients, lookups, used)
        else:
            gradients = [sum_repeated_rows(gradient) for gradient in gradients]
        return gradients, [
            _rows(gradient) if mask is None else mask
            for gradient, mask in zip(gradients, masks, strict=True)
        ]

    def _add_l2(self, gradient, variable, updated):
        weight = self.l2 if variable.ref() in self.constraints else self.kernel_l2
        if not weight:
            return gradient
        if isinstance(gradient, tf.IndexedSlices):
            values = gradient.values + weight * gather_from(variable, gradient.indices)
            return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
        if updated is not None:
            weight *= tf.cast(updated, gradient.dtype)[:, tf.newaxis]
        return gradient + weight * variable


def count_lookups(features: dict, tables: dict[str, list[tf.Variable]]) -> dict:
    """Returns the number of lookups in the batches of all replicas, by reference of each table.

    Args:
        features: The batch of one replica.
        tables: Tables of "users" and "items".
    """
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    sizes = {
        name: (value.shape.num_elements() or 0) * replicas
        for name, value in features.items()
        if value.dtype.is_integer
    }
    counts = {"users": sizes.pop("user"), "items": sum(sizes.values())}
    return {variable_of(table).ref(): count for of, count in counts.items() for table in tables[of]}


def _rows(gradient):
    """Returns the rows of a sparse gradient, or None for a dense one."""
    return gradient.indices if isinstance(gradient, tf.IndexedSlices) else None


def _project(constraint, variable, updated):
    """Applies a `MaxNorm` to the updated rows: indices, a mask, or None for all rows."""
    if updated is None:
        updated = tf.ones([variable.shape[0]], tf.bool)
    if updated.dtype == tf.bool:
        constraint.project_table(variable, updated)
    else:
        constraint.project_rows(variable, updated, of_all_replicas=True)
