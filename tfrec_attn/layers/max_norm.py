"""Rows of a table kept in a ball."""

import math
import numbers

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class MaxNorm(tf.keras.constraints.Constraint):
    """Projects every row of a table onto the ball of radius `max_norm`.

        row <- row * max_norm / |row|   where |row| > max_norm;   any other row keeps its bits

    As a constraint (`add_weight(..., constraint=MaxNorm())`) it reads and writes the whole table at
    each step. A model that updates a few rows a step calls `project_rows` on these instead. Both
    act on values after a step: no gradient flows through them. Norms are taken in float32 where the
    table is narrower.

    Args:
        max_norm: radius of the ball, above 0.

    Shapes:
        table [..., D] -> [..., D], same dtype.

    Reference:
        Hsieh et al., "Collaborative Metric Learning", WWW 2017, section 3.1; Zhang et al., "Next
        Item Recommendation with Self-Attentive Metric Learning", arXiv 1808.06414, norm clipping.
    """

    def __init__(self, max_norm=1.0):
        if (
            not isinstance(max_norm, numbers.Real)
            or isinstance(max_norm, bool)
            or not 0 < max_norm < math.inf
        ):
            raise ValueError(
                f"MaxNorm: `max_norm` must be a finite number above 0; got {max_norm!r}."
            )
        self.max_norm = float(max_norm)

    def __call__(self, w):
        table = tf.stop_gradient(tf.convert_to_tensor(w))
        wide = self._wide(table)
        norm = tf.norm(wide, axis=-1, keepdims=True)
        scaled = wide * (self.max_norm / tf.maximum(norm, self.max_norm))
        return tf.where(norm > self.max_norm, tf.cast(scaled, table.dtype), table)

    def project_rows(self, variable, rows, of_all_replicas=False):
        """Projects only the given rows of a table in place, at a cost that does not depend on the
        table's size.

        Args:
            variable: table [N, D], a tf.Variable or a Keras 3 variable.
            rows: integers [R] of the rows, each once (a repeated one costs time and changes
                nothing). In a replica of a `tf.distribute.Strategy` these are the replica's own,
                and every replica projects the rows of all.
            of_all_replicas: the rows are those of all replicas already, the same in each. Default
                False.
        """
        table = variable if isinstance(variable, tf.Variable) else variable.value
        rows = tf.convert_to_tensor(rows, dtype_hint=tf.int64)
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1 and not of_all_replicas:
            # A scatter in a replica reaches its own copy only: with different rows the copies would
            # drift apart.
            rows = replica.all_gather(rows, axis=0)
        values = tf.gather(table, rows)
        outside = tf.where(tf.norm(self._wide(values), axis=-1) > self.max_norm)[:, 0]
        # Most rows are inside: these are not written.
        table.scatter_update(
            tf.IndexedSlices(self(tf.gather(values, outside)), tf.gather(rows, outside))
        )

    @staticmethod
    def _wide(table):
        return tf.cast(table, tf.float64 if table.dtype == tf.float64 else tf.float32)

    def get_config(self):
        return {"max_norm": self.max_norm}
