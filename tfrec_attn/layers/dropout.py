"""Dropout whose masks can be made again."""

import contextlib
import contextvars
import itertools

import tensorflow as tf

_PLACE = contextvars.ContextVar("place", default=None)

# Layers that a step may go through, at most.
_CALLS = 1 << 16


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class Dropout(tf.keras.layers.Dropout):
    """Keras' dropout, with masks that are a function of the training step inside `masks_of_step`.

        y = x * m / (1 - rate) in training,   m = 1 with probability 1 - rate, else 0

    Keras' own masks come from generators whose state no checkpoint holds, so that a training that
    goes on from one would draw others.

    Args: those of `tf.keras.layers.Dropout`.

    Reference:
        Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR
            2014.
    """

    def call(self, inputs, training=None):
        place = _PLACE.get()
        if place is None or not training or not self.rate:
            return super().call(inputs, training=training)
        seed, first, calls = place
        return tf.nn.experimental.stateless_dropout(
            inputs, self.rate, tf.stack([seed, first + next(calls)]), rng_alg="philox"
        )


@contextlib.contextmanager
def masks_of_step(seed, step):
    """Within it the mask of a `Dropout` is a function of the seed, the step, the replica, and how
    many went before it in the step.

    Args:
        seed: int.
        step: int64 [], steps done before this one.
    """
    context = tf.distribute.get_replica_context()
    number = tf.cast(step, tf.int64) * context.num_replicas_in_sync + tf.cast(
        context.replica_id_in_sync_group, tf.int64
    )
    token = _PLACE.set((tf.constant(seed, tf.int64), number * _CALLS, itertools.count()))
    try:
        yield
    finally:
        _PLACE.reset(token)
