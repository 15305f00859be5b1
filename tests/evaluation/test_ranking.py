"""Ranks against ranks by sorting."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gpu_kernels import on_the_host
from tfrec_attn.evaluation.metrics import hit_rate
from tfrec_attn.evaluation.ranking import MISS, ranks


def twin(scores, target, seen):
    """Sorts each row's candidates, best first and the target behind its equals, and looks up where
    the target stands.
    """
    result = []
    for row_scores, one, row_seen in zip(scores, target, seen, strict=True):
        if one in row_seen:
            result.append(MISS)
            continue
        candidates = [item for item in range(1, len(row_scores) + 1) if item not in row_seen]
        candidates.sort(key=lambda item: (-row_scores[item - 1], item == one))
        result.append(candidates.index(one) + 1)
    return result


def of(scores, target, seen):
    """Ranks of plain lists."""
    result = ranks(
        tf.constant(scores, tf.float32), tf.constant(target, tf.int32), tf.constant(seen, tf.int32)
    )
    assert result.dtype == tf.int32
    return result.numpy().tolist()


def test_by_hand():
    # Items 1..4 score 3, 1, 2, 5. Item 3 has items 4 and 1 before it; without item 4 only item 1;
    # item 2 is last.
    row = [3.0, 1.0, 2.0, 5.0]
    assert of([row, row, row, row], [3, 3, 2, 4], [[0], [4], [0], [0]]) == [3, 2, 4, 1]


def test_equals_sorting_on_scores_with_many_ties():
    random = np.random.default_rng(5)
    for _ in range(20):
        scores = random.integers(-2, 3, (6, 9)).astype(np.float32)
        target = random.integers(1, 10, 6)
        seen = np.stack(
            [
                np.where(np.arange(7) < random.integers(0, 8), random.permutation(9)[:7] + 1, 0)
                for _ in range(6)
            ]
        )
        assert of(scores, target, seen) == twin(scores.tolist(), target.tolist(), seen.tolist())


@st.composite
def blocks(draw):
    num_items = draw(st.integers(1, 6))
    size = draw(st.integers(1, 3))
    width = draw(st.integers(0, num_items))
    scores = [
        draw(st.lists(st.integers(-2, 2), min_size=num_items, max_size=num_items))
        for _ in range(size)
    ]
    target = [draw(st.integers(1, num_items)) for _ in range(size)]
    seen = [draw(st.permutations(range(1, num_items + 1)))[:width] for _ in range(size)]
    # Padding may stand anywhere.
    seen = [[draw(st.sampled_from([item, 0])) for item in row] for row in seen]
    return scores, target, np.array(seen, np.int32).reshape(size, width)


@settings(deadline=None, max_examples=60)
@given(blocks())
def test_equals_sorting_on_any_small_block(block):
    scores, target, seen = block
    assert of(scores, target, seen) == twin(scores, target, seen.tolist())


def test_a_constant_model_ranks_every_target_last():
    # 50 items, 3 of them seen: 47 candidates, the target behind all others, so no hit at any
    # smaller cut-off.
    result = of(np.zeros((4, 50)), [7, 1, 50, 2], [[10, 20, 30, 0]] * 4)
    assert result == [47, 47, 47, 47]
    assert not hit_rate(tf.constant(result), 46).numpy().any()


def test_scores_that_are_not_numbers_rank_the_target_last():
    # Everything NaN: 5 candidates less 1 seen. Only the target NaN: the same. One other NaN: it
    # counts as better than the target.
    nan = float("nan")
    assert of([[nan] * 5], [2], [[4]]) == [4]
    assert of([[1.0, nan, 1.0, 1.0, 1.0]], [2], [[4]]) == [4]
    assert of([[1.0, 3.0, nan, 1.0, 1.0]], [2], [[4]]) == [2]
    # A seen NaN counts no more than any other seen item.
    assert of([[1.0, 3.0, nan, 1.0, 1.0]], [2], [[3]]) == [1]


def test_infinite_scores():
    # Item 3 at -inf is behind, item 4 at +inf before the target; two at -inf tie against it.
    inf = float("inf")
    assert of([[0.0, 1.0, -inf, inf]], [2], [[0]]) == [2]
    assert of([[0.0, 1.0, -inf, -inf]], [3], [[0]]) == [4]


def test_a_target_that_cannot_be_recommended_is_a_miss():
    # Item 2 is among the items that are left out: no list can hold it.
    assert of([[5.0, 2.0, 4.0, 1.0]], [2], [[2, 3]]) == [MISS]
    assert of([[5.0, 2.0, 4.0, 1.0]], [2], [[3, 2]]) == [MISS]


@pytest.mark.parametrize("seen", [[[1]], [[0, 1]], [[1, 0, 0]], [[0, 0, 1, 0]]])
def test_padding_of_the_seen_changes_nothing(seen):
    # Item 1 scores highest and is left out: were padding taken for an item, item 1 would be left
    # out twice.
    assert of([[9.0, 2.0, 4.0]], [2], seen) == [2]


def test_no_seen_at_all():
    assert of([[9.0, 2.0, 4.0]], [2], np.zeros((1, 0))) == [3]


def test_padding_never_leaves_out_the_first_item():
    assert of([[9.0, 2.0, 4.0]], [2], [[0, 0]]) == [3]


def test_items_with_a_score_of_their_own():
    # Items 2 and 5 score -7 instead of 8 and 9. Target 3 has items 4 and 1 before it; target 2 has
    # items 1, 3 and 4, and item 5 is its equal; without items 4 and 5 only items 1 and 3.
    row, scored = [3.0, 8.0, 2.0, 5.0, 9.0], np.array([True, False, True, True, False])
    seen = [[0, 0], [0, 0], [4, 5]]
    found = ranks(tf.constant([row] * 3), tf.constant([3, 2, 2]), tf.constant(seen), scored, -7.0)
    assert found.numpy().tolist() == [3, 5, 3]


@pytest.mark.parametrize("columns", [9, None])
def test_a_score_of_their_own_equals_replaced_scores(columns):
    random, nan, inf = np.random.default_rng(6), float("nan"), float("inf")
    values, scored = [-inf, -2.0, -1.0, 0.0, 1.0, inf, nan], random.random(9) < 0.6
    scores = random.choice(values, (200, 9)).astype(np.float32)
    target = random.integers(1, 10, 200)
    seen = np.stack([random.permutation(10)[:3] for _ in range(200)])
    spec = tf.TensorSpec([None, columns], tf.float32)
    of_some = tf.function(
        lambda scores: ranks(scores, target, seen, scored, -1.0), input_signature=[spec]
    )
    expected = ranks(np.where(scored, scores, np.float32(-1.0)), target, seen)
    np.testing.assert_array_equal(of_some(scores), expected)


def trace_of(function, *specs):
    return tf.function(function, input_signature=specs).get_concrete_function().graph


def test_a_gpu_ranks_without_the_host():
    specs = [
        tf.TensorSpec([None, 1000], tf.float32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None, None], tf.int32),
    ]
    assert [one for one in on_the_host(trace_of(ranks, *specs)) if one.startswith("Sum")] == []
    # What was once done: the scores' comparison as int32.
    summed = trace_of(lambda scores: tf.reduce_sum(tf.cast(scores > 0, tf.int32), 1), specs[0])
    assert any(one.startswith("Sum") for one in on_the_host(summed))
