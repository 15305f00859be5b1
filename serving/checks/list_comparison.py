"""How alike two recommended lists are."""

import itertools
from collections.abc import Sequence


def overlap(first: Sequence[str], second: Sequence[str]) -> float:
    """Returns the share of items that both lists have, of the longer list; 1 for empty lists."""
    longest = max(len(first), len(second))
    return len({*first} & {*second}) / longest if longest else 1.0


def rank_correlation(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Returns Kendall's tau of the items that both lists have, None for fewer than two.

        tau = (pairs in the same order - pairs in the other order) / pairs

    It is 1 for the same order, and -1 for the reverse.
    """
    place = {item: rank for rank, item in enumerate(second)}
    ranks = [place[item] for item in first if item in place]
    pairs = list(itertools.combinations(ranks, 2))
    if not pairs:
        return None
    return sum(1 if one < other else -1 for one, other in pairs) / len(pairs)


def rank_changes(first: Sequence[str], second: Sequence[str]) -> dict[str, tuple]:
    """Returns the ranks of each item in both lists, from 1, None where it is not in a list."""
    ranks = [{item: rank for rank, item in enumerate(items, 1)} for items in (first, second)]
    return {item: (ranks[0].get(item), ranks[1].get(item)) for item in {**ranks[0], **ranks[1]}}
