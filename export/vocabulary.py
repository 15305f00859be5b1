"""Lookup tables between ids and rows in the graph of a SavedModel."""

from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from tfrec_attn.errors import ConfigError, shown

SEPARATOR = "\t"


class LineTable(tf.Module):
    """The lines of a text file by their numbers 1..N, "" for 0.

    Args:
        path: UTF-8 text file. It becomes an asset of the SavedModel.
        size: N, the number of lines.
    """

    def __init__(self, path: str | Path, size: int):
        super().__init__()
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        to_line = tf.lookup.TextFileInitializer(
            _AssetPath(path), tf.int64, number, tf.string, line, vocab_size=size
        )
        self._lines = tf.lookup.StaticHashTable(to_line, default_value="")

    def lines(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns lines by their numbers: int32 [...] -> string [...]."""
        return self._lines.lookup(tf.cast(rows, tf.int64) - 1)


class VocabularyTable(tf.Module):
    """A two-way table between ids and rows 1..N. Row 0 stands for "" and every unknown id.

    Args:
        path: UTF-8 text file with one id a line. It becomes an asset of the SavedModel.
        size: N, the number of lines.
        both_ways: Whether to support `ids` too (default: True).
    """

    def __init__(self, path: str | Path, size: int, both_ways: bool = True):
        super().__init__()
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        to_number = tf.lookup.TextFileInitializer(
            _AssetPath(path), tf.string, line, tf.int64, number, vocab_size=size
        )
        self._numbers = tf.lookup.StaticHashTable(to_number, default_value=-1)
        if both_ways:
            self._ids = LineTable(path, size)

    def rows(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns the rows of ids: string [...] -> int32 [...], 0 if unknown."""
        return tf.cast(self._numbers.lookup(ids), tf.int32) + 1

    def ids(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the ids of rows: int32 [...] -> string [...], "" for row 0."""
        return self._ids.lines(rows)


class _AssetPath(str):
    """A path whose `str` is its last two parts.

    TensorFlow names its tables by `str`, so that a SavedModel does not contain the whole path.
    """

    __slots__ = ()

    def __str__(self):
        return "/".join(self.split("/")[-2:])


def check_separator(separator: str, ids: Iterable[str], what: str = "item") -> None:
    """Checks that a text of joined ids can be split again.

    Args:
        separator: One character.
        ids: The ids that are joined.
        what: Kind of the ids in the message (default: "item").

    Raises:
        ConfigError: If the separator is not one Unicode character, or an id contains it.
    """
    if len(separator) != 1 or "\ud800" <= separator <= "\udfff":
        raise ConfigError(f"--separator must be one character, but is {shown(separator)}.")
    broken = next((one for one in ids if separator in one), None)
    if broken is not None:
        raise ConfigError(
            f"--separator must not be in any id, but {separator!r} is in the {what} "
            f"{shown(broken)}; name another character."
        )
