"""The max-norm constraint on rows of a table."""

import tensorflow as tf

from tfrec_attn.keras_versions.variables import gather_from, variable_of
from tfrec_attn.layers.support import positive_number


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class MaxNorm(tf.keras.constraints.Constraint):
    """Scales rows of a table down to a largest norm.

        row <- row * max_norm / |row|   where |row| > max_norm;   other rows keep their bits

    As a Keras constraint (`add_weight(..., constraint=MaxNorm())`) it reads and writes the whole
    table at each step. A model that updates a few rows a step calls `project_rows` on these rows
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
            rows: Indices int [R], best without repetitions. Each replica of a
                `tf.distribute.Strategy` gives its own, and scales those of all replicas.
            of_all_replicas: Whether `rows` already are those of all replicas. Default False.
        """
        table = variable_of(variable)
        rows = tf.convert_to_tensor(rows, dtype_hint=tf.int64)
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1 and not of_all_replicas:
            # A scatter changes the copy of one replica only; with other rows on each replica the
            # copies would differ.
            rows = replica.all_gather(rows, axis=0)
        values = gather_from(table, rows)
        outside = tf.where(tf.norm(self._wide(values), axis=-1) > self.max_norm)[:, 0]
        # Most rows are short enough and are not written.
        table.scatter_update(
            tf.IndexedSlices(self(tf.gather(values, outside)), tf.gather(rows, outside))
        )

    def project_table(self, variable, mask):
        """Scales the rows of a table where a mask, bool [N], is True; it reads and writes all rows.

        Of the rows that a step updates densely this is faster than `project_rows`. Each replica
        has the same mask.
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
