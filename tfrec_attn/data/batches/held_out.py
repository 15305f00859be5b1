"""Held-out events in blocks for ranking."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorflow.autograph.experimental import do_not_convert

from tfrec_attn.data.batches.stream import FlatEvents
from tfrec_attn.data.sequences.splits import Split


class HeldOut:
    """The held-out events of a split, in blocks for ranking.

    The shortest histories come first, so that blocks have little padding.

    Blocks are {"user" int32 [B], "history" int32 [B, l], "target" int32 [B], "seen" int32 [B, S]};
    0 is padding. l is the length of the longest history of the block, at least 1 and at most L.
    "seen" has the items that are never recommended: with `repeats="exclude"` the distinct items of
    the whole history, with "include" none (S = 0). With `gaps`, blocks also have "gap" float32 [B],
    the time from the latest event of the history to the target.

    Args:
        split: The split.
        part: "valid" or "test".
        max_length: L. Default: the longest history; a model uses only its latest events.
        batch_size: Events per block, B. Default 256.
        repeats: "exclude" (default) or "include".
        gaps: Whether blocks have "gap". Default False.
    """

    def __init__(
        self,
        split: Split,
        part: str,
        *,
        max_length: int | None = None,
        batch_size: int = 256,
        repeats: str = "exclude",
        gaps: bool = False,
    ):
        self.max_length = max_length or int(split.sequences.lengths.max())
        self.batch_size = batch_size
        self.repeats = repeats
        positions = np.asarray(getattr(split, part), np.int64)
        lengths = positions - split.sequences.offsets[split.rows(positions)]
        self._order = np.argsort(lengths, kind="stable")
        self.positions = positions[self._order]
        self._events = FlatEvents(split)
        first = split.sequences.first_occurrences
        self._first = tf.constant(first)
        self._repeated = ~first[positions]
        self._gaps = tf.constant(split.sequences.time_gaps()) if gaps else None

    def __len__(self):
        return len(self.positions)

    def repeated(self) -> np.ndarray:
        """Returns whether each target is in its history, bool [U], in the order of the split."""
        return self._repeated

    def in_split_order(self, values: np.ndarray) -> np.ndarray:
        """Returns values of the events, given in the order of the blocks, in that of the split."""
        restored = np.empty_like(values)
        restored[self._order] = values
        return restored

    def sample(self, count: int) -> list[dict[str, tf.Tensor]]:
        """Returns blocks with `count` events, evenly spread over all blocks."""
        return list(self._at(self.positions[np.linspace(0, len(self) - 1, count).astype(int)]))

    def blocks(self) -> Iterator[dict[str, tf.Tensor]]:
        """Yields the same blocks as `dataset`, without tf.data and without tracing."""
        return self._at(self.positions)

    def _at(self, positions):
        for begin in range(0, len(positions), self.batch_size):
            yield self.batch(tf.constant(positions[begin : begin + self.batch_size]))

    def dataset(self) -> tf.data.Dataset:
        """Returns all blocks."""
        blocks = tf.data.Dataset.from_tensor_slices(self.positions).batch(self.batch_size)
        return blocks.map(
            do_not_convert(self.batch), num_parallel_calls=2, deterministic=True
        ).prefetch(2)

    def batch(self, position: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the block of held-out events at flat positions, int64 [B]."""
        start = self._events.start_at(position)
        longest = tf.reduce_max(position - start)
        user, history = self._events.before(position, tf.clip_by_value(longest, 1, self.max_length))
        width = longest if self.repeats == "exclude" else tf.zeros_like(longest)
        index = start[:, tf.newaxis] + tf.range(width)
        seen = self._events.items(index, index < position[:, tf.newaxis], only=self._first)
        target = self._events.items(position)
        block = {"user": user, "history": history, "target": target, "seen": seen}
        if self._gaps is not None:
            block["gap"] = tf.gather(self._gaps, position)
        return block
