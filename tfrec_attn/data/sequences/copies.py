"""Exact copies of an event: the same user, item and time, and the same event type where types are
read.
"""

import numpy as np
import polars as pl


def without_copies(frame: pl.DataFrame) -> pl.DataFrame:
    """Leaves of events that are exact copies of each other the first."""
    names = [name for name in ("user_id", "item_id", "timestamp", "event") if name in frame.columns]
    return frame.unique(subset=names, keep="first", maintain_order=True)


def is_copy(*columns: np.ndarray) -> np.ndarray:
    """Which events are copies of an earlier one, by columns that are equal in copies, bool [E]."""
    frame = pl.DataFrame({str(place): column for place, column in enumerate(columns)})
    return ~frame.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()


def count_copies(users: np.ndarray, times: np.ndarray, *others: np.ndarray) -> int:
    """How many events are copies of another, of events in order of user and time; `others` are
    their items, and their types if any.
    """
    tied = np.zeros(len(users), bool)
    tied[1:] = (users[1:] == users[:-1]) & (times[1:] == times[:-1])
    tied[:-1] |= tied[1:]
    return (
        int(np.count_nonzero(is_copy(*(column[tied] for column in (users, times, *others)))))
        if tied.any()
        else 0
    )


def copies_sentence(count: int, events: int) -> str:
    """What asks for attention, and the key that changes it."""
    share = f"{count} of {events} events ({count / max(1, events):.1%})"
    return f"{share} are exact copies of another (same user, item and time): data.duplicates=drop leaves them out"
