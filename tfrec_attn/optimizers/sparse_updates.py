"""Reads and writes of single table rows, for optimizers with sparse gradients."""

import tensorflow as tf


def read_rows(variable: tf.Variable, rows: tf.Tensor) -> tf.Tensor:
    """Returns some rows of a table, [R, D], at a cost independent of the size of the table."""
    return tf.raw_ops.ResourceGather(resource=variable.handle, indices=rows, dtype=variable.dtype)


def write_rows(variable: tf.Variable, rows: tf.Tensor, values: tf.Tensor) -> None:
    """Writes rows [R, D] of a table in place; `rows` must be unique."""
    # This scatter uses all cores and copies whole rows, unlike scatters that add or subtract.
    tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=rows, updates=values)
