"""Exact quantiles of more numbers than fit into memory."""

from collections.abc import Callable, Sequence

import numpy as np

_BINS = 1 << 16


class ChunkedArray:
    """Numbers that are read chunk by chunk, as often as needed.

    Args:
        chunks: Functions that each return a chunk of the numbers, int64 or float64.
    """

    def __init__(self, chunks: Sequence[Callable[[], np.ndarray]]):
        self._chunks = chunks

    def span(self) -> tuple[float, float]:
        """Returns the smallest and the largest number."""
        chunks = (read() for read in self._chunks)
        ends = [(chunk.min(), chunk.max()) for chunk in chunks if len(chunk)]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def quantile(self, share: float) -> float:
        """Returns `np.quantile(all, share, method="lower")`.

        One pass finds the narrow bin that holds the quantile, another reads the numbers in it.
        """
        low, high = self.span()
        edges = np.linspace(float(low), float(high), _BINS)[1:-1]
        counts = np.zeros(_BINS - 1, np.int64)
        for read in self._chunks:
            bins = np.searchsorted(edges, read(), side="right")
            counts += np.bincount(bins, minlength=len(counts))
        ends = np.cumsum(counts)
        rank = int(np.floor((ends[-1] - 1) * share))
        chosen = int(np.searchsorted(ends, rank, side="right"))
        inside = [self._inside(read(), edges, chosen) for read in self._chunks]
        values, inverse = np.unique(np.concatenate([one for one, _ in inside]), return_inverse=True)
        sums = np.cumsum(np.bincount(inverse, np.concatenate([count for _, count in inside])))
        before = ends[chosen] - counts[chosen]
        return float(values[np.searchsorted(sums + before, rank, side="right")])

    @staticmethod
    def _inside(chunk: np.ndarray, edges: np.ndarray, chosen: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the distinct numbers of a chunk in the chosen bin, and their counts."""
        inside = np.searchsorted(edges, chunk, side="right") == chosen
        return np.unique(chunk[inside], return_counts=True)
