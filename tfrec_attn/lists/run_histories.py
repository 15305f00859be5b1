"""The users of a run's log, with all of their events."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.splits import split_checksum
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.data.shards.shard_files import read_shard
from tfrec_attn.data.shards.sharded_split import ShardedSplit
from tfrec_attn.errors import DataError, counted
from tfrec_attn.lists.id_file import checksum_of_ids
from tfrec_attn.lists.user_histories import Histories, SequenceHistories, UserBatch, UserHistories
from tfrec_attn.runs import run, run_files


class ShardHistories(UserHistories):
    """The users of a prepared log, whose events stay on disk.

    Args:
        split: The prepared log and its split.
        users: Ids of the users to return, as in `SequenceHistories`. None (default): all users with
            events.
    """

    def __init__(self, split: ShardedSplit, users: list[str] | None = None):
        self._split = split
        vocabulary = split.sequences.user_vocabulary
        self._ids = pl.Series(split.sequences.item_vocabulary.ids(), dtype=pl.String)
        self._wanted = split.sequences.lengths > 0
        self._others = []
        if users is not None:
            rows = vocabulary.lookup(users) - 1
            self._wanted = np.zeros(len(vocabulary), bool)
            self._wanted[rows[rows >= 0]] = True
            self._others = [users[place] for place in np.flatnonzero(rows < 0)]
        self.total = int(np.count_nonzero(self._wanted)) + len(self._others)

    def batches(self, begin: int, size: int) -> Iterator[UserBatch]:
        """Yields the users in the order of the shards, then those that the log does not have."""
        count = len(self._split.paths)
        for number in range(count):
            rows = np.arange(number, len(self._wanted), count)
            rows = rows[self._wanted[rows]]
            if begin < len(rows):
                shard = self._shard(number, rows)
                for start in range(begin, len(rows), size):
                    yield shard.slice(start, start + size)
            begin = max(0, begin - len(rows))
        for start in range(begin, len(self._others), size):
            some = self._others[start : start + size]
            yield UserBatch.of(some, [[]] * len(some))

    def _shard(self, number: int, rows: np.ndarray) -> UserBatch:
        """Reads the users of a shard; `rows` are their rows in the log."""
        sequences, manifest = self._split.sequences, self._split.prepared.manifest
        shard = read_shard(self._split.paths[number], manifest.whole_times)
        chosen = np.flatnonzero(self._wanted[shard.users - 1])
        some = Histories(shard.items, shard.lengths).rows(chosen)
        users = pl.Series(sequences.user_vocabulary.ids(rows + 1), dtype=pl.String)
        return UserBatch(users, self._ids.gather(some.items - 1), some.lengths)


def run_histories(folder: Path, users: list[str] | None = None) -> UserHistories:
    """Returns the users of the current log of a run, with a note if it has changed.

    Args:
        folder: The run.
        users: Ids of the users to return. None (default): all users with events.

    Raises:
        ConfigError: If the run is damaged.
        DataError: If the log cannot be read, or has none of the users.
    """
    try:
        split = run.load_data(folder).split
    except DataError as error:
        raise DataError(
            f"{str(error).rstrip('.')}; restore the log of {folder}, or give --histories."
        ) from None
    sequences, checksum, notes = split.sequences, split_checksum(split), []
    if checksum != run_files.load_metrics(folder)["data"].get("sha256"):
        notes.append(
            f"The log of {folder} has changed since the training; the lists are for its users and "
            "events as they are now."
        )
    if users is not None:
        notes += _unknown_users(folder, sequences.user_vocabulary, users)
    if sequences.items is None:
        histories = ShardHistories(split, users)
    else:
        histories = SequenceHistories(sequences, users)
    histories.checksum = f"{checksum} {checksum_of_ids(users)}"
    histories.notes = tuple(notes)
    return histories


def _unknown_users(folder: Path, vocabulary: Vocabulary, users: list[str]) -> list[str]:
    """A note about users that the log does not have, in a list; [] if there are none."""
    unknown = int(np.count_nonzero(vocabulary.lookup(users) == 0))
    if unknown == len(users):
        raise DataError(
            f"--users must name users of the log of {folder}, but it has none of the "
            f"{counted(unknown, 'id')}; give ids as they are in the log."
        )
    if not unknown:
        return []
    return [
        f"{unknown:,} of the {counted(len(users), 'user')} of --users "
        f"{'is' if unknown == 1 else 'are'} not in the log of {folder} and "
        f"{'has' if unknown == 1 else 'have'} no history."
    ]
