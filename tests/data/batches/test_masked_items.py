"""Batches of masked items."""

import numpy as np
import pytest
import tensorflow as tf

from tests.data.batches.histories import all_for_training, sequences_of
from tfrec_attn.data.batches.masked_items import MaskedItems
from tfrec_attn.data.sequences.splits import leave_one_out


def masked(*histories, **options):
    """(user, sequence as it is, where it is masked) of each example of the first pass."""
    stream = MaskedItems(all_for_training(*histories, num_items=9), **options)
    found = []
    for step in range(stream.steps_per_epoch):
        batch = stream.batch(tf.constant(step, tf.int64))
        targets, history = batch["targets"].numpy(), batch["history"].numpy()
        np.testing.assert_allclose(batch["normalizer"], 1 / np.count_nonzero(targets), rtol=1e-6)
        assert ((history == 10) == (targets > 0)).all()
        found += zip(
            batch["user"].numpy().tolist(),
            (history * (history < 10) + targets).tolist(),
            (targets > 0).tolist(),
            strict=True,
        )
    return found[: len(stream)]


def test_only_the_latest_item_is_masked():
    found = masked([1, 2, 3, 4], [5, 6], [7], max_length=3, batch_size=2, last_share=1.0)
    assert sorted(found) == [
        (1, [2, 3, 4], [False, False, True]),
        (2, [0, 5, 6], [False, False, True]),
    ]


def test_masked_items_by_their_share():
    histories = [[*range(1, 10)]] * 400
    found = masked(*histories, max_length=9, batch_size=50, mask_share=0.3, last_share=0.25)
    where = np.array([one for _, _, one in found])
    only_last = (where.sum(axis=1) == 1) & where[:, -1]
    assert where.any(axis=1).all() and {tuple(items) for _, items, _ in found} == {
        tuple(histories[0])
    }
    # By chance alone 0.3 * 0.7^8 and a ninth of 0.7^9 have only the last one masked.
    alone = 0.3 * 0.7**8 + 0.7**9 / 9
    assert only_last.mean() == pytest.approx(0.25 + 0.75 * alone, abs=4 * np.sqrt(0.2 / 400))
    assert where[:, 0].mean() == pytest.approx(
        0.75 * (0.3 + 0.7**9 / 9), abs=4 * np.sqrt(0.2 / 400)
    )


def test_masks_change_with_the_pass_and_not_with_the_pipeline():
    stream = MaskedItems(
        all_for_training(*[[*range(1, 10)]] * 6, num_items=9), max_length=9, batch_size=6
    )
    whole = stream.batch(tf.constant(0, tf.int64))
    parts = [stream.batch(tf.constant(0, tf.int64), part, 3) for part in range(3)]
    for key in ("user", "history", "targets"):
        np.testing.assert_array_equal(tf.concat([part[key] for part in parts], axis=0), whole[key])
        assert (
            key == "user"
            or (stream.batch(tf.constant(1, tf.int64))[key].numpy() != whole[key].numpy()).any()
        )
    for part in parts:
        np.testing.assert_allclose(part["normalizer"], whole["normalizer"][0], rtol=1e-6)


def test_masked_items_hold_no_held_out_events():
    split = leave_one_out(sequences_of([1, 2, 3, 4, 8, 9], [5, 6, 7, 8, 9]))
    batch = MaskedItems(split, max_length=6, batch_size=2).batch(tf.constant(0, tf.int64))
    held = {4: {1, 2, 3, 4}, 3: {5, 6, 7}}
    for history, targets in zip(batch["history"].numpy(), batch["targets"].numpy(), strict=True):
        items = np.where(history == 10, targets, history)
        assert set(items[items > 0].tolist()) == held[np.count_nonzero(items)]
