"""Which users and items a training learns something of."""

from typing import NamedTuple

import numpy as np


class TrainedRows(NamedTuple):
    """Which rows of the tables training touches; the others keep their initial noise.

    Attributes:
        users: Whether each user is in an example, bool [M].
        items: Whether each item has a training event, bool [N]. Those that are only ever negatives
            have none.
    """

    users: np.ndarray
    items: np.ndarray

    def or_by(self, earlier: "TrainedRows") -> "TrainedRows":
        """Returns the rows that this training touches, or an earlier one that it goes on from.

        Args:
            earlier: Of the first users and items of this training.
        """
        parts = zip(earlier, self, strict=True)
        return TrainedRows(
            *(now | np.pad(before, (0, len(now) - len(before))) for before, now in parts)
        )

    def missing(self) -> dict[str, int]:
        """Returns how many "users" and "items" training does not touch."""
        return {name: int(np.count_nonzero(~rows)) for name, rows in self._asdict().items()}


def missing_text(missing: dict[str, int]) -> str:
    """What `TrainedRows.missing` means, in a sentence."""
    return (
        f"Training learns nothing of {missing['users']:,} users and {missing['items']:,} items: "
        "such a user counts as unknown, and such an item is passed over in histories and recommended after all others."
    )
