"""Counting models on logs small enough to count by hand or by a loop."""

from collections import defaultdict

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import training_split
from tfrec_attn import models
from tfrec_attn.data.batches import HeldOut
from tfrec_attn.data.sequences import pair_sums
from tfrec_attn.data.sequences.encoding import Sequences
from tfrec_attn.data.sequences.neighbour_rows import (
    co_occurrences,
    decayed_transitions,
    popularity_levels,
)
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.evaluation.held_out import held_out_ranks
from tfrec_attn.evaluation.ranking import MISS

# The last two events of each user are held out; user 0 has too few and only trains.
#   user 0: 6 6        user 1: 1 2 3 | 4 5        user 2: 2 3 | 1 6        user 3: 1 2 | 4 1
# Training events of items 1..6: 2 (users 1, 3), 3 (1, 2, 3), 2 (1, 2), 0, 0, 2 (user 0, twice).
# Training pairs: 1->2 twice (1, 3), 2->3 twice (1, 2), 6->6 once; 6->1 would be of two users.
HISTORIES = [[6, 6], [1, 2, 3, 4, 5], [2, 3, 1, 6], [1, 2, 4, 1]]
# All of these train.
WORKED = [[1, 2, 3], [1, 2], [2, 3, 1], [3, 1], [4, 2]]


@pytest.fixture
def split(make_leave_one_out):
    return make_leave_one_out(HISTORIES, num_items=6)


def split_of(histories, num_items):
    """A split that holds out nothing."""
    items = np.concatenate([np.array(history, np.int32) for history in histories])
    offsets = np.cumsum([0, *map(len, histories)])
    names = (Vocabulary(map(str, range(count))) for count in (len(histories), num_items))
    sequences = Sequences(items, offsets, np.arange(len(items)), *names)
    return Split(sequences, offsets[1:], offsets[:0], offsets[:0], "leave-one-out")


def counted(name, split, **parameters):
    sequences = split.sequences
    model = models.get(name)(sequences.num_users, sequences.num_items, 4, **parameters)
    model.count(split)
    return model


def scores(model, history):
    return model.scores({"user": tf.constant([0]), "history": tf.constant([history])}).numpy()[0]


def rank(model, history, target, seen=(0,)):
    features = {
        "user": tf.constant([0]),
        "history": tf.constant([history]),
        "target": tf.constant([target]),
        "seen": tf.constant([list(seen)]),
    }
    return int(model.ranks(features)[0])


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("pop", {}, [4 / 12, 4 / 12, 3 / 12, 1 / 12]),
        # The ties are 2/3 for 4 events, 1/3 for 3 and 0 for 1.
        ("transition", {}, [2 / 3, 2 / 3, 2 + 1 / 3, 0]),
        (
            "decayed_transitions",
            {"span": 2, "decay": 1.0, "popularity_power": 0.0},
            [0.5, 1, 2.25, 0],
        ),
        (
            "decayed_transitions",
            {"span": 2, "decay": 1.0, "popularity_power": 0.5},
            [0.25, 0.5, 1.299038, 0],
        ),
        # The last item only, one step.
        (
            "decayed_transitions",
            {"span": 1, "recency": 100.0, "popularity_power": 0.0},
            [0, 0, 2, 0],
        ),
        # Backward: 2 comes after 1 twice, and once after 4; 1 is two steps before 3 once.
        (
            "decayed_transitions",
            {"span": 1, "backward": 0.5, "recency": 100.0, "popularity_power": 0.0},
            [1, 0, 2, 0.5],
        ),
        ("item_knn", {"recency": 0.0}, [0.75, 0.75, 1.443376, 0.5]),
        ("item_knn", {"recency": 1.0}, [0.75, 0.375, 0.577350 + 0.866025 / 2, 0.5]),
        # Of 2 the most similar item is 1, and of 1 it is 3.
        ("item_knn", {"recency": 0.0, "neighbours": 1}, [0.75, 0, 0.866025, 0]),
        ("item_knn", {"recency": 100.0, "shrink": 1.0}, [3 / 5, 0, 2 / (12**0.5 + 1), 1 / 3]),
    ],
)
def test_worked_scores(name, parameters, expected):
    model = counted(name, split_of(WORKED, 4), **parameters)
    np.testing.assert_allclose(scores(model, [0, 0, 1, 2]), expected, atol=1e-5)


