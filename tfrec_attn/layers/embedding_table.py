"""The embedding of users or items."""

import contextlib
import contextvars
import numbers
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tfrec_attn.keras_versions import keras
from tfrec_attn.keras_versions.variables import gather_from, read_whole
from tfrec_attn.layers.max_norm import MaxNorm
from tfrec_attn.layers.rows import gather_rows
from tfrec_attn.layers.support import Layer
from tfrec_attn.layers.whole_tables import whole_tables

# Inside `reading`: rows by table.
_ROWS = contextvars.ContextVar("rows", default=None)
# Whether all rows are read without a copy inside a `tf.function`.
_IN_PLACE = contextvars.ContextVar("in_place", default=False)


def take(vectors: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
    """Returns rows of a variable: [R, D], int [...] -> [..., D].

    After a gather from the variable itself, TensorFlow would copy it on each read of all rows.
    """
    return tf.gather(tf.convert_to_tensor(vectors), ids)


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class EmbeddingTable(Layer):
    """An embedding with one row for each user or item, and row 0 for padding.

        table(ids) = E[ids], zeros where ids = 0;    table.rows(items) = E[items]

    The gradient of a lookup is sparse with unique rows, so the cost of a step does not depend on
    the size of the table. The gradient is dense if the loss (`dense_gradients`) or the step
    (`WholeTables`) reads the whole table.

    Args:
        count: N, the number of users or items.
        dim: D, width of a row.
        of: What the rows belong to: "items" (default), "users" or "other".
        stddev: Standard deviation of the initial rows, drawn with mean 0. Default 0.01.
        max_norm: Largest norm of a row that a training step updates; None (default): no limit.

    Shapes:
        ids int [...] in 0..N -> float32 [..., D].

    Raises:
        ValueError: If `count` or `dim` is below 1, `of` is unknown, `stddev` is below 0 or
            `max_norm` is not above 0.
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
            **keras.WITHOUT_AUTOCAST,
        )
        self.built = True

    def call(self, ids):
        if self._shared is not None:
            # Row 0 of the shared matrix is 0.
            return self._shared_rows(ids)
        rows, index = (self._all_rows(ids), ids) if self._is_whole() else self.unique_rows(ids)
        return gather_rows(rows, index) * tf.cast(ids > 0, rows.dtype)[..., tf.newaxis]

    def unique_rows(self, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the rows of ids without repetition, as `tf.unique` does.

        A layer can project these rows before it gathers them for each position. The rows are not
        unique in an export and with dense gradients.

        Args:
            ids: int [...] in 0..N.

        Returns:
            (rows [R, D], index int [...]) with `rows[index] == E[ids]`.
        """
        given = self._given()
        if given is not None:
            return given, ids
        flat = tf.reshape(ids, [-1])
        if self._shared is not None:
            rows = self._shared_rows(flat)
            return rows, tf.reshape(tf.range(tf.size(ids, tf.int64)), tf.shape(ids))
        if self.dense_gradients:
            return self._all_rows(), ids
        unique, index = tf.unique(flat, tf.int64)
        return self.rows(unique), tf.reshape(index, tf.shape(ids))

    def rows(self, ids: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the rows [R, D] of unique ids, int [R], or by default of all ids 0..N."""
        given = self._given()
        if given is not None:
            return given if ids is None else gather_rows(given, ids)
        if ids is None:
            return self._all_rows()
        if self._is_whole():
            return gather_rows(self._all_rows(ids), ids)
        return gather_from(self.embeddings, ids)

    def share(
        self,
        vectors: Any,
        column: int,
        rows_of: Callable[[Any, tf.Tensor], tf.Tensor] = take,
    ) -> None:
        """Makes the table read its rows from columns of a matrix, which an export stores once.

        Args:
            vectors: Matrix [N + 1, D'] with the rows in its columns `column` to `column` + D, and
                zeros in row 0.
            column: First of these columns.
            rows_of: Function of the matrix and ids that returns its rows. Default: `take`.
        """
        # Keras keeps track of attributes, and would save the matrix with each table.
        self._shared = lambda: (vectors, column, rows_of)

    def _is_whole(self):
        """Returns whether the step reads all rows, and `reading` gives no other rows."""
        return self in whole_tables() and self._given() is None

    def _all_rows(self, ids=None):
        """Returns all rows; the caller uses those of `ids`, by default all."""
        if self._is_whole():
            whole_tables().record(self, ids)
        in_place = tf.executing_eagerly() or _IN_PLACE.get()
        return read_whole(self.embeddings) if in_place else tf.convert_to_tensor(self.embeddings)

    def _shared_rows(self, ids):
        vectors, column, rows_of = self._shared()
        rows = rows_of(vectors, ids)
        whole = self.dim == vectors.shape[1]
        return rows if whole else rows[..., column : column + self.dim]

    def _given(self):
        """Returns the rows of `reading`, or None."""
        return (_ROWS.get() or {}).get(self)


@contextlib.contextmanager
def reading(rows: dict[EmbeddingTable, tf.Tensor]) -> Iterator[None]:
    """Inside the context, tables read the given rows instead of their own, with dense gradients.

    Args:
        rows: Rows of each table, [N + 1, D].
    """
    token = _ROWS.set({**(_ROWS.get() or {}), **rows})
    try:
        yield
    finally:
        _ROWS.reset(token)


@contextlib.contextmanager
def reading_in_place() -> Iterator[None]:
    """Functions that are traced inside the context read all rows of a table without a copy.

    XLA and the converters to LiteRT and ONNX refuse such functions. Eager reads never copy.
    """
    token = _IN_PLACE.set(True)
    try:
        yield
    finally:
        _IN_PLACE.reset(token)
