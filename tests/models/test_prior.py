"""The prior of a query, in all scores."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import ITEMS, LENGTH, USERS
from tests.outside.again import Again
from tfrec_attn.models.base.scoring import Query, score_all, score_listed, score_repeated

HISTORY = [[1, 2, 3, 4], [0, 0, 7, 12]]


def expected_scores(model, history):
    """float64 [N + 1], by a loop over the definition."""
    table = model.items.embeddings.numpy().astype(np.float64)
    scores = table @ sum(table[item] for item in history if item)
    scores[history[-1]] += 9.0
    if history[0]:
        scores[history[0]] -= 9.0
    return scores


def test_scores_ranks_and_recommendations_agree():
    model = Again(USERS, ITEMS, LENGTH)
    features = {"user": tf.constant([1, 1]), "history": tf.constant(HISTORY)}
    expected = np.array([expected_scores(model, history) for history in HISTORY])
    np.testing.assert_allclose(model(features)[:, 1:], expected[:, 1:], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.scores(features), expected[:, 1:], rtol=1e-5, atol=1e-5)
    for target in range(1, ITEMS + 1):
        asked = {
            **features,
            "target": tf.constant([target] * 2),
            "seen": tf.zeros([2, 0], tf.int32),
        }
        assert model.ranks(asked).numpy().tolist() == [
            (row[1:] >= row[target]).sum() for row in expected
        ]
    items, scores = model.recommend(
        [[one for one in row if one] for row in HISTORY], k=ITEMS, exclude_seen=False
    )
    for row, found, values in zip(expected, items, scores, strict=True):
        assert found == (np.argsort(-row[1:]) + 1).tolist()
        np.testing.assert_allclose(values, np.sort(row[1:])[::-1], rtol=1e-5, atol=1e-5)
    assert (items[0][0], items[0][-1]) == (4, 1)


def problem():
    random = np.random.default_rng(0)
    vectors, table = (random.normal(size=shape).astype(np.float32) for shape in ((3, 4), (8, 4)))
    items = np.array([[0, 5, 2], [7, 0, 0], [0, 0, 0]], np.int32)
    values = random.normal(size=items.shape).astype(np.float32)
    expected = vectors @ table.T
    for row, column in zip(*np.nonzero(items), strict=True):
        expected[row, items[row, column]] += values[row, column]
    return Query(tf.constant(vectors), (tf.constant(items), tf.constant(values))), table, expected


def test_a_prior_against_a_loop():
    query, table, expected = problem()
    np.testing.assert_allclose(
        score_all(query, table)[:, 1:], expected[:, 1:], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        score_all(query, table[1:], first=1), expected[:, 1:], rtol=1e-5, atol=1e-6
    )
    listed = np.array([[2, 7, 5, 2], [1, 7, 7, 3], [4, 5, 6, 7]], np.int32)
    np.testing.assert_allclose(
        score_listed(query, tf.gather(table, listed), listed),
        np.take_along_axis(expected, listed, 1),
        rtol=1e-5,
        atol=1e-6,
    )
    for item in range(1, 8):
        np.testing.assert_allclose(
            score_repeated(query, tf.gather(table, [item]), [item], 3),
            expected[np.newaxis, :, item],
            rtol=1e-5,
            atol=1e-6,
        )
    some = score_all(query.rows([1, 1]), table)
    np.testing.assert_allclose(some[:, 1:], expected[[1, 1], 1:], rtol=1e-5, atol=1e-6)


def test_an_empty_prior_changes_nothing():
    query, table, _ = problem()
    plain = Query(query.vectors)
    empty = Query(query.vectors, (tf.zeros([3, 0], tf.int32), tf.zeros([3, 0])))
    np.testing.assert_array_equal(score_all(empty, table), score_all(plain, table))
    listed = query.prior[0]
    vectors = tf.gather(table, listed)
    np.testing.assert_array_equal(
        score_listed(empty, vectors, listed), score_listed(plain, vectors, listed)
    )


@pytest.mark.parametrize(
    "score",
    [score_all, lambda query, table: score_listed(query, tf.gather(table, [[1]] * 3), [[1]] * 3)],
)
def test_without_a_prior_nothing_is_added(score):
    query, table, _ = problem()
    graph = (
        tf.function(lambda vectors: score(Query(vectors), tf.constant(table)))
        .get_concrete_function(query.vectors)
        .graph
    )
    assert not {"AddV2", "Add", "TensorScatterAdd", "Where", "SelectV2"} & {
        one.type for one in graph.get_operations()
    }
