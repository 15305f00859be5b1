"""Negatives that are drawn for the targets of a user."""

import numpy as np
import tensorflow as tf

from tests.data.batches.histories import all_for_training, sequences_of
from tfrec_attn.data.batches.negative_sampler import NegativeSampler
from tfrec_attn.data.sequences.splits import leave_one_out


def test_negatives_are_uniform_over_untouched_items():
    # User 1 has touched 1, 2, 5, 9; user 2 has touched 10 only; user 3 everything but 4.
    touched = {1: [1, 2, 5, 9, 5], 2: [10, 10], 3: [1, 2, 3, 5, 6, 7, 8, 9, 10]}
    sample = NegativeSampler(all_for_training(*touched.values()))
    users = np.repeat([1, 2, 3], 6000).astype(np.int32)
    drawn = sample(tf.constant(users), tf.constant([1, 2], tf.int64)).numpy()
    for user, items in touched.items():
        allowed = sorted(set(range(1, 11)) - set(items))
        counts = np.bincount(drawn[users == user], minlength=11)
        assert np.flatnonzero(counts).tolist() == allowed
        expected = 6000 / len(allowed)
        # Five standard deviations of a binomial count.
        assert (
            np.abs(counts[allowed] - expected).max()
            <= 5 * np.sqrt(expected * (1 - 1 / len(allowed))) + 1e-9
        )


def test_negatives_can_be_held_out_items():
    split = leave_one_out(sequences_of([1, 2, 3, 4], num_items=4))
    drawn = NegativeSampler(split)(tf.ones([500], tf.int32), tf.constant([1, 2], tf.int64)).numpy()
    assert set(drawn.tolist()) == {3, 4}


def test_a_user_who_has_touched_everything_gets_any_item():
    drawn = NegativeSampler(all_for_training([1, 2, 3]))(
        tf.ones([500], tf.int32), tf.constant([1, 2], tf.int64)
    ).numpy()
    assert set(drawn.tolist()) == {1, 2, 3}
