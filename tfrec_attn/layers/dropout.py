"""Dropout with reproducible masks."""

import contextlib
import contextvars
import itertools
from collections.abc import Iterator

import tensorflow as tf

from tfrec_attn.layers.support import without_autograph

# Inside `masks_of_step`: (seed, number of the step's first mask, counter of its masks).
_MASKS = contextvars.ContextVar("masks", default=None)

_MASKS_PER_STEP = 1 << 16
_PHILOX = 1


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class Dropout(tf.keras.layers.Dropout):
    """Dropout whose masks a resumed training can draw again.

        y = x * m / (1 - rate) in training,   m = 1 with probability 1 - rate, else 0

    Inside `masks_of_step`, a mask depends only on the seed, the step, the replica and the call.
    Elsewhere the masks are those of Keras, whose generators are not part of a checkpoint.

    Args:
        rate: Probability in [0, 1) of dropping a value in training.
        **kwargs: Arguments of `tf.keras.layers.Dropout`.

    Shapes:
        inputs [...] -> [...].

    Reference:
        Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
        JMLR 2014.
    """

    @without_autograph
    def call(self, inputs, training=None):
        masks = _MASKS.get()
        if masks is None or not training or not self.rate:
            return super().call(inputs, training=training)
        seed, first, calls = masks
        kept = _kept(tf.shape(inputs), self.rate, tf.stack([seed, first + next(calls)]))
        return _scaled(inputs, tf.where(kept, 1 / (1 - self.rate), 0.0))


def _kept(shape, rate, seed):
    """Returns a bool tensor of a shape; each value is True with probability 1 - rate."""
    # Key and counter are those of tf.nn.experimental.stateless_dropout(rng_alg="philox"), computed
    # with a quarter of its operations.
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    source = {"key": key, "counter": counter, "alg": _PHILOX}
    if not (256 * rate).is_integer():
        uniform = tf.raw_ops.StatelessRandomUniformV2(shape=shape, **source, dtype=tf.float32)
        return uniform >= rate
    # For a rate such as 0.5, random bytes have the exact probability. An integer has four bytes.
    count = tf.reduce_prod(shape)
    words = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[(count + 3) // 4], **source, dtype=tf.uint32
    )
    draws = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:count]
    return tf.reshape(draws, shape) >= tf.cast(256 * rate, tf.uint8)


def _scaled(x, mask):
    @tf.custom_gradient
    def scaled(x):
        return x * mask, lambda upstream: upstream * mask

    mask = tf.cast(mask, x.dtype)
    return scaled(x)


@contextlib.contextmanager
def masks_of_step(seed: int, step: tf.Tensor) -> Iterator[None]:
    """Makes each `Dropout` mask a function of the seed, the step, the replica and the call.

    Args:
        seed: Seed of the training.
        step: Steps done before this one, int64 [].
    """
    context = tf.distribute.get_replica_context()
    number = tf.cast(step, tf.int64) * context.num_replicas_in_sync + tf.cast(
        context.replica_id_in_sync_group, tf.int64
    )
    token = _MASKS.set((tf.constant(seed, tf.int64), number * _MASKS_PER_STEP, itertools.count()))
    try:
        yield
    finally:
        _MASKS.reset(token)
