"""Ids and table rows inside a graph, from one text file that travels with the SavedModel."""

import tensorflow as tf


class _AssetPath(str):
    """A path whose text, by which TensorFlow names its tables in the SavedModel, has no more of it
    than its folder's name and its own.
    """

    __slots__ = ()

    def __str__(self):
        return "/".join(self.split("/")[-2:])


class VocabularyTable(tf.Module):
    """The two-way table between ids and rows 1..N; row 0 is "" and every unknown id.

    Args:
      path: UTF-8 text with one id a line, which becomes an asset of the SavedModel.
      size: N, lines of it.
      both_ways: whether `ids` is wanted too.
    """

    def __init__(self, path, size, both_ways=True):
        super().__init__()
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        path = _AssetPath(path)
        to_number = tf.lookup.TextFileInitializer(
            path, tf.string, line, tf.int64, number, vocab_size=size
        )
        self._numbers = tf.lookup.StaticHashTable(to_number, default_value=-1)
        if both_ways:
            to_line = tf.lookup.TextFileInitializer(
                path, tf.int64, number, tf.string, line, vocab_size=size
            )
            self._lines = tf.lookup.StaticHashTable(to_line, default_value="")

    def rows(self, ids):
        """string [...] -> int32 [...], 0 where unknown."""
        return tf.cast(self._numbers.lookup(ids), tf.int32) + 1

    def ids(self, rows):
        """int32 [...] -> string [...], "" where 0."""
        return self._lines.lookup(tf.cast(rows, tf.int64) - 1)
