"""The best columns of a matrix, compared with a stable sort in NumPy."""

import numpy as np
import pytest

from tfrec_attn.lists.best_items import BestItems

FLOOR = np.finfo(np.float32).min


def expected(scores, hidden, k):
    """Columns from 1 and scores: the lower column first among equals, hidden ones left out."""
    columns, values = [], []
    for row, left_out in zip(scores, hidden, strict=True):
        order = [one for one in np.argsort(-row, kind="stable") + 1 if one not in left_out][:k]
        missing = k - len(order)
        columns.append([*order, *[0] * missing])
        values.append([*(row[one - 1] for one in order), *[FLOOR] * missing])
    return columns, values


# 16 columns rank at once; 1,000 in groups, unless k is large.
@pytest.mark.parametrize(("count", "k"), [(16, 3), (16, 16), (1000, 5), (1000, 7), (1000, 40)])
def test_columns_are_those_of_a_sort(count, k):
    random = np.random.default_rng(1)
    # Small integers have many ties and exact products.
    vectors = random.integers(-3, 4, [count, 4]).astype(np.float32)
    popularity = random.integers(0, 5, count).astype(np.float32)
    query = random.integers(-3, 4, [6, 4]).astype(np.float32)
    hidden = random.integers(0, count + 1, [6, 9]).astype(np.int32)
    best = BestItems(vectors, popularity, k)
    columns, scores = best.of(query, hidden)
    wanted = expected(query @ vectors.T, hidden, k)
    assert (columns.tolist(), scores.tolist()) == wanted
    columns, scores = best.popular(hidden)
    wanted = expected(np.tile(popularity, (6, 1)), hidden, k)
    assert (columns.tolist(), scores.tolist()) == wanted


def test_a_prior_is_added():
    vectors = np.arange(300, dtype=np.float32)[:, np.newaxis] % 7
    query, hidden = np.ones([2, 1], np.float32), np.zeros([2, 0], np.int32)
    items = np.array([[5, 0, 300], [1, 2, 0]], np.int32)
    values = np.array([[50, 99, 2], [3, 40, 99]], np.float32)
    scores = np.tile(vectors[:, 0], (2, 1))
    scores[0, [4, 299]] += [50, 2]
    scores[1, [0, 1]] += [3, 40]
    columns, found = BestItems(vectors, np.zeros(300, np.float32), 2).of(
        query, hidden, (items, values)
    )
    assert (columns.tolist(), found.tolist()) == expected(scores, hidden, 2)
