"""Adam whose sparse step costs what the rows of the gradient cost."""

import tensorflow as tf

from tfrec_attn.optimizers.distinct_rows import DistinctRows, read_rows, write_rows


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class LazyAdam(DistinctRows, tf.keras.optimizers.Adam):
    """Adam that leaves rows without a gradient alone, their moments too.

        m = beta_1 m + (1 - beta_1) g;   v = beta_2 v + (1 - beta_2) g^2
        w -= learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    A sparse gradient touches only its rows of w, m and v; rows that it names more than once are
    summed first. A dense one is Keras' Adam, which also moves rows of gradient 0 by what is left of
    their moments, and so reads and writes whole tables. t counts the steps of training, not those
    of a row.

    Args: those of `tf.keras.optimizers.Adam` without amsgrad and weight_decay: learning_rate
    (0.001), beta_1 (0.9), beta_2 (0.999),
      epsilon (1e-7), and more.

    Errors: ValueError for amsgrad or weight_decay.

    Reference: Kingma, Ba, Adam: A Method for Stochastic Optimization, ICLR 2015; lazy as
    `torch.optim.SparseAdam`.
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-7,
        amsgrad=False,
        weight_decay=None,
        **kwargs,
    ):
        kwargs.setdefault("name", "LazyAdam")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **kwargs)
        for key, value in (("amsgrad", amsgrad), ("weight_decay", weight_decay)):
            if value:
                raise ValueError(
                    f"{key} must be left out of lazy_adam, since it would touch every row, but is {value}; use adam."
                )

    def update_step(self, gradient, variable):
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        slot = self._index_dict[self._var_key(variable)]
        rows, values, dtype = gradient.indices, gradient.values, variable.dtype
        m = self._moving_mean(self._momentums[slot], rows, values, self.beta_1)
        v = self._moving_mean(self._velocities[slot], rows, tf.square(values), self.beta_2)
        step = tf.cast(self.iterations + 1, dtype)
        correction = tf.sqrt(1 - tf.pow(tf.cast(self.beta_2, dtype), step)) / (
            1 - tf.pow(tf.cast(self.beta_1, dtype), step)
        )
        update = tf.cast(self.learning_rate, dtype) * correction * m / (tf.sqrt(v) + self.epsilon)
        write_rows(variable, rows, read_rows(variable, rows) - update)

    @staticmethod
    def _moving_mean(moment, rows, values, beta):
        """`beta * old + (1 - beta) * values` of some rows, which it also writes."""
        old = read_rows(moment, rows)
        new = old + (1 - beta) * (values - old)
        write_rows(moment, rows, new)
        return new
