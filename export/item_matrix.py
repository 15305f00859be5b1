"""A copy of a model that reads its items in one matrix, the one that is served."""

import numpy as np
import tensorflow as tf

from .weights import weights_of


def with_item_matrix(model):
    """A copy of a model in float32 whose tables of items are read in the matrix of item vectors, where they are columns of it.

    Args:
      model: a `SequenceModel`, which stays as it is.

    Returns: (copy, item_vectors), the latter a variable [N + 1, D'] with zeros in row 0.
    """
    copy = _in_float32(model)
    values = copy.item_vectors().numpy()
    values[0] = 0.0
    matrix = tf.Variable(values, trainable=False, name="item_vectors")
    for table in copy.tables("items"):
        column = _column_of(table.numpy(), values)
        if column is not None:
            copy.share_table(table, matrix, column)
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


def _column_of(table, matrix):
    """First column from which on the matrix holds the table, the padding row aside, or None."""
    for column in range(matrix.shape[1] - table.shape[1] + 1):
        block = matrix[:, column : column + table.shape[1]]
        if np.array_equal(block[1], table[1]) and np.array_equal(block[1:], table[1:]):
            return column
    return None
