"""A cap on the items of a category in a list."""

import numpy as np

# Size of the pool of best items that a list is selected from: at least the first number, and the
# second for each item of a list. They are those of the signature `recommend_diverse` of an export
# with the default --max-k.
_POOL, _POOL_FACTOR = 400, 4


class CategoryCap:
    """Keeps the first items of each category in ranked lists.

    Args:
        categories: Category of each item 1..N, "" for none, which has no cap.
        most: Most items of a category, at least 1.
    """

    def __init__(self, categories: list[str], most: int):
        names = {name: number for number, name in enumerate(dict.fromkeys(categories), 1)}
        names[""] = 0
        self._numbers = np.array([0, *(names[one] for one in categories)])
        self._most = most

    @staticmethod
    def pool(k: int) -> int:
        """Returns how many of the best items a list of k items is found in."""
        return max(_POOL, _POOL_FACTOR * k)

    def first(self, rows: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first k items of each list that the cap allows.

        Args:
            rows: Items, best first, int32 [B, M]; 0 is no item.
            scores: float32 [B, M].
            k: Items of a list.

        Returns:
            (items int32 [B, k], scores [B, k]); 0 and the lowest float where fewer are left.
        """
        numbers = self._numbers[rows]
        order = np.argsort(numbers, axis=1, kind="stable")
        ordered = np.take_along_axis(numbers, order, axis=1)
        columns = np.arange(rows.shape[1])
        # Column where the category begins in the order of categories.
        is_first = np.diff(ordered, axis=1, prepend=-1) != 0
        begin = np.maximum.accumulate(np.where(is_first, columns, 0), axis=1)
        better = np.empty_like(begin)
        np.put_along_axis(better, order, columns - begin, axis=1)
        fits = (rows > 0) & ((numbers == 0) | (better < self._most))
        places = np.argsort(~fits, axis=1, kind="stable")[:, :k]
        fits = np.take_along_axis(fits, places, axis=1)
        found = np.where(fits, np.take_along_axis(rows, places, axis=1), 0)
        lowest = np.finfo(np.float32).min
        return found, np.where(fits, np.take_along_axis(scores, places, axis=1), lowest)
