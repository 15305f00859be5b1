"""Coverage, novelty, popularity share and diversity of recommended lists."""

import numpy as np

# Length of the lists that these metrics of a run are computed from.
LIST_LENGTH = 10


def list_metrics(lists: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Returns coverage, novelty, popularity share and diversity of the lists of all users.

        coverage = items in some list / N
        novelty = mean of -log2(c_j / sum of c) over the recommended items, in bits
        popular = share of the recommended items that are in the smallest set of items with half of
                  the training events
        diversity = mean of 1 - |A and B| / k over all pairs of lists A, B

    An item without training events has the novelty of an item with one.

    Args:
        lists: The k best items of each user, 1..N, int [U, k]; 0 stands for no item.
        counts: c, training events of each item, int [N].

    Returns:
        The figures by name, such as "coverage@10".

    Reference:
        Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS
        2010 (arXiv 0808.2670), for novelty and diversity.
    """
    users, k = lists.shape
    found = np.bincount(lists.ravel(), minlength=len(counts) + 1)[1:].astype(np.float64)
    total, events = max(found.sum(), 1.0), max(counts.sum(), 1)
    order = np.argsort(-counts, kind="stable")
    head = order[: np.searchsorted(np.cumsum(counts[order]), events / 2) + 1]
    pairs = users * (users - 1)
    shared = float(found @ (found - 1)) / (pairs * k) if pairs else 1.0
    return {
        f"coverage@{k}": float(np.count_nonzero(found) / len(counts)),
        f"novelty@{k}": float(found @ -np.log2(np.maximum(counts, 1) / events) / total),
        f"popular@{k}": float(found[head].sum() / total),
        f"diversity@{k}": 1.0 - shared,
    }