def rows_of(found):
    """{(i, j): value} of `NeighbourRows`."""
    return {
        (first, second): value
        for first, (items, values) in enumerate(zip(*map(np.ndarray.tolist, found), strict=True))
        for second, value in zip(items, values, strict=True)
        if second
    }


@pytest.mark.parametrize("bucket", [7, 4_000_000])
@pytest.mark.parametrize(
    "parameters", [(1, 0.0, 0.0, 0.0), (3, 1.0, 0.5, 0.5), (50, 0.5, 0.0, 0.25)]
)
def test_decayed_transitions_against_a_loop(parameters, bucket, make_leave_one_out, monkeypatch):
    monkeypatch.setattr(pair_sums, "_BUCKET", bucket)
    random = np.random.default_rng(1)
    histories = [random.integers(1, 8, size).tolist() for size in (3, 1, 9, 6, 2)]
    span, decay, backward, power = parameters
    sums, popularity = defaultdict(float), defaultdict(int)
    for history in histories:
        train = history[:-2] if len(history) >= 3 else history
        for place, first in enumerate(train):
            popularity[first] += 1
            for step, second in enumerate(train[place + 1 :][:span], start=1):
                sums[first, second] += step**-decay
                if backward:
                    sums[second, first] += backward * step**-decay
    names = ("span", "decay", "backward", "popularity_power")
    found = decayed_transitions(
        make_leave_one_out(histories, 7), 7, **dict(zip(names, parameters, strict=True))
    )
    expected = {pair: value / popularity[pair[1]] ** power for pair, value in sums.items()}
    assert rows_of(found) == pytest.approx(expected, rel=1e-6)
    assert (np.diff(found.values, axis=1) <= 0).all()


def test_co_occurrences_against_a_loop(make_leave_one_out):
    random = np.random.default_rng(2)
    histories = [random.integers(1, 8, size).tolist() for size in (3, 1, 9, 6, 2, 30)]
    sets = [set(one[:-2] if len(one) >= 3 else one) for one in histories]
    users = {item: sum(item in one for one in sets) for item in range(1, 8)}
    expected = {
        (i, j): both / (np.sqrt(users[i] * users[j]) + 0.3)
        for i in users
        for j in users
        if i != j and (both := sum({i, j} <= one for one in sets))
    }
    found = co_occurrences(make_leave_one_out(histories, 7), 7, shrink=0.3)
    assert rows_of(found) == pytest.approx(expected, rel=1e-6)


def test_the_best_neighbours_are_kept_and_popular_ones_among_equals():
    # 1 -> 2 twice; 1 -> 3, 1 -> 4, 1 -> 5 once; 5 is more popular than 4, and 4 than 3.
    split = split_of([[1, 2], [1, 2], [1, 3], [1, 4], [1, 5], [5], [5], [4]], 5)
    found = decayed_transitions(split, 3, span=1, popularity_power=0.0)
    assert found.items[1].tolist() == [2, 5, 4]
    assert found.values[1].tolist() == [2, 1, 1]
    assert not found.items[[0, 2, 3, 4, 5]].any()


def test_levels_of_popularity():
    assert popularity_levels(np.array([7, 0, 7, 2, 900])).tolist() == [0.5, 0, 0.5, 0.25, 0.75]


def test_counts_of_training_events_only(split):
    shares = counted("pop", split).item_vectors().numpy()[1:, 0]
    np.testing.assert_allclose(9 * shares, [2, 3, 2, 0, 0, 2], rtol=1e-6)


def test_popularity_ranks(split):
    # Item 2 leads; 1, 3 and 6 tie, so each stands behind the other two; 4 and 5 tie at the end.
    pop = counted("pop", split)
    assert [rank(pop, [0, 1], item) for item in range(1, 7)] == [4, 1, 4, 6, 6, 4]
    assert rank(pop, [0, 1], 3, seen=[2, 6]) == 2


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
        (0, [4, 1, 4, 6, 6, 4]),
    ],
)
def test_transition_ranks(split, last, expected):
    model = counted("transition", split)
    assert [rank(model, [5, last], item) for item in range(1, 7)] == expected


