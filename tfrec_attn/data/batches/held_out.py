"""Held-out events in blocks for ranking."""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.stream import FlatEvents
from tfrec_attn.data.sequences.splits import Split


class HeldOut:
    """The held-out events of a split, in blocks for ranking: the shortest histories first, so that
    blocks hold little padding.

    Args:
        split: Whose events to hold out.
        part: "valid" or "test".
        max_length: L.
        batch_size: Events a block.
        repeats: "exclude" (default): items of the history are never recommended. "include": all
            items compete.

    Batches: {"user" int32 [B], "history" int32 [B, l], "target" int32 [B], "seen" int32 [B, S]}:
    `seen` are the items that are never recommended, 0 is padding: under "exclude" the distinct
    items of the whole earlier history, under "include" none (S = 0). l is the length of the longest
    history of the block, at least 1 and at most L.
    """

    def __init__(self, split: Split, part: str, *, max_length=5, batch_size=256, repeats="exclude"):
        self.max_length = max_length
        self.batch_size = batch_size
        self.repeats = repeats
        positions = np.asarray(getattr(split, part), np.int64)
        self._order = np.argsort(
            positions - split.sequences.offsets[split.rows(positions)], kind="stable"
        )
        self.positions = positions[self._order]
        self._events = FlatEvents(split)
        first = _first_occurrences(split)
        self._first = tf.constant(first)
        self._repeated = ~first[positions]

    def __len__(self):
        return len(self.positions)

    def repeated(self) -> np.ndarray:
        """Whether each target is in its user's history, bool [U], in the order of the split."""
        return self._repeated

    def in_split_order(self, values: np.ndarray) -> np.ndarray:
        """Values of the events in the order of the blocks -> in the order of the split's `valid` or
        `test`.
        """
        restored = np.empty_like(values)
        restored[self._order] = values
        return restored

    def sample(self, count: int) -> list[dict[str, tf.Tensor]]:
        """Blocks of so many events, evenly spread over all blocks."""
        chosen = self.positions[np.linspace(0, len(self) - 1, count).astype(int)]
        return [
            self.batch(tf.constant(chosen[begin : begin + self.batch_size]))
            for begin in range(0, count, self.batch_size)
        ]

    def dataset(self) -> tf.data.Dataset:
        blocks = tf.data.Dataset.from_tensor_slices(self.positions).batch(self.batch_size)
        return blocks.map(self.batch, num_parallel_calls=2, deterministic=True).prefetch(2)

    def batch(self, position):
        """The block of some flat positions of held-out events, int64 [B]."""
        start = self._events.start_at(position)
        longest = tf.reduce_max(position - start)
        user, history = self._events.before(position, tf.clip_by_value(longest, 1, self.max_length))
        index = start[:, tf.newaxis] + tf.range(
            longest if self.repeats == "exclude" else tf.zeros_like(longest)
        )
        seen = self._events.items(index, index < position[:, tf.newaxis], only=self._first)
        return {
            "user": user,
            "history": history,
            "target": self._events.items(position),
            "seen": seen,
        }


def _first_occurrences(split: Split) -> np.ndarray:
    """bool [E], True where a user meets an item for the first time."""
    sequences = split.sequences
    keys = sequences.users().astype(np.int64) * (sequences.num_items + 1) + sequences.items
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
