"""Adam with TensorFlow's fused kernel."""

import tensorflow as tf

from tfrec_attn.keras_versions import keras


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class Adam(keras.RowUpdates, tf.keras.optimizers.Adam):
    """Adam that updates a variable by one operation, where Keras needs a dozen.

        m = beta_1 m + (1 - beta_1) g;   v = beta_2 v + (1 - beta_2) g^2
        w -= learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    The operations of Keras apply sparse gradients, and all gradients with `amsgrad`.

    Args:
        **kwargs: Arguments of `tf.keras.optimizers.Adam`: learning_rate (0.001), beta_1 (0.9),
            beta_2 (0.999), epsilon (1e-7), and more.

    Reference:
        Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    def update(self, gradient, variable, rate):
        """Updates a variable and its moments."""
        if isinstance(gradient, tf.IndexedSlices) or self.amsgrad:
            self.update_as_keras(gradient, variable, rate)
            return
        first, second = (self.slot(one, variable) for one in (self._momentums, self._velocities))
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=tf.cast(rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, dtype),
            grad=gradient,
        )
