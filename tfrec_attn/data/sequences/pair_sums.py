"""Sums over pairs of items, stored in files."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrec_attn.files.writing import append_array

_BUCKET = 4_000_000  # pairs in a file


class PairBlock(NamedTuple):
    """Distinct pairs of items, ascending.

    Attributes:
        first: Items 1..N, int64 [P].
        second: Items 1..N, int32 [P].
        sums: Sum of the weights of each pair, float64 [P], or the count of each pair, int64 [P].
    """

    first: np.ndarray
    second: np.ndarray
    sums: np.ndarray


class PairSums:
    """Sums the weights of pairs of items, which can be added in any order.

    Each file has the pairs of a range of first items.

    Args:
        folder: An empty folder for the files.
        num_items: N.
        pairs: Approximate number of pairs.
    """

    def __init__(self, folder: Path, num_items: int, pairs: int):
        self._folder, self._base = folder, num_items + 1
        self._buckets = 1 + pairs // _BUCKET

    def add(self, first: np.ndarray, second: np.ndarray, weight: float | None = None) -> None:
        """Adds the pairs (first, second), items 1..N; without a weight, they are counted.

        Either all calls have a weight, or no call has a weight.
        """
        pairs, weights = first.astype(np.int64) * self._base + second, None
        if weight is None:
            pairs.sort()
        else:
            pairs, counts = np.unique(pairs, return_counts=True)
            weights = float(weight) * counts
        # The start of each bucket, and the end of the last bucket.
        first_items = np.arange(self._buckets + 1) * self._base // self._buckets
        ends = np.searchsorted(pairs, first_items.astype(np.int64) * self._base)
        for bucket, (begin, end) in enumerate(pairwise(ends)):
            self._append("pairs", bucket, pairs[begin:end])
            if weights is not None:
                self._append("weights", bucket, weights[begin:end])

    def blocks(self) -> Iterator[PairBlock]:
        """Yields all pairs; the pairs of an item are in one block."""
        for bucket in range(self._buckets):
            pairs = self._read("pairs", bucket, np.int64)
            if (self._folder / f"weights-{bucket}.bin").exists():
                weights = self._read("weights", bucket, np.float64)
                pairs, place = np.unique(pairs, return_inverse=True)
                sums = np.bincount(place, weights, len(pairs))
            else:
                pairs, sums = np.unique(pairs, return_counts=True)
            yield PairBlock(pairs // self._base, (pairs % self._base).astype(np.int32), sums)

    def _append(self, kind: str, bucket: int, values: np.ndarray) -> None:
        with open(self._folder / f"{kind}-{bucket}.bin", "ab") as file:
            append_array(file, values)

    def _read(self, kind: str, bucket: int, dtype: type) -> np.ndarray:
        path = self._folder / f"{kind}-{bucket}.bin"
        return np.fromfile(path, dtype) if path.exists() else np.zeros(0, dtype)
