"""Ranking of held-out events in blocks, and intervals of the means."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.data.batches import HeldOut
from tfrec_attn.evaluation import held_out
from tfrec_attn.evaluation.ranking import ranks

HISTORIES = [[1, 2, 3, 4], [2, 5, 2, 6, 1], [3, 1], [4, 4, 6], [6, 5, 4, 3, 2, 1, 5]]
TARGETS = {"valid": [3, 6, 4, 1], "test": [4, 1, 6, 5]}  # the third user has too few events


@pytest.fixture
def split(make_leave_one_out):
    return make_leave_one_out(HISTORIES, num_items=6)


class Recorder:
    """A ranker that keeps its blocks and calls each target's index its rank."""

    def __init__(self):
        self.blocks = []

    def __call__(self, features):
        self.blocks.append({name: value.numpy() for name, value in features.items()})
        return features["target"]


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_ranks_come_in_the_order_of_the_events(split, part, batch_size):
    ranker = Recorder()
    events = HeldOut(split, part, batch_size=batch_size)
    result = held_out.held_out_ranks(ranker, events, eager=math.inf)
    assert result.dtype == np.int32
    assert result.tolist() == TARGETS[part]
    assert [len(block["target"]) for block in ranker.blocks] == [
        min(batch_size, 4 - at) for at in range(0, 4, batch_size)
    ]


def test_a_ranker_sees_the_whole_past_and_nothing_later(split):
    ranker = Recorder()
    events = HeldOut(split, "test", max_length=3, batch_size=1)
    held_out.held_out_ranks(ranker, events, eager=math.inf)
    # The shortest history first, and no wider than it is.
    assert [block["history"].tolist() for block in ranker.blocks] == [
        [[4, 4]],
        [[1, 2, 3]],
        [[5, 2, 6]],
        [[3, 2, 1]],
    ]
    assert [set(block["seen"].ravel()) - {0} for block in ranker.blocks] == [
        {4},
        {1, 2, 3},
        {2, 5, 6},
        {1, 2, 3, 4, 5, 6},
    ]


def test_a_plain_ranker_is_compiled(split):
    calls = []

    def ranker(features):
        calls.append(tf.executing_eagerly())
        return features["target"] * 2

    result = held_out.held_out_ranks(ranker, HeldOut(split, "test", batch_size=1))
    assert result.tolist() == [2 * target for target in TARGETS["test"]]
    assert not any(calls)


def test_full_ranking_equals_a_loop(split):
    # Every user gets the same scores, with a tie between items 1 and 4. The last user's target is
    # in the history: a miss.
    scores = [0.5, 0.9, 0.1, 0.5, 0.7, 0.2]
    expected = []
    for history in HISTORIES:
        if len(history) >= 3:
            target, past = history[-1], set(history[:-1])
            rivals = [item for item in range(1, 7) if item != target and item not in past]
            rank = 1 + sum(scores[item - 1] >= scores[target - 1] for item in rivals)
            expected.append(2**31 - 1 if target in past else rank)

    def ranker(features):
        return ranks(
            tf.tile([scores], [tf.shape(features["target"])[0], 1]),
            features["target"],
            features["seen"],
        )

    assert (
        held_out.held_out_ranks(ranker, HeldOut(split, "test", batch_size=3)).tolist() == expected
    )


def test_summary_by_hand():
    # Ranks 1, 3, 11, 2: gains 1, 1/2, none, 1 / log2(3) at 10.
    result = held_out.summarise(np.array([1, 3, 11, 2], np.int32), [1, 10])
    assert list(result) == ["HR@1", "NDCG@1", "HR@10", "NDCG@10", "MRR"]
    assert result == pytest.approx(
        {
            "HR@1": 1 / 4,
            "NDCG@1": 1 / 4,
            "HR@10": 3 / 4,
            "NDCG@10": (1 + 1 / 2 + 1 / math.log2(3)) / 4,
            "MRR": (1 + 1 / 3 + 1 / 11 + 1 / 2) / 4,
        },
        rel=1e-6,
    )
    assert all(type(value) is float for value in result.values())


def test_a_mean_over_many_ranks_is_not_summed_in_float32():
    # 2^24 + 1 is the first integer that float32 does not hold; a mean of 1/3 drifts long before.
    result = held_out.summarise(np.full(300_001, 3, np.int32), [5])
    assert result["NDCG@5"] == pytest.approx(0.5, abs=1e-7)
    assert result["MRR"] == pytest.approx(1 / 3, abs=2e-8)


@pytest.fixture(scope="module")
def binary():
    """2000 ranks of which 600 are a hit at 1."""
    return (
        np.random.default_rng(2).permutation(np.where(np.arange(2000) < 600, 1, 2)).astype(np.int32)
    )


def test_interval_of_a_share_is_the_normal_one(binary):
    # Standard error sqrt(0.3 * 0.7 / 2000) = 0.01025; the interval is 1.96 of it to either side.
    low, high = held_out.bootstrap_intervals(
        held_out.values_of(binary, [1]), resamples=1000, seed=3
    )["HR@1"]
    half = 1.96 * math.sqrt(0.3 * 0.7 / 2000)
    assert low < 0.3 < high
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)
    assert (low + high) / 2 == pytest.approx(0.3, abs=0.15 * half)


def test_intervals_hold_every_metric_and_its_mean(binary):
    means = held_out.summarise(binary, [1, 5])
    intervals = held_out.bootstrap_intervals(
        held_out.values_of(binary, [1, 5]), resamples=120, seed=3
    )
    assert list(intervals) == list(means)
    for name, (low, high) in intervals.items():
        assert low <= means[name] + 1e-6 and means[name] - 1e-6 <= high
    # Every rank is 1 or 2: HR@5 is always 1, and MRR = (1 + HR@1) / 2 in every resample.
    assert intervals["HR@5"] == [1.0, 1.0]
    assert intervals["MRR"] == pytest.approx([(1 + end) / 2 for end in intervals["HR@1"]])


def test_intervals_are_a_function_of_the_seed(binary):
    first, again, other = (
        held_out.bootstrap_intervals(held_out.values_of(binary[:200], [1]), resamples=60, seed=seed)
        for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_constant_ranks_have_no_width():
    intervals = held_out.bootstrap_intervals(
        held_out.values_of(np.full(30, 4, np.int32), [5]), resamples=70
    )
    for name, expected in {"HR@5": 1.0, "NDCG@5": 1 / math.log2(5), "MRR": 0.25}.items():
        assert intervals[name] == pytest.approx([expected, expected], rel=1e-6)


def test_one_resample_is_a_mean_of_drawn_events(binary):
    # A count of 50 events over 50: its ends coincide and it is a multiple of 1/50.
    low, high = held_out.bootstrap_intervals(held_out.values_of(binary[:50], [1]), resamples=1)[
        "HR@1"
    ]
    assert low == high
    assert low * 50 == pytest.approx(round(low * 50))


@pytest.mark.parametrize("num_items", [1, 100, 3_706, 131_072, 1_000_000, 33_554_432])
@pytest.mark.parametrize("limit", [1, 256, 4096])
def test_a_block_of_scores_stays_under_128_mib(num_items, limit):
    size = held_out.block_size(num_items, limit)
    assert 1 <= size <= limit
    assert size * num_items * 4 <= 128 * 2**20
    # No smaller than it has to be.
    assert size == limit or (size + 1) * num_items * 4 > 128 * 2**20


def test_a_block_holds_a_user_however_large_the_catalogue():
    assert held_out.block_size(10**9) == 1
    assert held_out.block_size(0, 256) == 256
