"""The frequency filter: the users and items that have enough events."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

# Users and items of some events, as codes from 0, and the places of the events in the log,
# ascending.
Codes = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class KCore:
    """The users and items of an encoded log that the frequency filter leaves.

    Attributes:
        user_codes: Codes of the users that stay, by first appearance, int64 [M].
        item_codes: Codes of the items that stay, by first appearance, int64 [N].
        user_row: Row in `user_codes` of each user code, or -1, int32.
        item_row: Row in `item_codes` of each item code, or -1, int32.
        lengths: Events of each user that stays, int64 [M].
    """

    user_codes: np.ndarray
    item_codes: np.ndarray
    user_row: np.ndarray
    item_row: np.ndarray
    lengths: np.ndarray


def k_core(
    parts: Callable[[], Iterable[Codes]], sizes: tuple[int, int], least: tuple[int, int]
) -> KCore:
    """Finds the largest set of events in which every user and every item has enough events.

    Args:
        parts: Function that returns the events in one or several parts. It is called repeatedly.
        sizes: Numbers of users and of items.
        least: Fewest events of a user that stays, and of an item that stays.
    """
    stays = [np.ones(size, bool) for size in sizes]
    while True:
        counts = [np.zeros(size, np.int64) for size in sizes]
        for users, items, _ in parts():
            kept = stays[0][users] & stays[1][items]
            for count, codes in zip(counts, (users, items), strict=True):
                count += np.bincount(codes[kept], minlength=len(count))
        enough = [count >= max(1, number) for count, number in zip(counts, least, strict=True)]
        if all(np.array_equal(one, other) for one, other in zip(stays, enough, strict=True)):
            break
        stays = enough
    order = _by_first_appearance(parts(), stays)
    rows = [np.full(size, -1, np.int32) for size in sizes]
    for row, codes in zip(rows, order, strict=True):
        row[codes] = np.arange(len(codes), dtype=np.int32)
    return KCore(*order, *rows, counts[0][order[0]])


def _by_first_appearance(parts: Iterable[Codes], stays: list[np.ndarray]) -> list[np.ndarray]:
    """Returns the codes that stay, in the order of their first event that stays."""
    never = np.iinfo(np.int64).max
    first = [np.full(len(one), never) for one in stays]
    for users, items, places in parts:
        kept = np.flatnonzero(stays[0][users] & stays[1][items])[::-1]
        for seen, codes in zip(first, (users, items), strict=True):
            here = np.full(len(seen), never)
            here[codes[kept]] = places[kept]  # the earliest event is assigned last
            np.minimum(seen, here, out=seen)
    return [np.argsort(seen, kind="stable")[: np.count_nonzero(seen < never)] for seen in first]
