"""Several steps of Keras in one call, traced once."""

import tensorflow as tf


def several_steps(step, count):
    """Returns a function of an iterator that runs `count` steps and returns the last outputs.

    The loop of Keras traces a step twice, because it has no outputs before the first step.

    Args:
        step: `tf.function` of an iterator, whose outputs are scalars.
        count: Number of steps, at least 1; an int32 scalar that is read at each call.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def steps(iterator):
        outputs = step.get_concrete_function(iterator).structured_outputs
        start = tf.nest.map_structure(lambda one: tf.zeros(one.shape, one.dtype), outputs)
        return tf.while_loop(
            lambda number, _: number < count,
            lambda number, _: (number + 1, step(iterator)),
            (tf.zeros_like(count), start),
        )[1]

    return steps
