"""Counts over all shards of a prepared log."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tfrec_attn.data.sequences.copies import count_copies
from tfrec_attn.data.sequences.leakage import LeakReport
from tfrec_attn.data.sequences.pair_sums import PairSums
from tfrec_attn.data.sequences.splits import SplitPositions
from tfrec_attn.data.sequences.transitions import transitions_of
from tfrec_attn.data.shards.shard_files import Shard


class ShardSummary:
    """Counts over all shards of a prepared log, from two passes over the shards.

    Args:
        shards: Function that reads the shards one after the other. It is called up to twice.
        num_users: M.
        num_items: N.
        events: Number of events of all shards.
        folder: An empty folder for temporary files.

    Attributes:
        lengths: Events of each user, int64 [M].
        positions: The split of the events of each user.
        item_counts: Training events of each item, int64 [N].
        transitions: How often an item follows another item in the training events.
        leaks: What training knows of the time after the test events.
        span: The first and the last time of the log.
        duplicates: Number of events that are exact copies of another event.
    """

    def __init__(
        self,
        shards: Callable[[], Iterator[Shard]],
        num_users: int,
        num_items: int,
        events: int,
        folder: Path,
    ):
        self.lengths = np.zeros(num_users, np.int64)
        self.positions = SplitPositions(*(np.zeros(num_users, np.int64) for _ in range(3)))
        self.duplicates = 0
        self._pairs = PairSums(folder, num_items, events)
        self._counts = np.zeros(num_items + 1, np.int64)
        self._first_seen = np.full(num_items + 1, np.inf)
        self._ties, self._latest, self._spans = 0, -np.inf, []
        self._tests: list[tuple[np.ndarray, np.ndarray]] = []
        for shard in shards():
            self._add(shard)
        self.item_counts = self._counts[1:]
        self.transitions = transitions_of(self._pairs, num_items)
        self.span = (min(low for low, _ in self._spans), max(high for _, high in self._spans))
        self.leaks = self._leaks(shards)

    @property
    def train_events(self) -> int:
        """Number of training events."""
        return int(self.item_counts.sum())

    def _add(self, shard: Shard) -> None:
        rows, begin = shard.users - 1, np.cumsum(shard.lengths) - shard.lengths
        self.lengths[rows] = shard.lengths
        for name, positions in self.positions._asdict().items():
            positions[rows] = getattr(shard, name)
        train = shard.train_mask()
        items, times = shard.items[train], shard.times[train]
        self._counts += np.bincount(items, minlength=len(self._counts))
        np.minimum.at(self._first_seen, items, times)
        if len(times):
            self._latest = max(self._latest, times.max())
        self._spans.append((shard.times.min(), shard.times.max()))
        follows = np.ones(len(shard.items), bool)
        follows[begin] = False
        self._ties += int(np.count_nonzero((np.diff(shard.times) == 0) & follows[1:]))
        self.duplicates += count_copies(np.repeat(rows, shard.lengths), shard.times, shard.items)
        second = np.flatnonzero(train & follows)
        self._pairs.add(shard.items[second - 1], shard.items[second])
        tests = (begin + shard.test)[shard.test >= 0]
        self._tests.append((shard.items[tests], shard.times[tests]))

    def _leaks(self, shards: Callable[[], Iterator[Shard]]) -> LeakReport:
        items, tests = (np.concatenate(column) for column in zip(*self._tests, strict=True))
        if not len(tests):
            return LeakReport(0.0, 0.0, 0.0, 0.0)
        median, seen = np.median(tests), self._first_seen[items]
        later = sum(
            int(np.count_nonzero(shard.times[shard.train_mask()] > median)) for shard in shards()
        )
        return LeakReport(
            tests_before_training=float(np.mean(tests < self._latest)),
            training_after_median_test=later / max(1, self.train_events),
            targets_only_seen_later=float(np.mean(np.isfinite(seen) & (seen > tests))),
            ties=self._ties / max(1, int(self.lengths.sum()) - len(self.lengths)),
        )
