"""What the optimizers share whose sparse step takes each row of a gradient once."""

import tensorflow as tf

from tfrec_attn.optimizers.gradients import sum_repeated_rows


def read_rows(variable, rows):
    """Some rows of a table, [R, D], at a cost that does not depend on its size."""
    return tf.raw_ops.ResourceGather(resource=variable.handle, indices=rows, dtype=variable.dtype)


def write_rows(variable, rows, values):
    """Writes rows [R, D] of a table in place; each row must be named once."""
    # Assigning takes all cores and copies whole rows; TensorFlow's scatters that add or subtract do
    # neither.
    tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=rows, updates=values)


class DistinctRows:
    """Sums repeated rows of sparse gradients before the update, unless the caller has; for use
    before a Keras optimizer's class.

    The update is not compiled by XLA unless asked for: the kernels that write single rows of a
    table are not there.
    """

    _distinct = False

    def __init__(self, *args, jit_compile=False, **kwargs):
        super().__init__(*args, jit_compile=jit_compile, **kwargs)

    def apply_gradients(self, grads_and_vars, *args, distinct_rows=False, **kwargs):
        """As Keras' own; `distinct_rows` says that no sparse gradient names a row twice, on all
        replicas together.
        """
        self._distinct = distinct_rows
        return super().apply_gradients(grads_and_vars, *args, **kwargs)

    def _deduplicate_sparse_grad(self, grads):
        return grads if self._distinct else [sum_repeated_rows(gradient) for gradient in grads]
