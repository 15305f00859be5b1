"""Exact quantiles of more numbers than fit into memory."""

from collections.abc import Callable, Sequence

import numpy as np

_BINS = 1 << 16
# Each function reads a chunk of the numbers, int64 or float64. It is called several times.
Chunks = Sequence[Callable[[], np.ndarray]]


def quantile(chunks: Chunks, share: float) -> float:
    """Returns `np.quantile(all, share, method="lower")` of the numbers of all chunks.

    The first pass finds the lowest and the highest number. The second pass finds the narrow bin
    with the quantile. The third pass reads the numbers in this bin.
    """
    ends = [(chunk.min(), chunk.max()) for chunk in (read() for read in chunks) if len(chunk)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    edges = np.linspace(float(low), float(high), _BINS)[1:-1]
    counts = np.zeros(_BINS - 1, np.int64)
    for read in chunks:
        bins = np.searchsorted(edges, read(), side="right")
        counts += np.bincount(bins, minlength=len(counts))
    ends = np.cumsum(counts)
    rank = int(np.floor((ends[-1] - 1) * share))
    chosen = int(np.searchsorted(ends, rank, side="right"))
    inside = [_inside(read(), edges, chosen) for read in chunks]
    values, inverse = np.unique(np.concatenate([one for one, _ in inside]), return_inverse=True)
    sums = np.cumsum(np.bincount(inverse, np.concatenate([count for _, count in inside])))
    before = ends[chosen] - counts[chosen]
    return float(values[np.searchsorted(sums + before, rank, side="right")])


def _inside(chunk: np.ndarray, edges: np.ndarray, chosen: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct numbers of a chunk in the chosen bin, and their counts."""
    inside = np.searchsorted(edges, chunk, side="right") == chosen
    return np.unique(chunk[inside], return_counts=True)
