"""Batches of next items, against plain Python loops."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.batches.histories import HISTORIES, all_for_training, one_pass, sequences_of
from tfrec_attn.data.batches.next_items import NextItems
from tfrec_attn.data.batches.windows import window_positions
from tfrec_attn.data.sequences.splits import leave_one_out
from tfrec_attn.errors import ConfigError, DataError


@settings(max_examples=40, deadline=None)
@given(HISTORIES, st.integers(1, 6), st.integers(1, 7))
def test_one_pass_of_next_items_holds_every_user_once_with_every_target(
    histories, length, batch_size
):
    stream = NextItems(
        all_for_training(*histories, num_items=9), max_length=length, batch_size=batch_size
    )
    expected = []
    for user, history in enumerate(histories, start=1):
        if len(history) >= 2:
            padding = [0] * max(length - len(history) + 1, 0)
            expected.append(
                (
                    user,
                    tuple((padding + history[:-1])[-length:]),
                    tuple((padding + history[1:])[-length:]),
                )
            )
    assert len(stream) == len(expected)
    assert sorted(one_pass(stream)) == sorted(expected)


def test_next_items_hold_no_held_out_events():
    (found,) = one_pass(
        NextItems(leave_one_out(sequences_of([1, 2, 3, 4, 5])), max_length=4, batch_size=1)
    )
    assert found == (1, (0, 0, 1, 2), (0, 0, 2, 3))


def test_negatives_of_next_items():
    split = all_for_training([1, 2, 3, 1], [5, 5, 5, 1], num_items=9)
    own = NextItems(split, max_length=3, negatives=4, batch_size=2).batch(tf.constant(0, tf.int64))
    assert own["negatives"].shape == [2, 3, 4]
    for user, negatives in zip(own["user"].numpy(), own["negatives"].numpy(), strict=True):
        assert not set(negatives.ravel()) & {1: {1, 2, 3}, 2: {5, 1}}[user]
    uniform = NextItems(split, negatives=9, shared=True, batch_size=2)
    assert uniform.batch(tf.constant(0, tf.int64))["negatives"].shape == [2, 5]
    np.testing.assert_allclose(uniform.log_q, np.log(np.full(9, 1 / 9)), rtol=1e-6)
    popular = NextItems(split, negatives=9, shared=True, popularity=1.0, batch_size=2)
    np.testing.assert_allclose(
        np.exp(popular.log_q), [3 / 8, 1 / 8, 1 / 8, 0, 3 / 8, 0, 0, 0, 0], rtol=1e-6
    )
    # The square roots of 3, 1, 1 and 3 by their sum.
    between = NextItems(split, negatives=9, shared=True, popularity=0.5, batch_size=2).log_q
    np.testing.assert_allclose(
        np.exp(between[:5]), [0.316987, 0.183013, 0.183013, 0, 0.316987], rtol=1e-5
    )
    drawn = np.concatenate(
        [
            popular.batch(tf.constant(step, tf.int64))["negatives"].numpy().ravel()
            for step in range(300)
        ]
    )
    np.testing.assert_allclose(
        np.bincount(drawn, minlength=10)[1:] / len(drawn), np.exp(popular.log_q), atol=0.04
    )
    with pytest.raises(
        ConfigError, match=r"^negatives must be at most the number of items, 9, but is 10"
    ):
        NextItems(split, negatives=10)


def test_no_user_with_two_training_events():
    with pytest.raises(DataError, match="No user has two training events"):
        NextItems(leave_one_out(sequences_of([1, 2, 3], [4, 5, 6])))
    with pytest.raises(DataError, match="No user has two training events"):
        window_positions(leave_one_out(sequences_of([1, 2, 3], [4, 5, 6])), 5, 3)
