"""Exact quantiles of more numbers than fit into memory."""

from collections.abc import Callable, Sequence

import numpy as np

_BINS = 1 << 16


class ChunkedArray:
    """Numbers that can be read again and again, a part at a time.

    Args:
        parts: Functions that each return a part of the numbers, int64 or float64.
    """

    def __init__(self, parts: Sequence[Callable[[], np.ndarray]]):
        self._parts = parts

    def span(self) -> tuple[float, float]:
        """The smallest and the largest."""
        ends = [(part.min(), part.max()) for part in (read() for read in self._parts) if len(part)]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def quantile(self, share: float) -> float:
        """`np.quantile(all, share, method="lower")`: a pass finds the narrow bin that holds it,
        another what lies there.
        """
        low, high = self.span()
        edges = np.linspace(float(low), float(high), _BINS)[1:-1]
        counts = np.zeros(_BINS - 1, np.int64)
        for read in self._parts:
            counts += np.bincount(
                np.searchsorted(edges, read(), side="right"), minlength=len(counts)
            )
        ends = np.cumsum(counts)
        rank = int(np.floor((ends[-1] - 1) * share))
        chosen = int(np.searchsorted(ends, rank, side="right"))
        inside = [self._inside(read(), edges, chosen) for read in self._parts]
        values, places = np.unique(
            np.concatenate([value for value, _ in inside]), return_inverse=True
        )
        ends = np.cumsum(np.bincount(places, np.concatenate([count for _, count in inside]))) + (
            ends[chosen] - counts[chosen]
        )
        return float(values[np.searchsorted(ends, rank, side="right")])

    @staticmethod
    def _inside(part: np.ndarray, edges: np.ndarray, chosen: int) -> tuple[np.ndarray, np.ndarray]:
        return np.unique(
            part[np.searchsorted(edges, part, side="right") == chosen], return_counts=True
        )
