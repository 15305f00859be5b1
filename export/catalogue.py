"""The items file in the graph of a SavedModel: descriptions and categories of the items."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from .vocabulary import LineTable, VocabularyTable, check_separator


class Catalogue(tf.Module):
    """Descriptions and categories of the items 1..N.

    Args:
        items: (JSON, category) of each item in order; "" is unknown.
        separator: Character that joins categories in a request.
        folder: Folder of the assets, which this class writes.

    Attributes:
        size: Number of categories.
        of_items: Category number of each row, 1..size, int32 [N + 1]; 0 for no category and in row
            0, which is padding.

    Raises:
        ConfigError: If a category contains the separator.
    """

    def __init__(self, items: Sequence[tuple[str, str]], separator: str, folder: Path):
        super().__init__(name="catalogue")
        descriptions, categories = zip(*items, strict=True)
        names = list(dict.fromkeys(one for one in categories if one))
        check_separator(separator, names, "category")
        path = folder / "descriptions.jsonl"
        # TensorFlow's file initializer does not accept empty lines.
        _write(path, [one or "{}" for one in descriptions])
        self._descriptions = LineTable(path, len(descriptions))
        self._numbers, self.size = None, len(names)
        if names:
            _write(folder / "categories.txt", names)
            self._numbers = VocabularyTable(folder / "categories.txt", len(names), both_ways=False)
        numbers = {"": 0, **{name: number for number, name in enumerate(names, 1)}}
        self.of_items = tf.Variable(
            np.array([0, *(numbers[one] for one in categories)]),
            trainable=False,
            dtype=tf.int32,
            name="categories",
        )

    def describe(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the JSON of items: int32 [...] -> string [...], "" for row 0."""
        return self._descriptions.lines(rows)

    def numbers(self, categories: tf.Tensor) -> tf.Tensor:
        """Returns the numbers of categories: string [...] -> int32 [...], 0 if unknown."""
        if self._numbers is None:
            return tf.zeros_like(categories, tf.int32)
        return self._numbers.rows(categories)


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_bytes("".join(f"{one}\n" for one in lines).encode("utf-8"))
