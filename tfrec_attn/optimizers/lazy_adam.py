"""Adam with fast sparse updates."""

import tensorflow as tf

from tfrec_attn.optimizers.adam import Adam
from tfrec_attn.optimizers.sparse_updates import read_rows, write_rows


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class LazyAdam(Adam):
    """Adam that updates only the rows of a sparse gradient, and their moments.

        m = beta_1 m + (1 - beta_1) g;   v = beta_2 v + (1 - beta_2) g^2
        w -= learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    Repeated rows of a sparse gradient are summed first. A dense gradient is applied as in `Adam`,
    which also moves rows of gradient 0 by their moments. t counts the steps of the training, not
    the updates of a row.

    Args:
        learning_rate: Number or schedule. Default 0.001.
        beta_1: Decay of the first moment. Default 0.9.
        beta_2: Decay of the second moment. Default 0.999.
        epsilon: Added to the root. Default 1e-7.
        amsgrad: Must be False.
        weight_decay: Must be None.
        **kwargs: Arguments of `tf.keras.optimizers.Adam`.

    Raises:
        ValueError: If `amsgrad` or `weight_decay` is set.

    Reference:
        Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015; lazy as
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
                    f"{key} must be left out of lazy_adam, since it updates all rows, "
                    f"but is {value}; use adam."
                )

    def update(self, gradient, variable, rate):
        """Updates a variable and its moments."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update(gradient, variable, rate)
            return
        rows, values, dtype = gradient.indices, gradient.values, variable.dtype
        first, second = (self.slot(one, variable) for one in (self._momentums, self._velocities))
        m = self._moving_mean(first, rows, values, self.beta_1)
        v = self._moving_mean(second, rows, tf.square(values), self.beta_2)
        step = tf.cast(self.iterations + 1, dtype)
        correction = tf.sqrt(1 - tf.pow(tf.cast(self.beta_2, dtype), step)) / (
            1 - tf.pow(tf.cast(self.beta_1, dtype), step)
        )
        update = tf.cast(rate, dtype) * correction * m / (tf.sqrt(v) + self.epsilon)
        write_rows(variable, rows, read_rows(variable, rows) - update)

    @staticmethod
    def _moving_mean(moment, rows, values, beta):
        """Writes and returns `beta * old + (1 - beta) * values` for some rows."""
        old = read_rows(moment, rows)
        new = old + (1 - beta) * (values - old)
        write_rows(moment, rows, new)
        return new
