"""Adagrad whose sparse step costs what the rows of the gradient cost."""

import tensorflow as tf

from tfrec_attn.optimizers.distinct_rows import DistinctRows, read_rows, write_rows
from tfrec_attn.optimizers.gradients import sum_repeated_rows

# The dense kernel is that many times faster a row; on rows without a gradient it changes nothing.
_DENSE_FASTER_FROM = 2


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class Adagrad(DistinctRows, tf.keras.optimizers.Adagrad):
    """Keras' Adagrad, which reads and writes each row of a sparse gradient once, and else takes
    TensorFlow's fused kernel.

        accumulator += g^2;   w -= learning_rate * g / (sqrt(accumulator) + epsilon)

    A sparse gradient touches only its rows of the table and of the accumulator; rows that it names
    more than once are summed first. The root is taken before epsilon is added (Keras adds it
    inside).

    Args: those of `tf.keras.optimizers.Adagrad`: learning_rate (0.001), initial_accumulator_value
    (0.1), epsilon (1e-7), and more.

    Reference: Duchi, Hazan, Singer, Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization, JMLR 2011.
    """

    # So that a dense gradient may stand for a sparse one.
    leaves_rows_of_gradient_0 = True

    def _deduplicate_sparse_grad(self, grads):
        return grads

    def update_step(self, grad, variable):
        accumulator = self._accumulators[self._index_dict[self._var_key(variable)]]
        rate = tf.cast(self.learning_rate, variable.dtype)
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

        def touched_rows():
            # Not ResourceSparseApplyAdagradV2: its one thread waits for the memory row by row,
            # twice as long in a table of 1 million rows.
            summed = grad if self._distinct else sum_repeated_rows(grad)
            rows, values = summed.indices, summed.values
            squares = read_rows(accumulator, rows) + tf.square(values)
            write_rows(accumulator, rows, squares)
            update = rate * values / (tf.sqrt(squares) + slots["epsilon"])
            write_rows(variable, rows, read_rows(variable, rows) - update)

        tf.cond(tf.size(grad.indices) * _DENSE_FASTER_FROM >= count, whole_table, touched_rows)
