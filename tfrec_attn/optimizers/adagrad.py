"""Adagrad with fast sparse updates."""

import tensorflow as tf

from tfrec_attn.keras_versions import keras
from tfrec_attn.keras_versions.variables import sum_repeated_rows
from tfrec_attn.optimizers.sparse_updates import read_rows, write_rows

# The dense kernel updates a row this many times faster.
_DENSE_SPEEDUP = 2


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class Adagrad(keras.RowUpdates, tf.keras.optimizers.Adagrad):
    """Adagrad that updates only the rows of a sparse gradient.

        accumulator += g^2;   w -= learning_rate * g / (sqrt(accumulator) + epsilon)

    Repeated rows of a sparse gradient are summed first. TensorFlow's fused kernel applies dense
    gradients, and sparse ones with at least half as many rows as the table.

    Args:
        **kwargs: Arguments of `tf.keras.optimizers.Adagrad`: learning_rate (0.001),
            initial_accumulator_value (0.1), epsilon (1e-7), and more.

    Deviations:
        Keras adds epsilon inside the root.

    Reference:
        Duchi, Hazan, Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
        Optimization", JMLR 2011.
    """

    # A row of gradient 0 does not change, so a dense gradient can replace a sparse one.
    keeps_rows_of_gradient_0 = True
    sums_rows = True

    def update(self, grad, variable, rate):
        """Updates a variable and its accumulator."""
        accumulator = self.slot(self._accumulators, variable)
        rate = tf.cast(rate, variable.dtype)
        slots = {
            "var": variable.handle,
            "accum": accumulator.handle,
            "lr": rate,
            "epsilon": tf.cast(self.epsilon, variable.dtype),
        }
        if not isinstance(grad, tf.IndexedSlices):
            tf.raw_ops.ResourceApplyAdagradV2(grad=grad, **slots)
            return
        count = variable.shape[0]

        def whole_table():
            summed = tf.math.unsorted_segment_sum(grad.values, grad.indices, count)
            tf.raw_ops.ResourceApplyAdagradV2(grad=summed, **slots)

        def rows_of_gradient():
            # ResourceSparseApplyAdagradV2 uses one thread, and takes twice the time for a table of
            # 1 million rows.
            summed = grad if self._unique_rows else sum_repeated_rows(grad)
            rows, values = summed.indices, summed.values
            squares = read_rows(accumulator, rows) + tf.square(values)
            write_rows(accumulator, rows, squares)
            update = rate * values / (tf.sqrt(squares) + slots["epsilon"])
            write_rows(variable, rows, read_rows(variable, rows) - update)

        tf.cond(tf.size(grad.indices) * _DENSE_SPEEDUP >= count, whole_table, rows_of_gradient)
