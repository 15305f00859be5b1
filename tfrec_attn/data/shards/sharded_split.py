"""The split of a prepared log whose events stay on disk."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.encoding import Sequences
from tfrec_attn.data.sequences.held_out_log import held_out_log
from tfrec_attn.data.sequences.splits import Split, SplitPositions, split_at
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.data.shards.prepared_log import PreparedLog
from tfrec_attn.data.shards.shard_files import Shard, read_shard


@dataclass(frozen=True, eq=False)
class ShardedSplit(Split):
    """A split that knows its users and the places of their events, but not the events:
    `sequences.items` and `.timestamps` are None.
    """

    places: SplitPositions | None = None

    @classmethod
    def open(cls, log: PreparedLog) -> "ShardedSplit":
        """The split of a prepared log."""
        lengths, places = log.index()
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        split = split_at(
            Sequences(None, offsets, None, *log.vocabularies()),
            places,
            str(log.manifest.options["split"]),
        )
        return cls(
            split.sequences,
            split.train_end,
            split.valid,
            split.test,
            split.name,
            prepared=log,
            places=places,
        )

    @property
    def paths(self) -> list[str]:
        """The shards, in their order."""
        return [str(self.prepared.folder / name) for name in self.prepared.manifest.shards]

    def users_in_shards(self) -> np.ndarray:
        """Index 1..M of each user, in the order in which the shards hold them."""
        count = len(self.prepared.manifest.shards)
        return (
            np.concatenate(
                [np.arange(number, self.sequences.num_users, count) for number in range(count)]
            )
            + 1
        )

    def shards(self) -> Iterator[Shard]:
        """Reads one shard after the other."""
        return (read_shard(path, self.prepared.manifest.whole_times) for path in self.paths)

    def held_out_logs(self, part: str) -> Iterator[pl.DataFrame]:
        """The held-out events of each shard, as `replay_log` gives them."""
        names = np.array(self.sequences.user_vocabulary.ids(), object)
        for shard in self.shards():
            users = Vocabulary(names[shard.users - 1].tolist())
            offsets = np.concatenate([[0], np.cumsum(shard.lengths)])
            sequences = Sequences(
                shard.items, offsets, shard.times, users, self.sequences.item_vocabulary
            )
            yield held_out_log(
                split_at(sequences, SplitPositions(shard.train, shard.valid, shard.test), self.name), part
            )
