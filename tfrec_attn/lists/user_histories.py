"""Users with the items of their histories, as ids and as numbers."""

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.encoding import Sequences


class UserBatch(NamedTuple):
    """Some users and their histories in raw ids.

    Attributes:
        users: Id of each user, String [B]; "" is an unknown user.
        items: The histories, oldest event first, one after the other, String [E].
        lengths: Number of events of each history, int64 [B].
    """

    users: pl.Series
    items: pl.Series
    lengths: np.ndarray

    @classmethod
    def of(cls, users: list[str], histories: list[list[str]]) -> "UserBatch":
        """Returns the batch of lists of ids."""
        items = [item for history in histories for item in history]
        lengths = np.fromiter(map(len, histories), np.int64, len(histories))
        return cls(pl.Series(users, dtype=pl.String), pl.Series(items, dtype=pl.String), lengths)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> "UserBatch":
        """Returns the batch of a table with `user_id` String and `history` List(String)."""
        lengths = frame["history"].list.len().to_numpy().astype(np.int64)
        items = frame["history"].filter(pl.Series(lengths > 0)).explode()
        return cls(frame["user_id"], items, lengths)

    def slice(self, begin: int, end: int) -> "UserBatch":
        """Returns the users from `begin` to `end`, exclusive."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        first, last = ends[[begin, min(end, len(self.lengths))]].tolist()
        return UserBatch(self.users[begin:end], self.items[first:last], self.lengths[begin:end])


@dataclass(frozen=True, eq=False)
class Histories:
    """Histories as numbers 1..N of items.

    Attributes:
        items: The events of all histories, one after the other, oldest first, int32 [E].
        lengths: Number of events of each history, int64 [B].
    """

    items: np.ndarray
    lengths: np.ndarray

    def filter(self, keep: np.ndarray) -> "Histories":
        """Returns the histories without some events: keep is bool [E]."""
        row = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return Histories(self.items[keep], np.bincount(row[keep], minlength=len(self.lengths)))

    def rows(self, index: np.ndarray) -> "Histories":
        """Returns the histories of some rows, int [R]."""
        lengths = self.lengths[index]
        begin = (np.cumsum(self.lengths) - self.lengths)[index]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return Histories(self.items[np.repeat(begin, lengths) + within], lengths)

    def latest(self, columns: int | None = None) -> np.ndarray:
        """Returns the latest events of each history, 0 on the left of shorter ones, int32 [B, W].

        Args:
            columns: W. None: that of the longest history.
        """
        columns = int(self.lengths.max(initial=0)) if columns is None else columns
        before = np.arange(-columns, 0)
        positions = np.cumsum(self.lengths)[:, np.newaxis] + before
        known = -before <= self.lengths[:, np.newaxis]
        # One more 0 is what padding points to.
        return np.append(self.items, np.int32(0))[np.where(known, positions, -1)]


class UserHistories(abc.ABC):
    """Users with their histories, in an order that never changes.

    Attributes:
        total: Number of users; None if it is known only at the end.
        checksum: SHA-256 of users and histories.
        notes: Sentences that the user should read.
    """

    total: int | None = None
    checksum: str = ""
    notes: tuple[str, ...] = ()

    @abc.abstractmethod
    def batches(self, begin: int, size: int) -> Iterator[UserBatch]:
        """Yields batches of at most `size` users, from the user number `begin` on."""


class SequenceHistories(UserHistories):
    """The users of a log in memory.

    Args:
        sequences: The events. Users without any are left out.
        users: Ids of the only users, in the order of the lists, or None. A user that the log does
            not have gets a list without a history.
    """

    def __init__(self, sequences: Sequences, users: list[str] | None = None):
        self._ids = pl.Series(sequences.item_vocabulary.ids(), dtype=pl.String)
        # One more user without events, for ids that the log does not have.
        self._histories = Histories(sequences.items, np.append(sequences.lengths, 0))
        if users is None:
            self._rows = np.flatnonzero(sequences.lengths)
            self._users = pl.Series(sequences.user_vocabulary.ids(self._rows + 1))
        else:
            self._rows = sequences.user_vocabulary.lookup(users) - 1
            self._users = pl.Series(users, dtype=pl.String)
        self.total = len(self._rows)

    def batches(self, begin: int, size: int) -> Iterator[UserBatch]:
        """Yields the users in the order of the log, or in that of `users`."""
        for start in range(begin, self.total, size):
            some = self._histories.rows(self._rows[start : start + size])
            yield UserBatch(
                self._users[start : start + size], self._ids.gather(some.items - 1), some.lengths
            )
