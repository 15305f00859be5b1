"""Tables of which a training step reads all rows."""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

_CURRENT = contextvars.ContextVar("whole_tables", default=None)


class WholeTables:
    """Tables that are read whole inside, and the ids that are looked up in them.

    Where a step looks up most rows of a table, its dense gradient costs less than a sparse one,
    whose rows are found, gathered and summed. The ids tell which rows L2 and max-norm apply to.

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
        """Lets the tables be read whole inside."""
        token = _CURRENT.set(self)
        try:
            yield self
        finally:
            _CURRENT.reset(token)

    @contextlib.contextmanager
    def only(self, ids: tf.Tensor) -> Iterator[None]:
        """Whoever reads all rows of a table inside uses those of some ids."""
        self._candidates = ids
        try:
            yield
        finally:
            self._candidates = None

    def look_up(self, table, ids: tf.Tensor | None) -> None:
        """Notes ids that are looked up in a table; None: all rows are read."""
        self._ids[table].append(self._candidates if ids is None else ids)

    def times(self, table) -> tf.Tensor | None:
        """Returns how often each row was looked up, float32 [N + 1]; None: all rows were used."""
        found = self._ids[table]
        if not found or any(ids is None for ids in found):
            return None
        ids = tf.concat([tf.reshape(one, [-1]) for one in found], axis=0)
        times = tf.math.unsorted_segment_sum(tf.ones_like(ids, tf.float32), ids, table.count + 1)
        return tf.ensure_shape(times, [table.count + 1])


def whole_tables() -> WholeTables:
    """Returns the tables that are read whole here; by default none."""
    return _CURRENT.get() or WholeTables([])
