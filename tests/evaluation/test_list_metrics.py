"""Metrics of lists, worked by hand and against loops."""

import itertools

import numpy as np
import pytest

from tfrec_attn.evaluation.list_metrics import list_metrics


def test_three_lists_by_hand():
    # Items 1 to 4 have 8, 4, 2 and 2 of 16 events: 1, 2, 3 and 3 bits. Item 1 alone has half.
    # Item 1 is in three lists, 2 in two, 4 in one. Pairs share 2, 1 and 1 of two items.
    found = list_metrics(np.array([[1, 2], [2, 1], [1, 4]]), np.array([8, 4, 2, 2]))
    assert found == pytest.approx(
        {
            "coverage@2": 3 / 4,
            "novelty@2": (3 * 1 + 2 * 2 + 3) / 6,
            "popular@2": 3 / 6,
            "diversity@2": np.mean([0.0, 0.5, 0.5]),
        }
    )


def test_lists_with_gaps_against_loops():
    random = np.random.default_rng(1)
    counts = random.integers(0, 30, 12)
    lists = np.array([random.permutation(12)[:5] + 1 for _ in range(9)])
    lists[2, 3:] = 0
    lists[5] = 0
    found = list_metrics(lists, counts)
    items = [item for row in lists.tolist() for item in row if item]
    assert found["coverage@5"] == len(set(items)) / 12
    bits = [-np.log2(max(counts[item - 1], 1) / counts.sum()) for item in items]
    assert found["novelty@5"] == pytest.approx(np.mean(bits))
    by_count = sorted(range(1, 13), key=lambda item: -counts[item - 1])
    head = next(
        by_count[:size]
        for size in range(1, 13)
        if sum(counts[item - 1] for item in by_count[:size]) >= counts.sum() / 2
    )
    assert found["popular@5"] == pytest.approx(np.mean([item in head for item in items]))
    differences = [
        1 - len((set(one) & set(other)) - {0}) / 5
        for one, other in itertools.combinations(lists.tolist(), 2)
    ]
    assert found["diversity@5"] == pytest.approx(np.mean(differences))


@pytest.mark.parametrize("lists", [np.zeros([3, 2], int), np.array([[1, 2]])])
def test_nothing_recommended_and_a_single_user_are_finite(lists):
    found = list_metrics(lists, np.array([3, 0]))
    assert np.isfinite(list(found.values())).all()
    assert found["diversity@2"] == (1.0 if len(lists) == 3 else 0.0)
