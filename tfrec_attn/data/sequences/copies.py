"""Exact copies of an event: the same user, item and time, and the same type if types are read."""

import numpy as np
import polars as pl

from tfrec_attn.errors import counted


def without_copies(frame: pl.DataFrame) -> pl.DataFrame:
    """Drops the exact copies of an event, except the first."""
    names = [name for name in ("user_id", "item_id", "timestamp", "event") if name in frame.columns]
    return frame.unique(subset=names, keep="first", maintain_order=True)


def count_copies(users: np.ndarray, times: np.ndarray, *others: np.ndarray) -> int:
    """Counts the events that are exact copies of an earlier event.

    Args:
        users: User of each event. Events are in order of user and time.
        times: Time of each event.
        *others: Item of each event, and its type if types are read.
    """
    tied = np.zeros(len(users), bool)
    tied[1:] = (users[1:] == users[:-1]) & (times[1:] == times[:-1])
    tied[:-1] |= tied[1:]
    if not tied.any():
        return 0
    columns = {str(number): one[tied] for number, one in enumerate((users, times, *others))}
    return int(np.count_nonzero(tied)) - pl.DataFrame(columns).n_unique()


def copies_sentence(count: int, events: int) -> str:
    """Returns a note about the copies, with the key that drops them."""
    are = "is an exact copy" if count == 1 else "are exact copies"
    return (
        f"{count} of {counted(events, 'event', form='')} ({count / max(1, events):.1%}) {are} of "
        "another (same user, item and time): data.duplicates=drop leaves them out"
    )
