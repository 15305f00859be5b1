"""Sequences with masked items, the cloze task of BERT4Rec."""

import tensorflow as tf

from tfrec_attn.data.batches.next_items import SequenceStream
from tfrec_attn.data.sequences.splits import Split


def masked_positions(real, seed, mask_share, last_share):
    """Draws the positions of the cloze task: at least one of each sequence, none of padding.

    Args:
        real: Bool [B, L], False at padding, which is on the left.
        seed: int64 [2].
        mask_share: Probability of each position.
        last_share: Share of the sequences of which the last position alone is masked.

    Returns:
        bool [B, L].
    """
    rows, length = tf.shape(real)[0], real.shape[1]
    draws = tf.random.stateless_uniform([rows, length + 1], seed)
    # The lowest draw of a sequence is masked in any case.
    item = tf.where(real, draws[:, 1:], 2.0)
    masked = real & ((item < mask_share) | (item == tf.reduce_min(item, axis=1, keepdims=True)))
    return tf.where(draws[:, :1] < last_share, real & (tf.range(length) == length - 1), masked)


class MaskedItems(SequenceStream):
    """The training sequences of a split, one for each user, with some items masked: the cloze task
    of BERT4Rec.

    Every pass visits each user once; the order is a function of (seed, pass), and a batch of (seed,
    step).

    Args:
        split: Events and their training prefix; users with a single training event are left out.
        max_length: L; of longer sequences the latest L items are used.
        mask_share: Probability with which each item is masked, in (0, 1]; one is always masked.
        last_share: Share of the examples of which the latest item alone is masked, as when a next
            item is predicted, in [0, 1].
        negatives: As for `NextItems`, and so are `shared` and `popular`.
        batch_size: B, users.
        seed: Of order, masks and negatives.

    Batches: {"user" int32 [B], "history" int32 [B, L], "targets" int32 [B, L], "normalizer" float32
    [B]}: a masked item is N + 1 in `history` and stands in `targets`, which is 0 elsewhere; the
    rest as `NextItems`.

    Reference:
        Sun et al., CIKM 2019 (arXiv 1904.06690).
    """

    def __init__(
        self,
        split: Split,
        *,
        max_length=50,
        mask_share=0.2,
        last_share=0.1,
        negatives=0,
        shared=False,
        popular=False,
        batch_size=256,
        seed=1,
    ):
        super().__init__(split, max_length, negatives, shared, popular, batch_size, seed)
        self._mask, self._mask_share, self._last_share = (
            split.sequences.num_items + 1,
            mask_share,
            last_share,
        )

    def _gather(self, position, step, part, parts, everyone):
        index, real = self._places(position)
        history = self._events.items(index, real)
        masked = self._masked(everyone, step)
        rows = self.batch_size // parts
        mine = tf.reshape(masked, [parts, rows, self.max_length])[part]
        batch = {
            "user": self._events.users(position),
            "history": tf.where(mine, self._mask, history),
            "targets": tf.where(mine, history, 0),
        }
        counts = tf.cast(masked, tf.float32)
        if self._events.weighted:
            counts *= self._events.weights(*self._places(everyone))
            batch["sample_weight"] = tf.reshape(counts, [parts, rows, self.max_length])[part]
        batch["normalizer"] = tf.fill([rows], 1.0 / tf.reduce_sum(counts))
        return self._with_negatives(batch, step, part, parts)

    def _masked(self, everyone, step):
        seed = tf.stack([tf.constant(self.seed, tf.int64), step])
        return masked_positions(self._places(everyone)[1], seed, self._mask_share, self._last_share)

    def _places(self, position):
        """Flat positions [B, L] of sequences that end at `position`, and which of them are the
        user's.
        """
        index = position[:, tf.newaxis] + tf.range(1 - self.max_length, 1, dtype=tf.int64)
        return index, index >= self._events.start_at(position)[:, tf.newaxis]
