"""Weights and gradients as types of TensorFlow, and a check against objects of the other Keras."""

import tensorflow as tf


def variable_of(weight):
    """Returns the `tf.Variable` of a weight, which can be a variable of Keras 3."""
    return weight if isinstance(weight, tf.Variable) else weight.value


def gather_from(weight, rows):
    """Returns rows of a weight, as `tf.gather` does, at a cost independent of its size.

    If several replicas have a variable, `tf.gather` reads all of its rows, and copies them after
    sparse updates.
    """
    return tf.gather(_of_this_replica(weight), rows)


def read_whole(weight):
    """Returns all of a weight as a tensor, without a copy unless it is on another device.

    After a gather or a sparse update, TensorFlow copies a variable on every read, until
    `DisableCopyOnRead` is called. XLA, LiteRT and ONNX do not know this operation.
    """
    if tf.distribute.get_replica_context() is not None:
        tf.raw_ops.DisableCopyOnRead(resource=_of_this_replica(weight).handle)
    return tf.convert_to_tensor(weight)


def _of_this_replica(weight):
    """Returns the copy of a weight's variable that belongs to this replica."""
    variable, replica = variable_of(weight), tf.distribute.get_replica_context()
    if replica is None:
        return variable
    copies = replica.strategy.experimental_local_results(variable)
    number = 0 if len(copies) == 1 else tf.get_static_value(replica.replica_id_in_sync_group)
    return copies[number % len(copies)]


def averages_of(optimizer):
    """Returns the moving averages that an optimizer keeps, in the order of the weights.

    The result is empty unless the optimizer was made with `use_ema`.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return [variable_of(one) for one in getattr(inner, "_model_variables_moving_average", [])]


def sum_repeated_rows(gradient):
    """Returns a sparse gradient with unique rows; a dense one, or None, does not change."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, index = tf.unique(gradient.indices, tf.int64)
    values = tf.math.unsorted_segment_sum(gradient.values, index, tf.shape(rows)[0])
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def scale_gradient(gradient, factor):
    """Returns a dense or sparse gradient times a number; None does not change."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return None if gradient is None else gradient * factor


def check_same_keras(name, value):
    """Checks that an argument is not an object of the Keras version that this process does not use.

    Raises:
        ValueError: If it is.
    """
    own = tf.keras.layers.Layer.__module__.partition(".")[0]
    other = {"keras": "tf_keras", "tf_keras": "keras"}[own]
    if any(one.__module__.partition(".")[0] == other for one in type(value).__mro__):
        raise ValueError(
            f"{name} must be an object of {own}, the Keras of this process, but is "
            f"{type(value).__name__} of {other}: take it from tf.keras, or choose the other Keras "
            "by TF_USE_LEGACY_KERAS before TensorFlow is imported."
        )
