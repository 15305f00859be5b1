"""An embedding of users or items with the gradients that a recommender needs."""

import inspect
import numbers

import tensorflow as tf

from tfrec_attn.layers.max_norm import MaxNorm
from tfrec_attn.layers.rows import gather_rows, unique_rows

# Keras 2 and Keras 3 call it otherwise.
_ARGUMENTS = inspect.signature(tf.keras.layers.Layer.add_weight).parameters
_AS_IT_IS = {"autocast" if "autocast" in _ARGUMENTS else "experimental_autocast": False}


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class EmbeddingTable(tf.keras.layers.Layer):
    """A row for each user or item, and row 0 for padding.

        table(ids) = E[ids], zeros where ids = 0;    table.rows(items) = E[items]

    The gradient of a lookup is sparse and names each row once, so that the cost of a step does not
    depend on the size of the table. Where a loss reads the whole table anyway (`dense_gradients`),
    lookups have dense gradients too.

    Args:
        count: N, users or items.
        dim: D, width of a row.
        of: "items" (default), "users" or "other".
        stddev: Of the normal distribution of the initial rows. Default 0.01.
        max_norm: Rows that a training step touches are rescaled to this norm where they exceed it;
            None (default) leaves them.

    Shapes:
        ids int [...] in 0..N -> float32 [..., D].

    Raises:
        ValueError: If `count` or `dim` is below 1, `stddev` below 0 or `max_norm` not above 0.
    """

    def __init__(self, count, dim, *, of="items", stddev=0.01, max_norm=None, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("count", count), ("dim", dim)):
            if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} of {self.name} must be at least 1, but is {value!r}.")
        if of not in ("items", "users", "other"):
            raise ValueError(f"of must be one of items, users, other, but is {of!r}.")
        if not stddev >= 0:
            raise ValueError(f"stddev must be at least 0, but is {stddev}.")
        self.count, self.dim, self.of, self.stddev = int(count), int(dim), of, stddev
        self.max_norm = max_norm
        self.constraint = None if max_norm is None else MaxNorm(max_norm)
        self.dense_gradients = False
        self._shared = None
        self.embeddings = self.add_weight(
            name=self.name,
            shape=(self.count + 1, self.dim),
            initializer=tf.keras.initializers.RandomNormal(stddev=stddev),
            trainable=True,
            **_AS_IT_IS,
        )
        self.built = True

    def call(self, ids):
        rows, local = self.distinct(ids)
        return gather_rows(rows, local) * tf.cast(ids > 0, rows.dtype)[..., tf.newaxis]

    def distinct(self, ids):
        """Returns rows [R, D] that hold those of the ids, and where in them each id stands, int32
        like `ids`.

        For layers that compute on rows before they are spread over positions.
        """
        if self._shared is not None:
            vectors, column = self._shared
            # The tensor first: a gather from a variable that is also read whole makes TensorFlow
            # copy it on every read.
            rows = tf.gather(tf.convert_to_tensor(vectors), tf.reshape(ids, [-1]))[
                :, column : column + self.dim
            ]
            return rows, tf.reshape(tf.range(tf.size(ids)), tf.shape(ids))
        if self.dense_gradients:
            return tf.convert_to_tensor(self.embeddings), ids
        return unique_rows(self.embeddings, ids)[:2]

    def rows(self, ids=None):
        """Returns the rows of distinct ids, int [R], or of all 0..N in order: [R, D]."""
        return (
            tf.convert_to_tensor(self.embeddings)
            if ids is None
            else tf.gather(self.embeddings, ids)
        )

    def share(self, vectors, column):
        """Reads the rows in the columns of a matrix from `column` on, so that they are kept once.

        Args:
            vectors: Variable [N + 1, D'], D' >= column + D, whose columns are equal to the rows.
            column: The first of them.
        """
        self._shared = (vectors, column)

    def get_config(self):
        return {
            **super().get_config(),
            "count": self.count,
            "dim": self.dim,
            "of": self.of,
            "stddev": self.stddev,
            "max_norm": self.max_norm,
        }
