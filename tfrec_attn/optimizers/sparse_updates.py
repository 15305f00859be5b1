"""Updates of single table rows, for optimizers with sparse gradients."""

import tensorflow as tf

from tfrec_attn.optimizers.gradients import sum_repeated_rows


def read_rows(variable: tf.Variable, rows: tf.Tensor) -> tf.Tensor:
    """Returns some rows of a table, [R, D], at a cost that does not depend on its size."""
    return tf.raw_ops.ResourceGather(resource=variable.handle, indices=rows, dtype=variable.dtype)


def write_rows(variable: tf.Variable, rows: tf.Tensor, values: tf.Tensor) -> None:
    """Writes rows [R, D] of a table in place; `rows` must be unique."""
    # This scatter uses all cores and copies whole rows, unlike those that add or subtract.
    tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=rows, updates=values)


class SparseUpdates:
    """A mixin of Keras optimizers that sums the repeated rows of sparse gradients.

    The update is not compiled by XLA by default, because XLA has no kernels that write single rows.
    """

    _unique_rows = False

    def __init__(self, *args, jit_compile=False, **kwargs):
        super().__init__(*args, jit_compile=jit_compile, **kwargs)

    def apply_gradients(self, grads_and_vars, *args, unique_rows=False, **kwargs):
        """Applies gradients as Keras does.

        Args:
            grads_and_vars: Pairs of gradients and variables.
            *args: As those of Keras.
            unique_rows: Whether the rows of each sparse gradient are already unique, over all
                replicas. Default False.
            **kwargs: As those of Keras.
        """
        self._unique_rows = unique_rows
        return super().apply_gradients(grads_and_vars, *args, **kwargs)

    def _deduplicate_sparse_grad(self, grads):
        return grads if self._unique_rows else [sum_repeated_rows(gradient) for gradient in grads]
