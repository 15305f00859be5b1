"""Distances of two distributions: PSI, Jensen-Shannon divergence, Kolmogorov-Smirnov statistic."""

import numpy as np


def population_stability_index(earlier: np.ndarray, later: np.ndarray) -> float:
    """Returns the PSI, the sum over bins of (q - p) ln(q / p).

    Half an event is added to every bin, so that no share p or q is 0.

    Args:
        earlier: Counts of the bins, [K].
        later: Counts of the bins, [K].

    Returns:
        The index, 0 or greater. Below 0.1 a population is considered stable, above 0.25 changed.
    """
    p, q = (
        (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
        for counts in (np.asarray(earlier, float), np.asarray(later, float))
    )
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(earlier: np.ndarray, later: np.ndarray) -> float:
    """Returns JS = (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, in bits.

    Args:
        earlier: Counts of the bins, [K], not all 0.
        later: Counts of the bins, [K], not all 0.

    Returns:
        The divergence, 0 (equal) to 1 (disjoint).
    """
    p, q = (np.asarray(counts, float) / np.sum(counts) for counts in (earlier, later))
    middle = (p + q) / 2
    return float(
        sum(0.5 * np.sum(one[one > 0] * np.log2(one[one > 0] / middle[one > 0])) for one in (p, q))
    )


def kolmogorov_smirnov(
    earlier: tuple[np.ndarray, np.ndarray], later: tuple[np.ndarray, np.ndarray]
) -> float:
    """Returns KS = max over x of |F(x) - G(x)|, where F and G are the shares of values up to x.

    Args:
        earlier: Distinct values, ascending, and their counts.
        later: Distinct values, ascending, and their counts.

    Returns:
        The statistic, 0 to 1.
    """
    points = np.union1d(earlier[0], later[0])
    shares = []
    for values, counts in (earlier, later):
        sums = np.concatenate([[0], np.cumsum(counts)])
        shares.append(sums[np.searchsorted(values, points, side="right")] / sums[-1])
    return float(np.max(np.abs(shares[0] - shares[1])))


def quantile_bins(values: np.ndarray, counts: np.ndarray, bins: int = 10) -> np.ndarray:
    """Returns edges that cut a distribution into bins of about the same size.

    A value equal to an edge is in the bin below the edge. The first edge is below all values and
    the last is the largest value. Values of another distribution outside of these edges therefore
    have their own bins.

    Args:
        values: Distinct values, ascending.
        counts: Count of each value.
        bins: Number of bins; fewer if one value fills several. Default 10.
    """
    shares = np.cumsum(counts) / np.sum(counts)
    cuts = values[np.searchsorted(shares, np.arange(1, bins) / bins)]
    return np.unique([values[0] - 1, *cuts, values[-1]])


def binned(values: np.ndarray, counts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Returns the counts below the edges, between them, and above them, [len(edges) + 1]."""
    bins = np.searchsorted(edges, values, side="left")
    return np.bincount(bins, weights=counts, minlength=len(edges) + 1)
