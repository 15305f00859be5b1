"""The max-norm constraint on the rows of a table."""

import tensorflow as tf

from tfrec_attn.keras_versions.variables import gather_from, variable_of
from tfrec_attn.layers.support import positive_number


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class MaxNorm(tf.keras.constraints.Constraint):
    """Limits the norm of the rows of a table.

        row <- row * max_norm / |row|   where |row| > max_norm;   other rows do not change

    As a Keras constraint (`add_weight(..., constraint=MaxNorm())`), it reads and writes the whole
    table at each step. If a step updates only a few rows, call `project_rows` with these rows
    instead. Both change values after a step and have no gradient. Norms are computed in float32 or
    float64.

    Args:
        max_norm: Largest norm of a row, above 0. Default 1.

    Shapes:
        table [..., D] -> [..., D], same dtype.

    Reference:
        Hsieh et al., "Collaborative Metric Learning", WWW 2017, section 3.1; Zhang et al., "Next
        Item Recommendation with Self-Attentive Metric Learning", arXiv 1808.06414, norm clipping.
    """

    def __init__(self, max_norm=1.0):
        self.max_norm = positive_number("max_norm", max_norm)

    def __call__(self, w):
        table = tf.stop_gradient(tf.convert_to_tensor(w))
        wide = self._wide(table)
        norm = tf.norm(wide, axis=-1, keepdims=True)
        scaled = wide * (self.max_norm / tf.maximum(norm, self.max_norm))
        return tf.where(norm > self.max_norm, tf.cast(scaled, table.dtype), table)

    def project_rows(self, variable, rows, of_all_replicas=False):
        """Scales some rows of a table in place, at a cost that does not depend on its size.

        Args:
            variable: Table [N, D], a tf.Variable or a Keras 3 variable.
            rows: Row indices, int [R]; repeated rows cost time. Each replica of a
                `tf.distribute.Strategy` passes its own rows, and scales the rows of all replicas.
            of_all_replicas: Whether `rows` already has the rows of all replicas. Default False.
        """
        table = variable_of(variable)
        rows = tf.convert_to_tensor(rows, dtype_hint=tf.int64)
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1 and not of_all_replicas:
            # A scatter changes only the copy of this replica, so each replica must scale the same
            # rows.
            rows = replica.all_gather(rows, axis=0)
        values = gather_from(table, rows)
        outside = tf.where(tf.norm(self._wide(values), axis=-1) > self.max_norm)[:, 0]
        # Most rows are within the norm and are not written.
        table.scatter_update(
            tf.IndexedSlices(self(tf.gather(values, outside)), tf.gather(rows, outside))
        )

    def project_table(self, variable, mask):
        """Scales the rows of a table where a mask, bool [N], is True.

        It reads and writes all rows. After a dense update this is faster than `project_rows`. All
        replicas must pass the same mask.
        """
        table = variable_of(variable)
        rows = tf.convert_to_tensor(table)
        wide = self._wide(rows)
        norm = tf.norm(wide, axis=-1, keepdims=True)
        scaled = tf.cast(wide * (self.max_norm / tf.maximum(norm, self.max_norm)), rows.dtype)
        outside = mask[:, tf.newaxis] & (norm > self.max_norm)
        # After a scatter TensorFlow would copy the table for each later read and dense update.
        tf.raw_ops.AssignVariableOp(resource=table.handle, value=tf.where(outside, scaled, rows))

    @staticmethod
    def _wide(table):
        return tf.cast(table, tf.float64 if table.dtype == tf.float64 else tf.float32)

    def get_config(self):
        return {"max_norm": self.max_norm}