@pytest.mark.parametrize("name", ["transition", "decayed_transitions", "item_knn"])
def test_counts_weigh_more_than_any_popularity(name, make_leave_one_out):
    # 1 -> 2 once, item 3 seven times. In training: user 1: 1 2, user 2: 3 3 3 3 3 3 3.
    model = counted(name, make_leave_one_out([[1, 2, 4, 4], [3] * 7 + [4, 4]], num_items=4))
    assert [rank(model, [1], item) for item in (2, 3)] == [1, 2]


def test_transitions_with_a_tie_are_ordered_by_popularity(make_leave_one_out):
    # 1 -> 2 and 1 -> 3 once each; item 3 occurs twice, item 2 once. In training: 1 2, 1 3, 3.
    split = make_leave_one_out([[1, 2, 4, 4], [1, 3, 4, 4], [3, 4, 4]], num_items=4)
    model = counted("transition", split)
    assert [rank(model, [1], item) for item in (3, 2, 1, 4)] == [1, 2, 3, 4]


def test_held_out_ranks_by_hand(split):
    # Popularity, test: user 1 wants 5 out of {5, 6}: 6 leads. User 2 wants 6 out of {4, 5, 6}: it
    # leads. User 3 wants 1, met before: a miss, or, where all items compete, behind 2 and its ties
    # 3 and 6.
    pop, transition = (counted(name, split).ranks for name in ("pop", "transition"))
    test = HeldOut(split, "test", batch_size=2)
    assert held_out_ranks(pop, test).tolist() == [2, 1, MISS]
    everything = HeldOut(split, "test", batch_size=2, repeats="include")
    assert held_out_ranks(pop, everything).tolist()[2] == 4
    # Transition, test: the last items are 4, 1 and 4. 1 -> 2 is seen, after 4 nothing came: the
    # same ranks.
    assert held_out_ranks(transition, test).tolist() == [2, 1, MISS]
    # Transition, valid: user 1 wants 4 after 3 out of {4, 5, 6}: last. User 2 wants 1 after 3 out
    # of {1, 4, 5, 6}: behind its tie 6. User 3 wants 4 after 2 out of {3, 4, 5, 6}: 3 leads, then
    # 6, and 5 ties.
    valid = HeldOut(split, "valid", batch_size=2)
    assert held_out_ranks(transition, valid).tolist() == [3, 2, 4]


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("transition", {"neighbours": 0}, "`neighbours` must be an integer of at least 1; got 0."),
        (
            "decayed_transitions",
            {"span": 0},
            "`span` must be an integer of at least 1; got 0.",
        ),
        (
            "decayed_transitions",
            {"decay": -1.0},
            "`decay` must be from 0 to 100; got -1.0.",
        ),
        (
            "decayed_transitions",
            {"backward": float("nan")},
            "`backward` must be from 0 to 100; got nan.",
        ),
        (
            "decayed_transitions",
            {"popularity_power": 101},
            "`popularity_power` must be from 0 to 100; got 101.",
        ),
        (
            "decayed_transitions",
            {"recency": -0.5},
            "`recency` must be from 0 to 100; got -0.5.",
        ),
        ("item_knn", {"shrink": -1.0}, "`shrink` must be 0 or greater; got -1.0."),
    ],
)
def test_parameters_out_of_range(name, parameters, message):
    with pytest.raises(ValueError, match="must be") as caught:
        models.get(name)(3, 4, 5, **parameters)
    assert str(caught.value) == message


def test_a_counting_model_is_not_fitted():
    model = models.Pop(3, 4, 5)
    model.compile()
    with pytest.raises(ValueError, match=r"Pop has no loss to be fitted by: call count\(split\)"):
        model.fit(tf.data.Dataset.from_tensors({"user": [1]}), verbose=0)


def test_a_trained_model_does_not_count():
    with pytest.raises(NotImplementedError, match=r"SASRec trains on next_items: call fit\."):
        models.SASRec(3, 4, 5, dim=4).count(training_split(3, 4))
