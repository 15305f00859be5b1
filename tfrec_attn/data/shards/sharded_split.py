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
from tfrec_attn.errors import ConfigError


@dataclass(frozen=True, eq=False)
class ShardedSplit(Split):
    """A split without the events: `sequences.items` and `sequences.timestamps` are None.

    Attributes:
        positions: The split of the events of each user.
    """

    positions: SplitPositions | None = None

    @classmethod
    def open(cls, log: PreparedLog) -> "ShardedSplit":
        """Returns the split of a prepared log.

        Raises:
            ConfigError: If events have weights.
        """
        if log.weighted:
            raise ConfigError(
                f"{log.folder} has event weights, which training reads from memory only: set "
                "data.cache=memory."
            )
        lengths, positions = log.index()
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        sequences = Sequences(None, offsets, None, *log.vocabularies())
        split = split_at(sequences, positions, str(log.manifest.options["split"]))
        return cls(**{**vars(split), "prepared": log}, positions=positions)

    @property
    def paths(self) -> list[str]:
        """Paths of the shards, in order."""
        return [str(self.prepared.folder / name) for name in self.prepared.manifest.shards]

    def users_in_shards(self) -> np.ndarray:
        """Returns the index 1..M of each user, in the order of the shards."""
        count = len(self.prepared.manifest.shards)
        rows = [np.arange(number, self.sequences.num_users, count) for number in range(count)]
        return np.concatenate(rows) + 1

    def shards(self) -> Iterator[Shard]:
        """Reads one shard after the other."""
        return (read_shard(path, self.prepared.manifest.whole_times) for path in self.paths)

    def held_out_logs(self, part: str) -> Iterator[pl.DataFrame]:
        """Yields the result of `held_out_log` for each shard."""
        user_ids = np.array(self.sequences.user_vocabulary.ids(), object)
        for shard in self.shards():
            users = Vocabulary(user_ids[shard.users - 1].tolist())
            offsets = np.concatenate([[0], np.cumsum(shard.lengths)])
            vocabularies = users, self.sequences.item_vocabulary
            sequences = Sequences(shard.items, offsets, shard.times, *vocabularies)
            positions = SplitPositions(shard.train, shard.valid, shard.test)
            yield held_out_log(split_at(sequences, positions, self.name), part)
