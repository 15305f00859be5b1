"""Which users and items have training examples."""

from typing import NamedTuple

import numpy as np


class TrainedRows(NamedTuple):
    """Which rows of the embedding tables are trained; the others keep their initial values.

    Attributes:
        users: Whether each user is in a training example, bool [M].
        items: Whether each item has a training event, bool [N]. An item that is only sampled as a
            negative has none.
    """

    users: np.ndarray
    items: np.ndarray

    def union(self, earlier: "TrainedRows") -> "TrainedRows":
        """Returns the rows that this run or an earlier run trains.

        Args:
            earlier: Rows of the earlier run, from which this run starts. Its users and items are
                the first users and items of this run.
        """
        parts = zip(earlier, self, strict=True)
        return TrainedRows(
            *(now | np.pad(before, (0, len(now) - len(before))) for before, now in parts)
        )

    def missing(self) -> dict[str, int]:
        """Returns how many "users" and "items" are not trained."""
        return {name: int(np.count_nonzero(~rows)) for name, rows in self._asdict().items()}


def missing_text(missing: dict[str, int]) -> str:
    """Returns a sentence that explains `TrainedRows.missing`."""
    what = {
        "users": "such a user counts as unknown",
        "items": "such an item is ignored in histories and recommended after all others",
    }
    found = [kind for kind in what if missing[kind]]
    numbers = " and ".join(f"{missing[kind]:,} {kind}" for kind in found)
    return f"Training learns nothing about {numbers}: {', and '.join(what[one] for one in found)}."
