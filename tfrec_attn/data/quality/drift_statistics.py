"""How far two distributions are apart: PSI, Jensen-Shannon divergence and the statistic of
Kolmogorov and Smirnov.
"""

import numpy as np


def population_stability_index(earlier: np.ndarray, later: np.ndarray) -> float:
    """PSI = sum over bins of (q - p) ln(q / p); below 0.1 is taken for stable, above 0.25 for
    another population.

    Args:
        earlier: Counts of each bin, [K].
        later: The same, [K]. Half an event is added to every bin of both, so that empty bins have a
            share.

    Returns:
        The index, 0 or greater.
    """
    p, q = (
        (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
        for counts in (np.asarray(earlier, float), np.asarray(later, float))
    )
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(earlier: np.ndarray, later: np.ndarray) -> float:
    """JS = (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, in bits.

    Args:
        earlier: Counts of each bin, [K], not all 0.
        later: The same, [K].

    Returns:
        The divergence, 0 (the same) to 1 (nothing in common).
    """
    p, q = (np.asarray(counts, float) / np.sum(counts) for counts in (earlier, later))
    middle = (p + q) / 2
    return float(
        sum(0.5 * np.sum(one[one > 0] * np.log2(one[one > 0] / middle[one > 0])) for one in (p, q))
    )


def kolmogorov_smirnov(
    earlier: tuple[np.ndarray, np.ndarray], later: tuple[np.ndarray, np.ndarray]
) -> float:
    """KS = max over x of |F(x) - G(x)|, F and G being the shares of values up to x.

    Args:
        earlier: Distinct values, ascending, and their counts.
        later: The same.

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
    """Edges that cut a distribution into bins of about the same size; a value equal to an edge lies
    below it.

    The first edge is below all values and the last is the largest, so that what another
    distribution has outside lies in bins of its own.

    Args:
        values: Distinct values, ascending.
        counts: Of each.
        bins: How many; fewer where one value fills several.
    """
    shares = np.cumsum(counts) / np.sum(counts)
    cuts = values[np.searchsorted(shares, np.arange(1, bins) / bins)]
    return np.unique([values[0] - 1, *cuts, values[-1]])


def binned(values: np.ndarray, counts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts of the bins between edges, and of what is below and above them, [len(edges) + 1]."""
    return np.bincount(
        np.searchsorted(edges, values, side="left"), weights=counts, minlength=len(edges) + 1
    )
