"""A step of an optimizer with what is due once to each row of a table that the step touches."""

import tensorflow as tf

from tfrec_attn.optimizers.distinct_rows import DistinctRows
from tfrec_attn.optimizers.gradients import clip_by_global_norm, over_replicas, sum_repeated_rows


class RegularisedStep:
    """Applies gradients with L2, clipping and row bounds, each counted once, however many replicas
    or parts of a batch touch a row.

        g = sum of the gradients over replicas and repeated rows + weight * w;   g <- clip(g);   w <- bound(optimizer(w, g))

    On the rows of a sparse gradient L2 and bound fall on those rows alone, with a dense one on all.
    Each replica does the same to its copy.

    Args:
      optimizer: Keras optimizer, also one that scales the loss; the gradients come unscaled.
      bounds: reference of each table -> the `MaxNorm` that its touched rows are kept in, or None.
      l2: weight of |row|^2 / 2 on the tables of `bounds`.
      kernel_l2: weight of |w|^2 / 2 on all other variables.
      clip_norm: most norm of all gradients together, or None.
    """

    def __init__(self, optimizer, bounds, l2=0.0, kernel_l2=0.0, clip_norm=None):
        self.optimizer = optimizer
        self.bounds = bounds
        self.l2 = l2
        self.kernel_l2 = kernel_l2
        self.clip_norm = clip_norm

    def __call__(self, gradients, variables, named):
        """Updates the variables.

        Args:
          gradients: of this replica, dense, sparse or None.
          variables: in the same order.
          named: reference of a table -> ids that the batch of all replicas names at most, repeated
              ones counted; 0 where it is not there.
        """
        pairs = [pair for pair in zip(gradients, variables, strict=True) if pair[0] is not None]
        variables = [variable for _, variable in pairs]
        gradients, touched = self._sums(
            [gradient for gradient, _ in pairs],
            [named.get(variable.ref(), 0) for variable in variables],
        )
        gradients = [
            self._penalised(*each) for each in zip(gradients, variables, touched, strict=True)
        ]
        if self.clip_norm is not None:
            gradients = clip_by_global_norm(
                [sum_repeated_rows(gradient) for gradient in gradients], self.clip_norm
            )
        known = (
            {"distinct_rows": self.clip_norm is not None}
            if isinstance(self.optimizer, DistinctRows)
            else {}
        )
        self.optimizer.apply_gradients(
            zip(gradients, variables, strict=True), skip_gradients_aggregation=True, **known
        )
        for variable, rows in zip(variables, touched, strict=True):
            bound = self.bounds.get(variable.ref())
            if bound is not None:
                bound.project_rows(variable, _indices(variable, rows), of_all_replicas=True)

    def _sums(self, gradients, named):
        """(gradients of all replicas, for each the rows that it touches: indices or a mask; None
        for all).
        """
        masks = [None] * len(gradients)
        if tf.distribute.get_replica_context().num_replicas_in_sync > 1:
            optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
            stays = getattr(optimizer, "leaves_rows_of_gradient_0", False)
            gradients, masks = over_replicas(gradients, named if stays else [0] * len(named))
        return gradients, [
            _rows(gradient) if mask is None else mask
            for gradient, mask in zip(gradients, masks, strict=True)
        ]

    def _penalised(self, gradient, variable, touched):
        weight = self.l2 if variable.ref() in self.bounds else self.kernel_l2
        if not weight:
            return gradient
        if isinstance(gradient, tf.IndexedSlices):
            indices = tf.concat([gradient.indices, touched], axis=0)
            values = tf.concat([gradient.values, weight * tf.gather(variable, touched)], axis=0)
            return tf.IndexedSlices(values, indices, gradient.dense_shape)
        if touched is not None:
            weight *= tf.cast(touched, gradient.dtype)[:, tf.newaxis]
        return gradient + weight * variable


def _rows(gradient):
    """The rows that a sparse gradient names, each once, or None for a dense one."""
    return tf.unique(gradient.indices)[0] if isinstance(gradient, tf.IndexedSlices) else None


def _indices(variable, touched):
    if touched is None:
        return tf.range(variable.shape[0])
    return tf.where(touched)[:, 0] if touched.dtype == tf.bool else touched
