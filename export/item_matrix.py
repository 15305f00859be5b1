"""A copy of a model that reads its items in one matrix, the one that is served."""

import tensorflow as tf

from .weights import weights_of


def with_item_matrix(model):
    """Copies a model in float32; its tables of items that are columns of the matrix of item vectors
    are read there.

    Args:
      model: a `SequenceModel`, which stays as it is.

    Returns: (copy, item_vectors), the latter a variable [N + 1, D'] with zeros in row 0.
    """
    copy = _in_float32(model)
    values = copy.item_vectors().numpy()
    values[0] = 0.0
    matrix = tf.Variable(values, trainable=False, name="item_vectors")
    for table, column in copy.item_columns().items():
        table.share(matrix, column)
    return copy, matrix


def _in_float32(model):
    policy = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("float32")
    try:
        copy = type(model).from_config(model.get_config())
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)
    copy.set_weights([variable.numpy() for variable in weights_of(model)])
    return copy
