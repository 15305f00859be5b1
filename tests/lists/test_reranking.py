"""Re-ranking against plain Python: penalty, cap and maximal marginal relevance."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.lists.reranking import Pool, RerankOptions, rerank
from tfrec_attn.models.base.untrained import UNTRAINED

FLOOR = np.finfo(np.float32).min
ROWS, SIZE, DIM, K = 4, 12, 3, 6


def plain(scores, rows, popularity, categories, units, penalty, cap, diversity, k):
    """The list of one request, by its definition."""
    pool = [
        (score - penalty * much if score > UNTRAINED else score, place)
        for place, (score, much) in enumerate(zip(scores, popularity, strict=True))
        if score > FLOOR
    ]
    pool.sort(key=lambda one: -one[0])
    trained = [value for value, place in pool if scores[place] > UNTRAINED]
    low, span = min(trained, default=0), max(trained, default=0) - min(trained, default=0)
    chosen = []
    while len(chosen) < k:
        best = None
        for value, place in pool:
            same = [one for one in chosen if categories[one] == categories[place] != 0]
            if place in chosen or (cap and len(same) >= cap):
                continue
            nearest = max((float(units[place] @ units[one]) for one in chosen), default=-1)
            relevance = (value - low) / span if span else 0.0
            gain = (1 - diversity) * relevance - diversity * nearest
            gain = gain if scores[place] > UNTRAINED else -2.0
            if best is None or gain > best[0] + 1e-6:
                best = gain, place
        if best is None:
            break
        chosen.append(best[1])
    missing = k - len(chosen)
    return (
        [int(rows[one]) for one in chosen] + [0] * missing,
        [float(scores[one]) for one in chosen] + [FLOOR] * missing,
    )


@pytest.fixture(scope="module")
def pool():
    """Scores of four requests, the last of which has untrained items and few of them."""
    random = np.random.default_rng(5)
    scores = -np.sort(-random.normal(size=(ROWS, SIZE)).astype(np.float32), axis=1)
    scores[3, 4:6], scores[3, 6:] = UNTRAINED, FLOOR
    rows = np.array([random.permutation(40)[:SIZE] + 1 for _ in range(ROWS)], np.int32)
    table = random.normal(size=(41, DIM)).astype(np.float32)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    popularity = random.uniform(0, 3, (ROWS, SIZE)).astype(np.float32)
    categories = random.integers(0, 4, (ROWS, SIZE)).astype(np.int32)
    return Pool(scores, rows, popularity, categories), table


@tf.function(reduce_retracing=True, autograph=False)
def traced(pool, penalty, cap, diversity, table):
    options = RerankOptions.of(penalty, cap, diversity)
    return rerank(Pool(*pool), options, tf.constant(K), lambda rows: tf.gather(table, rows))


@pytest.mark.parametrize(
    ("penalty", "cap", "diversity"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]),
        ([0.5, 0, 2, 1], [0, 0, 0, 0], [0, 0, 0, 0]),
        ([0, 0, 0, 0], [1, 2, 0, 1], [0, 0, 0, 0]),
        ([0, 0, 0, 0], [0, 0, 0, 0], [0.3, 0.7, 1, 0.5]),
        ([0.5, 0, 1, 1], [1, 2, 0, 1], [0.3, 0.7, 0, 0.5]),
    ],
)
def test_lists_are_those_of_plain_python(pool, penalty, cap, diversity):
    parts, table = pool
    options = [
        np.array(one, kind) for one, kind in ((penalty, "f4"), (cap, "i4"), (diversity, "f4"))
    ]
    scores, rows = traced(tuple(parts), *options, table)
    for row in range(ROWS):
        own = [part[row] for part in parts]
        expected = plain(*own, table[own[1]], penalty[row], cap[row], diversity[row], K)
        assert rows[row].numpy().tolist() == expected[0]
        np.testing.assert_allclose(scores[row], expected[1], rtol=1e-6)


def test_no_other_request_of_a_batch_changes_a_list(pool):
    parts, table = pool
    kinds = ([0.5, 0, 1, 1], "f4"), ([1, 2, 0, 1], "i4"), ([0, 0.7, 0, 0.5], "f4")
    options = [np.array(*one) for one in kinds]
    _, together = traced(tuple(parts), *options, table)
    for row in range(ROWS):
        part = slice(row, row + 1)
        _, alone = traced(tuple(one[part] for one in parts), *(one[part] for one in options), table)
        assert alone[0].numpy().tolist() == together[row].numpy().tolist()


def test_values_that_no_request_may_have_count_as_none():
    options = RerankOptions.of(
        tf.constant([-1.0, np.nan, np.inf, 2.0]),
        tf.constant([-3, 0, 2, 1]),
        tf.constant([-0.1, 7.0, np.nan, 0.5]),
    )
    assert options.penalty.numpy().tolist() == [0, 0, 0, 2]
    assert options.cap.numpy().tolist() == [0, 0, 2, 1]
    assert options.diversity.numpy().tolist() == [0, 1, 0, 0.5]


def test_a_model_without_points_has_no_diversity(pool):
    parts, _ = pool
    options = RerankOptions.of(tf.zeros(ROWS), tf.zeros(ROWS, tf.int32), tf.ones(ROWS))
    _, rows = rerank(parts, options, tf.constant(3), None)
    assert rows.numpy().tolist() == parts.rows[:, :3].tolist()
