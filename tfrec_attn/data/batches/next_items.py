"""Training sequences with a target at some or all of their positions: next items, and masked items."""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.negative_sampler import NegativeSampler
from tfrec_attn.data.batches.stream import NOTHING_TO_LEARN, BatchStream
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.errors import ConfigError, DataError


class SequenceStream(BatchStream):
    """Training sequences with a target at some or all of their positions, and negatives for these.

    A subclass makes the inputs, the targets and what each target counts of sequences in
    `_sequences`.
    """

    def __init__(self, split: Split, max_length, negatives, shared, popular, batch_size, seed):
        enough = split.train_end - split.sequences.offsets[:-1] >= 2
        if not enough.any():
            raise DataError(NOTHING_TO_LEARN)
        if negatives > split.sequences.num_items:
            raise ConfigError(
                f"negatives must be at most the number of items, {split.sequences.num_items}, but is {negatives}."
            )
        super().__init__(split, split.train_end[enough] - 1, max_length, batch_size, seed)
        trained = split.sequences.items[split.train_mask()]
        counts = np.bincount(trained, minlength=split.sequences.num_items + 1)[1:]
        shares = counts / counts.sum() if popular else np.full(len(counts), 1.0 / len(counts))
        with np.errstate(divide="ignore"):
            self.log_q = np.log(shares).astype(np.float32)
        self._negatives, self._shared = negatives, shared
        self._pool = tf.constant(trained if popular else np.arange(1, len(counts) + 1), tf.int32)
        self._sample = NegativeSampler(split) if negatives and not shared else None

    def _with_negatives(self, batch, step, part, parts):
        if not self._negatives:
            return batch
        seed = tf.stack([tf.constant(self.seed, tf.int64), step])
        negatives = (
            self._shared_negatives(seed)
            if self._shared
            else self._own_negatives(batch["user"], seed, part, parts)
        )
        return {**batch, "negatives": negatives}

    def _shared_negatives(self, seed):
        each = -(-self._negatives // self.batch_size)
        drawn = tf.random.stateless_uniform(
            [self.batch_size, each], seed, maxval=tf.size(self._pool), dtype=tf.int32
        )
        return tf.gather(self._pool, drawn)

    def _own_negatives(self, user, seed, part, parts):
        owners = tf.broadcast_to(
            user[:, tf.newaxis, tf.newaxis],
            [self.batch_size // parts, self.max_length, self._negatives],
        )
        return self._sample(owners, seed, part, parts)


class NextItems(SequenceStream):
    """The training sequences of a split, one for each user, with the next item at every position as
    its target.

    Every pass visits each user once; the order is a function of (seed, pass), and a batch of (seed,
    step).

    Args:
      split: events and their training prefix; users with a single training event have no target and
          are left out.
      max_length: L; of longer sequences the latest L targets and what comes before each are used.
      negatives: sampled items; 0 for none.
      shared: False: K negatives for each position that its user has not touched in training. True:
        at least K negatives for the whole batch, drawn from all items.
      popular: shared negatives are drawn as often as they stand in the training events, instead of
          uniformly.
      batch_size: B, users.
      seed: of order and negatives.

    Batches: {"user" int32 [B], "history" int32 [B, L], "targets" int32 [B, L], "normalizer" float32
    [B]}: `targets[b, l]` follows `history[b, l]`; 0 is padding, on the left; `normalizer` is one
    over the number of targets of the whole batch. With negatives also "negatives" int32 [B, L, K],
    or [B, ceil(K / B)] when shared; all of the latter go with every part of a batch. Where events
    have weights also "sample_weight" float32 [B, L], those of the targets, and `normalizer` is one
    over its sum.

    Errors: DataError when no user has two training events; ConfigError when there are fewer items
    than negatives.
    """

    def __init__(
        self,
        split: Split,
        *,
        max_length=50,
        negatives=0,
        shared=False,
        popular=False,
        batch_size=256,
        seed=1,
    ):
        super().__init__(split, max_length, negatives, shared, popular, batch_size, seed)

    def _gather(self, position, step, part, parts, everyone):
        user, history = self._events.before(position, self.max_length)
        batch = {
            "user": user,
            "history": history,
            "targets": self._events.items(self._following(position), history > 0),
        }
        if self._events.weighted:
            batch.update(self._weights(position, everyone))
        else:
            lengths = tf.minimum(everyone - self._events.start_at(everyone), self.max_length)
            batch["normalizer"] = tf.fill(
                [self.batch_size // parts], 1.0 / tf.cast(tf.reduce_sum(lengths), tf.float32)
            )
        return self._with_negatives(batch, step, part, parts)

    def _following(self, position):
        """Flat positions [B, L] of the targets of sequences that end at `position`; those of
        padding are not the user's.
        """
        return position[:, tf.newaxis] + tf.range(1 - self.max_length, 1, dtype=tf.int64)

    def _sample_weight(self, position):
        following = self._following(position)
        return self._events.weights(
            following, following > self._events.start_at(position)[:, tf.newaxis]
        )


