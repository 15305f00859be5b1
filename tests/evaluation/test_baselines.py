"""Baselines on a log small enough to count by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.data.batches import HeldOut
from tfrec_attn.evaluation.baselines import BASELINES, LastItemTransition, Popularity
from tfrec_attn.evaluation.held_out import held_out_ranks
from tfrec_attn.evaluation.ranking import MISS

# The last two events of each user are held out; user 0 has too few and only trains.
#   user 0: 6 6        user 1: 1 2 3 | 4 5        user 2: 2 3 | 1 6        user 3: 1 2 | 4 1
# Training events of items 1..6: 2 (users 1, 3), 3 (1, 2, 3), 2 (1, 2), 0, 0, 2 (user 0, twice).
# Training pairs: 1->2 twice (1, 3), 2->3 twice (1, 2), 6->6 once; 6->1 would be of two users.
HISTORIES = [[6, 6], [1, 2, 3, 4, 5], [2, 3, 1, 6], [1, 2, 4, 1]]


@pytest.fixture
def split(make_leave_one_out):
    return make_leave_one_out(HISTORIES, num_items=6)


def rank(baseline, history, target, seen=(0,)):
    features = {
        "history": tf.constant([history]),
        "target": tf.constant([target]),
        "seen": tf.constant([list(seen)]),
    }
    return int(baseline(features)[0])


def test_popularity_counts_training_events_only(split):
    assert Popularity(split).counts.tolist() == [2, 3, 2, 0, 0, 2]


def test_popularity_ranks(split):
    # Item 2 leads; 1, 3 and 6 tie, so each stands behind the other two; 4 and 5 tie at the end.
    assert [rank(Popularity(split), [0, 1], item) for item in range(1, 7)] == [4, 1, 4, 6, 6, 4]
    assert rank(Popularity(split), [0, 1], 3, seen=[2, 6]) == 2


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        # After 1 came item 2, twice; the others by popularity. Item 2 leads either way.
        (1, [4, 1, 4, 6, 6, 4]),
        # After 2 came item 3: it leads, then 2, then 1 and 6.
        (2, [4, 2, 1, 6, 6, 4]),
        # After 6 came item 6, once: it leads, though item 2 is more popular.
        (6, [4, 2, 4, 6, 6, 1]),
        # Nothing came after 3 in training, nor after 4 or 5, nor after an empty history: popularity
        # alone.
        (3, [4, 1, 4, 6, 6, 4]),
        (4, [4, 1, 4, 6, 6, 4]),
        (5, [4, 1, 4, 6, 6, 4]),
        (0, [4, 1, 4, 6, 6, 4]),
    ],
)
def test_transition_ranks(split, last, expected):
    assert [rank(LastItemTransition(split), [5, last], item) for item in range(1, 7)] == expected


def test_transitions_weigh_more_than_any_popularity(make_leave_one_out):
    # 1 -> 2 once, item 3 seven times. In training: user 1: 1 2, user 2: 3 3 3 3 3 3 3.
    split = make_leave_one_out([[1, 2, 4, 4], [3] * 7 + [4, 4]], num_items=4)
    assert rank(LastItemTransition(split), [1], 2) == 1
    assert rank(LastItemTransition(split), [1], 3) == 2


def test_transitions_with_a_tie_are_ordered_by_popularity(make_leave_one_out):
    # 1 -> 2 and 1 -> 3 once each; item 3 occurs twice, item 2 once. In training: 1 2, 1 3, 3.
    split = make_leave_one_out([[1, 2, 4, 4], [1, 3, 4, 4], [3, 4, 4]], num_items=4)
    assert [rank(LastItemTransition(split), [1], item) for item in (3, 2, 1, 4)] == [1, 2, 3, 4]


def test_a_block_of_rows_equals_its_rows(split):
    baseline = LastItemTransition(split)
    histories, targets = (
        np.array([[2, 1], [1, 2], [0, 0], [3, 6], [1, 2]]),
        np.array([2, 1, 3, 6, 3]),
    )
    seen = np.array([[1, 0], [3, 1], [0, 0], [2, 3], [2, 1]])
    block = baseline(
        {
            "history": tf.constant(histories),
            "target": tf.constant(targets),
            "seen": tf.constant(seen),
        }
    )
    alone = [
        rank(baseline, *row)
        for row in zip(histories.tolist(), targets.tolist(), seen.tolist(), strict=True)
    ]
    # 1 -> 2 leads; 1 is among the seen; 2 leads 1, 3 and 6; 6 -> 6 leads; 2 -> 3 leads.
    assert block.numpy().tolist() == alone == [1, MISS, 4, 1, 1]


def test_held_out_ranks_by_hand(split):
    # Popularity, test: user 1 wants 5 out of {5, 6}: 6 leads. User 2 wants 6 out of {4, 5, 6}: it
    # leads. User 3 wants 1, met before: a miss, or, where all items compete, behind 2 and its ties
    # 3 and 6.
    test = HeldOut(split, "test", batch_size=2)
    assert held_out_ranks(Popularity(split), test).tolist() == [2, 1, MISS]
    everything = HeldOut(split, "test", batch_size=2, repeats="include")
    assert held_out_ranks(Popularity(split), everything).tolist()[2] == 4
    # Transition, test: the last items are 4, 1 and 4. 1 -> 2 is seen, after 4 nothing came: the
    # same ranks.
    assert held_out_ranks(LastItemTransition(split), test).tolist() == [2, 1, MISS]
    # Transition, valid: user 1 wants 4 after 3 out of {4, 5, 6}: last. User 2 wants 1 after 3 out
    # of {1, 4, 5, 6}: behind its tie 6. User 3 wants 4 after 2 out of {3, 4, 5, 6}: 3 leads, then
    # 6, and 5 ties.
    assert held_out_ranks(
        LastItemTransition(split), HeldOut(split, "valid", batch_size=2)
    ).tolist() == [3, 2, 4]


def test_names():
    assert {"pop": Popularity, "transition": LastItemTransition} == BASELINES
