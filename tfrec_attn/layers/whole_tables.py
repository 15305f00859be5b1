"""Tables of which a training step reads all rows."""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

_CURRENT = contextvars.ContextVar("whole_tables", default=None)


class WholeTables:
    """Tables that a training step reads as a whole, and the ids that it looks up in them.

    If a step looks up most rows of a table, a dense gradient costs less than a sparse one, whose
    rows must be found, gathered and summed. L2 regularisation and the max-norm constraint apply to
    the rows of these ids.

    Args:
        tables: `EmbeddingTable`s.
    """

    def __init__(self, tables):
        self._ids = {table: [] for table in tables}
        self._candidates = None

    def __contains__(self, table):
        return table in self._ids

    @contextlib.contextmanager
    def reading(self) -> Iterator["WholeTables"]:
        """Inside the context, lookups in these tables read all rows."""
        token = _CURRENT.set(self)
        try:
            yield self
        finally:
            _CURRENT.reset(token)

    @contextlib.contextmanager
    def only(self, ids: tf.Tensor) -> Iterator[None]:
        """Inside the context, reading all rows of a table counts as a lookup of some ids."""
        self._candidates = ids
        try:
            yield
        finally:
            self._candidates = None

    def record(self, table, ids: tf.Tensor | None) -> None:
        """Records the ids that are looked up in a table; None: all rows are read."""
        self._ids[table].append(self._candidates if ids is None else ids)

    def times(self, table) -> tf.Tensor | None:
        """Returns how often each row was looked up, float32 [N + 1]; None if all rows were used."""
        found = self._ids[table]
        if not found or any(ids is None for ids in found):
            return None
        ids = tf.concat([tf.reshape(one, [-1]) for one in found], axis=0)
        times = tf.math.unsorted_segment_sum(tf.ones_like(ids, tf.float32), ids, table.count + 1)
        return tf.ensure_shape(times, [table.count + 1])


def whole_tables() -> WholeTables:
    """Returns the `WholeTables` of the current context, by default without tables."""
    return _CURRENT.get() or WholeTables([])
