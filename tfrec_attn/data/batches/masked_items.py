"""Sequences with masked items as targets, the cloze task of BERT4Rec."""

from typing import Any

import tensorflow as tf

from tfrec_attn.data.batches.next_items import SequenceStream
from tfrec_attn.data.sequences.splits import Split

# `use` of the seeds of the negatives. Those of the masks have use 0.
_NEGATIVES = 1


def masked_positions(
    real: tf.Tensor, seed: tf.Tensor, mask_share: float, last_share: float
) -> tf.Tensor:
    """Draws the masked positions: at least one in each sequence, and no padding.

    Args:
        real: Bool [B, L], False at padding, which is on the left.
        seed: Stateless seed, int64 [2].
        mask_share: Probability that a position is masked.
        last_share: Share of the sequences in which only the last position is masked.

    Returns:
        bool [B, L].
    """
    rows, length = tf.shape(real)[0], real.shape[1]
    draws = tf.random.stateless_uniform([rows, length + 1], seed)
    # The position with the lowest draw is always masked.
    item = tf.where(real, draws[:, 1:], 2.0)
    masked = real & ((item < mask_share) | (item == tf.reduce_min(item, axis=1, keepdims=True)))
    return tf.where(draws[:, :1] < last_share, real & (tf.range(length) == length - 1), masked)


class MaskedItems(SequenceStream):
    """A training sequence for each user, with some items masked: the cloze task of BERT4Rec.

    Batches are {"user" int32 [B], "history" int32 [B, L], "targets" int32 [B, L], "normalizer"
    float32 [B]}. A masked item is N + 1 in "history", and is the target at its position; "targets"
    is 0 elsewhere. "negatives", "sample_weight" and "normalizer" are as for `NextItems`.

    Args:
        split: Events and their training prefix.
        mask_share: Probability that an item is masked, in (0, 1]; at least one item is masked.
            Default 0.2.
        last_share: Share of the sequences in which only the latest item is masked, as in the
            prediction of the next item, in [0, 1]. Default 0.1.
        **options: The other arguments of `SequenceStream`.

    Reference:
        Sun et al., CIKM 2019 (arXiv 1904.06690).
    """

    def __init__(
        self, split: Split, *, mask_share: float = 0.2, last_share: float = 0.1, **options: Any
    ):
        super().__init__(split, **options)
        self._mask = split.sequences.num_items + 1
        self._mask_share, self._last_share = mask_share, last_share

    def _gather(self, position, step, part, parts, whole):
        rows = self.batch_size // parts
        index, real = self._real_sequence(whole)
        masked = masked_positions(real, self._seed_of(step), self._mask_share, self._last_share)
        own = tf.reshape(masked, [parts, rows, self.max_length])[part]
        history = self._events.items(*self._real_sequence(position))
        batch = {
            "user": self._events.users(position),
            "history": tf.where(own, self._mask, history),
            "targets": tf.where(own, history, 0),
        }
        weights = tf.cast(masked, tf.float32)
        if self._events.weighted:
            weights *= self._events.weights(index, real)
            batch["sample_weight"] = tf.reshape(weights, [parts, rows, self.max_length])[part]
        batch["normalizer"] = tf.fill([rows], 1.0 / tf.reduce_sum(weights))
        return self._with_negatives(batch, self._seed_of(step, _NEGATIVES), part, parts)

    def _real_sequence(self, position):
        """Returns the flat positions [B, L] of sequences, and which of them are not padding."""
        index = self._sequence(position)
        return index, index >= self._events.start_at(position)[:, tf.newaxis]
