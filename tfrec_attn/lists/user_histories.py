"""Users and the items of their histories, as ids and as numbers."""

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
        items: Items of all histories, one history after the other, oldest event first, String [E].
        lengths: Number of events of each history, int64 [B].
    """

    users: pl.Series
    items: pl.Series
    lengths: np.ndarray

    @classmethod
    def of(cls, users: list[str], histories: list[list[str]]) -> "UserBatch":
        """Makes a batch from lists of ids."""
        items = [item for history in histories for item in history]
        lengths = np.fromiter(map(len, histories), np.int64, len(histories))
        return cls(pl.Series(users, dtype=pl.String), pl.Series(items, dtype=pl.String), lengths)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> "UserBatch":
        """Makes a batch from a table with the columns `user_id` String, `history` List(String)."""
        lengths = frame["history"].list.len().to_numpy().astype(np.int64)
        items = frame["history"].filter(pl.Series(lengths > 0)).explode()
        return cls(frame["user_id"], items, lengths)

    def slice(self, begin: int, end: int) -> "UserBatch":
        """Returns the users from position `begin` to `end`, exclusive."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        first, last = ends[[begin, min(end, len(self.lengths))]].tolist()
        return UserBatch(self.users[begin:end], self.items[first:last], self.lengths[begin:end])


@dataclass(frozen=True, eq=False)
class Histories:
    """Histories as numbers 1..N of items.

    Attributes:
        items: Items of all histories, one history after the other, oldest event first, int32 [E].
        lengths: Number of events of each history, int64 [B].
    """

    items: np.ndarray
    lengths: np.ndarray

    def filter(self, keep: np.ndarray) -> "Histories":
        """Returns the histories with only the events of `keep`, bool [E]."""
        row = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return Histories(self.items[keep], np.bincount(row[keep], minlength=len(self.lengths)))

    def rows(self, index: np.ndarray) -> "Histories":
        """Returns the histories at positions, int [R]."""
        lengths = self.lengths[index]
        begin = (np.cumsum(self.lengths) - self.lengths)[index]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return Histories(self.items[np.repeat(begin, lengths) + within], lengths)

    def latest(self, columns: int | None = None) -> np.ndarray:
        """Returns the latest events of each history, padded with 0 on the left, int32 [B, W].

        Args:
            columns: W. None (default): the length of the longest history.
        """
        columns = int(self.lengths.max(initial=0)) if columns is None else columns
        before = np.arange(-columns, 0)
        positions = np.cumsum(self.lengths)[:, np.newaxis] + before
        known = -before <= self.lengths[:, np.newaxis]
        # Padding reads the 0 that is appended here.
        return np.append(self.items, np.int32(0))[np.where(known, positions, -1)]


class UserHistories(abc.ABC):
    """Users and their histories, in a fixed order.

    Attributes:
        total: Number of users; None if it is unknown before the end.
        checksum: A checksum of the users and histories.
        notes: Sentences for the user of the command.
    """

    total: int | None = None
    checksum: str = ""
    notes: tuple[str, ...] = ()

    @abc.abstractmethod
    def batches(self, begin: int, size: int) -> Iterator[UserBatch]:
        """Yields batches of at most `size` users, beginning with user number `begin`, from 0."""


class SequenceHistories(UserHistories):
    """The users of a log in memory.

    Args:
        sequences: Sequences of the log.
        users: Ids of the users to return, in order. A user that the log does not have gets an empty
            history. None (default): all users with events.
    """

    def __init__(self, sequences: Sequences, users: list[str] | None = None):
        self._ids = pl.Series(sequences.item_vocabulary.ids(), dtype=pl.String)
        # The last history is empty, for ids that the log does not have: row -1.
        self._histories = Histories(sequences.items, np.append(sequences.lengths, 0))
        if users is None:
            self._rows = np.flatnonzero(sequences.lengths)
            self._users = pl.Series(sequences.user_vocabulary.ids(self._rows + 1))
        else:
            self._rows = sequences.user_vocabulary.lookup(users) - 1
            self._users = pl.Series(users, dtype=pl.String)
        self.total = len(self._rows)

    def batches(self, begin: int, size: int) -> Iterator[UserBatch]:
        """Yields the users in the order of the log or of `users`."""
        for start in range(begin, self.total, size):
            some = self._histories.rows(self._rows[start : start + size])
            yield UserBatch(
                self._users[start : start + size], self._ids.gather(some.items - 1), some.lengths
            )
