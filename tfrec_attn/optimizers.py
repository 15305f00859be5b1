"""Adagrad whose sparse step is one kernel over the rows of the gradient."""

import tensorflow as tf

# The dense kernel is that many times faster a row; on rows without a gradient it changes nothing.
_DENSE_FASTER_FROM = 4


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class Adagrad(tf.keras.optimizers.Adagrad):
    """Keras' Adagrad, with TensorFlow's fused kernels for the update.

        accumulator += g^2;   w -= learning_rate * g / (sqrt(accumulator) + epsilon)

    A sparse gradient touches only its rows of the table and of the accumulator; rows that it names more than once are summed first. The
    root is taken before epsilon is added (Keras adds it inside).

    Args: those of `tf.keras.optimizers.Adagrad`: learning_rate (0.001), initial_accumulator_value (0.1), epsilon (1e-7), and more.

    Reference: Duchi, Hazan, Singer, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, JMLR 2011.
    """

    def update_step(self, grad, variable):
        accumulator = self._accumulators[self._index_dict[self._var_key(variable)]]
        rate = tf.cast(self.learning_rate, variable.dtype)
        slots = {"var": variable.handle, "accum": accumulator.handle, "lr": rate, "epsilon": tf.cast(self.epsilon, variable.dtype)}
        slots.update(use_locking=False, update_slots=True)
        if not isinstance(grad, tf.IndexedSlices):
            tf.raw_ops.ResourceApplyAdagradV2(grad=grad, **slots)
            return
        count = tf.shape(variable)[0]

        def whole_table():
            summed = tf.math.unsorted_segment_sum(grad.values, grad.indices, count)
            tf.raw_ops.ResourceApplyAdagradV2(grad=summed, **slots)

        def touched_rows():
            rows, local = tf.unique(grad.indices)
            summed = tf.math.unsorted_segment_sum(grad.values, local, tf.shape(rows)[0])
            tf.raw_ops.ResourceSparseApplyAdagradV2(grad=summed, indices=rows, **slots)

        tf.cond(tf.size(grad.indices) * _DENSE_FASTER_FROM >= count, whole_table, touched_rows)
