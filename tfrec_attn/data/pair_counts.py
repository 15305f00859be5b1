"""Counts of more ordered pairs than fit into memory."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from tfrec_attn.data.array_files import append_array
from tfrec_attn.data.transitions import Transitions

_BUCKET = 4_000_000  # pairs


class PairCounts:
    """Counts pairs of items that come in any order, in files by the first of the two.

    Args:
        folder: Where the files lie, empty.
        num_items: N.
        pairs: About how many come.
    """

    def __init__(self, folder: Path, num_items: int, pairs: int):
        self._folder, self._base = folder, num_items + 1
        self._buckets = 1 + pairs // _BUCKET

    def add(self, first: np.ndarray, second: np.ndarray) -> None:
        """Counts the pairs (first, second), items 1..N."""
        pairs = np.sort(first.astype(np.int64) * self._base + second)
        ends = np.searchsorted(pairs, self._bounds())
        for bucket, (begin, end) in enumerate(pairwise(ends)):
            with open(self._folder / f"pairs-{bucket}.bin", "ab") as file:
                append_array(file, pairs[begin:end])

    def result(self) -> Transitions:
        """All counts, as `count_transitions` returns them."""
        rows, neighbours, counts = np.zeros(self._base, np.int64), [], []
        for bucket in range(self._buckets):
            path = self._folder / f"pairs-{bucket}.bin"
            pairs, count = np.unique(np.fromfile(path, np.int64) if path.exists() else np.zeros(0, np.int64), return_counts=True)
            rows += np.bincount(pairs // self._base, minlength=self._base)
            neighbours.append((pairs % self._base).astype(np.int32))
            counts.append(count.astype(np.int64))
        offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        return Transitions(self._base - 1, offsets, np.concatenate(neighbours), np.concatenate(counts))

    def _bounds(self) -> np.ndarray:
        """Where each bucket begins, and the end of the last."""
        return np.array([bucket * self._base // self._buckets for bucket in range(self._buckets + 1)], np.int64) * self._base
