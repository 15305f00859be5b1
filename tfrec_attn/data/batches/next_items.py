"""Sequences with the next item at all positions as the target."""

import tensorflow as tf

from tfrec_attn.data.batches.negative_sampler import NegativeSampler
from tfrec_attn.data.batches.shared_negatives import SharedNegatives
from tfrec_attn.data.batches.stream import NOTHING_TO_LEARN, ArrayStream
from tfrec_attn.data.sequences.splits import Split, item_counts
from tfrec_attn.errors import ConfigError, DataError


def require_enough_items(negatives: int, num_items: int) -> None:
    """Raises ConfigError if there are fewer items than negatives."""
    if negatives > num_items:
        raise ConfigError(
            f"negatives must be at most the number of items, {num_items}, but is {negatives}."
        )


class SequenceStream(ArrayStream):
    """A training sequence for each user, with targets at some or all positions, and negatives.

    Every pass visits each user once. Users with a single training event are left out.

    Args:
        split: Events and their training prefix.
        max_length: L. The latest part of a longer sequence is used. Default 50.
        negatives: K, number of sampled items. 0 (default): none.
        shared: If False (default), K negatives are sampled for each position, from the items
            without a training event of the user. If True, at least K negatives are sampled for the
            whole batch, from all items.
        popularity: Shared negatives are drawn in proportion to this power of their training events.
            0 (default): uniformly.
        batch_size: B, sequences in a batch. Default 256.
        seed: Seed of the order and of the samples. Default 1.

    Attributes:
        log_q: Log of the probability of each item as a shared negative, float32 [N].

    Raises:
        DataError: If no user has two training events.
        ConfigError: If there are fewer items than negatives.
    """

    def __init__(
        self,
        split: Split,
        *,
        max_length: int = 50,
        negatives: int = 0,
        shared: bool = False,
        popularity: float = 0.0,
        batch_size: int = 256,
        seed: int = 1,
    ):
        enough = split.train_end - split.sequences.offsets[:-1] >= 2
        if not enough.any():
            raise DataError(NOTHING_TO_LEARN)
        require_enough_items(negatives, split.sequences.num_items)
        super().__init__(split, split.train_end[enough] - 1, max_length, batch_size, seed)
        self._negatives, self._shared = negatives, shared
        self._sample_shared = SharedNegatives(item_counts(split), popularity)
        self.log_q = self._sample_shared.log_q
        self._sample = NegativeSampler(split) if negatives and not shared else None

    def _with_negatives(self, batch, seed, part, parts):
        if not self._negatives:
            return batch
        if self._shared:
            shape = [self.batch_size, -(-self._negatives // self.batch_size)]
            return {**batch, "negatives": self._sample_shared(shape, seed)}
        shape = [self.batch_size // parts, self.max_length, self._negatives]
        owners = tf.broadcast_to(batch["user"][:, tf.newaxis, tf.newaxis], shape)
        return {**batch, "negatives": self._sample(owners, seed, part, parts)}

    def _sequence(self, position):
        """Returns the flat positions [B, L] of sequences that end at `position`.

        Positions before the user's first event belong to other users.
        """
        return position[:, tf.newaxis] + tf.range(1 - self.max_length, 1, dtype=tf.int64)


class NextItems(SequenceStream):
    """A training sequence for each user, with the next item at all positions as the target.

    The arguments are those of `SequenceStream`.

    Batches are {"user" int32 [B], "history" int32 [B, L], "targets" int32 [B, L], "normalizer"
    float32 [B]}. `targets[b, l]` follows `history[b, l]`; 0 is padding, on the left. "normalizer"
    is one over the number of targets of the whole batch. With negatives, batches also have
    "negatives" int32 [B, L, K], or [B, ceil(K / B)] if they are shared; every part of a batch has
    all shared negatives. If events have weights, batches also have "sample_weight" float32 [B, L],
    the weights of the targets, and "normalizer" is one over their sum.
    """

    def _gather(self, position, step, part, parts, whole):
        user, history = self._events.before(position, self.max_length)
        targets = self._events.items(self._sequence(position), history > 0)
        batch = {"user": user, "history": history, "targets": targets}
        if self._events.weighted:
            batch.update(self._weights(position, whole))
        else:
            lengths = tf.minimum(whole - self._events.start_at(whole), self.max_length)
            normalizer = 1.0 / tf.cast(tf.reduce_sum(lengths), tf.float32)
            batch["normalizer"] = tf.fill([self.batch_size // parts], normalizer)
        return self._with_negatives(batch, self._seed_of(step), part, parts)

    def _sample_weight(self, position):
        index = self._sequence(position)
        start = self._events.start_at(position)
        return self._events.weights(index, index > start[:, tf.newaxis])
