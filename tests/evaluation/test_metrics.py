"""Ranking metrics against values worked by hand; works under Keras 2 and Keras 3."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.evaluation import metrics
from tfrec_attn.evaluation.ranking import MISS

# Gains 1 / log2(rank + 1): rank 1 -> 1 / log2(2) = 1, rank 3 -> 1 / log2(4) = 0.5, rank 7 -> 1 /
# log2(8) = 1/3.
RANKS = tf.constant([1, 3, 7, 8], tf.int32)


def test_hit_rate_counts_the_cut_off_itself():
    np.testing.assert_array_equal(metrics.hit_rate(RANKS, 7), [1.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(metrics.hit_rate(RANKS, 6), [1.0, 1.0, 0.0, 0.0])


def test_ndcg_by_hand():
    np.testing.assert_allclose(metrics.ndcg(RANKS, 7), [1.0, 0.5, 1 / 3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(metrics.ndcg(RANKS, 2), [1.0, 0.0, 0.0, 0.0], rtol=1e-6)


def test_reciprocal_rank_has_no_cut_off():
    np.testing.assert_allclose(
        metrics.reciprocal_rank(tf.constant([1, 4, 1000])), [1.0, 0.25, 0.001], rtol=1e-6
    )


def test_a_miss_counts_nothing_at_any_cut_off():
    ranks = tf.constant([1, MISS])
    for function in metrics.ranking_functions([1, 10**9]).values():
        assert function(ranks).numpy()[1] == 0.0


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_ranks_of_either_integer_type(dtype):
    ranks = tf.cast(RANKS, dtype)
    np.testing.assert_allclose(metrics.ndcg(ranks, 3), [1.0, 0.5, 0.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(
        metrics.reciprocal_rank(ranks), [1.0, 1 / 3, 1 / 7, 1 / 8], rtol=1e-6
    )


def test_names_in_the_order_of_the_cut_offs():
    expected = ["HR@5", "NDCG@5", "HR@10", "NDCG@10", "MRR"]
    assert list(metrics.ranking_functions([5, 10])) == expected
    assert [metric.name for metric in metrics.ranking_metrics([5, 10])] == expected


def test_every_function_keeps_its_own_cut_off():
    # Rank 7 is a hit at 10 and none at 5, whichever was made last.
    values = {
        name: function(tf.constant([7])).numpy()[0]
        for name, function in metrics.ranking_functions([10, 5]).items()
    }
    assert values == pytest.approx(
        {"HR@10": 1.0, "NDCG@10": 1 / 3, "HR@5": 0.0, "NDCG@5": 0.0, "MRR": 1 / 7}
    )


def test_mean_over_uneven_batches_is_the_mean_over_all():
    # Means of the batches' means would differ: batches hold 1, 2 and 4 ranks.
    batches = [[1], [3, 9], [2, 1, 30, 4]]
    every = [rank for batch in batches for rank in batch]
    made = metrics.ranking_metrics([3])
    for batch in batches:
        for metric in made:
            metric.update_state(tf.constant(batch))
    expected = {
        "HR@3": sum(rank <= 3 for rank in every) / 7,
        "NDCG@3": sum(1 / math.log2(rank + 1) for rank in every if rank <= 3) / 7,
        "MRR": sum(1 / rank for rank in every) / 7,
    }
    assert {metric.name: float(metric.result()) for metric in made} == pytest.approx(
        expected, rel=1e-6
    )


def test_mean_of_ranks_weighs_and_starts_anew():
    metric = metrics.MeanOfRanks(metrics.reciprocal_rank, name="MRR")
    metric.update_state(tf.constant([1, 2]), sample_weight=tf.constant([3.0, 1.0]))
    assert float(metric.result()) == pytest.approx((3 * 1.0 + 1 * 0.5) / 4)
    metric.reset_state()
    metric.update_state(tf.constant([4]))
    assert float(metric.result()) == pytest.approx(0.25)


def test_metrics_update_inside_a_graph():
    metric = metrics.MeanOfRanks(metrics.reciprocal_rank, name="MRR")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def update(ranks):
        metric.update_state(ranks)

    update(tf.constant([1, 2]))
    update(tf.constant([2]))
    assert float(metric.result()) == pytest.approx((1 + 0.5 + 0.5) / 3)
