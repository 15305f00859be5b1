"""Ranks of held-out events by a function that predicts, worked by hand."""

import math

import numpy as np
import polars as pl
import pytest

from tfrec_attn.errors import ConfigError
from tfrec_attn.replay.event_ranking import (
    Ranking,
    cutoff,
    mean,
    rank_events,
    ranks_in_lists,
    recommend,
)
from tfrec_attn.replay.measured_run import COLUMNS

ITEMS = ["a", "b", "c", "d", "e"]
VECTORS = np.array([[5, 0], [4, 0], [4, 0], [1, 0], [0, 1]], np.float32)
EVENTS = [
    ("u", ["a"], "c"),
    ("v", ["a", "d", "a"], "e"),
    ("w", ["b", "a"], "d"),
    ("x", ["d"], "d"),
]


def predict(signature, **inputs):
    """Query vectors (1, 0). They rank the items a, b = c, d, e."""
    if signature == "recommend":
        rows = len(inputs["user_id"])
        source = ["popular" if user == "y" else "model" for user in inputs["user_id"]]
        items = np.array([["a", ""]] * rows, object)
        return {"items": items, "source": np.array(source, object)}
    if signature == "score":
        assert not inputs["history"].any() and not inputs["user_id"].any()
        shares = dict(zip(ITEMS, [0.1, 0.1, 0.2, 0.4, 0.2], strict=True))
        floor = np.finfo(np.float32).min
        return {
            "scores": np.float32(
                [[shares.get(item, floor) for item in row] for row in inputs["candidates"]]
            )
        }
    if signature == "embed":
        assert (inputs["history"][:, 0] == "").all()
        return {"query": np.tile(np.float32([1, 0]), (len(inputs["user_id"]), 1))}
    return {"vector": VECTORS[["abcdef".index(item) % 5 for item in inputs["item"]]]}


def frame(rows):
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


@pytest.mark.parametrize("rows", [1, 3, 256])
def test_ranks_by_vectors(rows):
    ranks = rank_events(predict, frame(EVENTS), ITEMS, 1, rows=rows)
    # c: a was had before and b ties against it. e: b and c are before it, a and d were had. d: c; a
    # and b were had. d was had: a miss.
    assert ranks.rank.tolist() == [2, 3, 2, math.inf]
    assert (ranks.best != ranks.worst).tolist() == [True, False, False, False]


def test_ranks_where_all_items_compete():
    ranks = rank_events(predict, frame(EVENTS), ITEMS, 1, repeats="include", keep_seen=True)
    # c: behind a and b, which ties. e: behind all others. d: behind a, b and c, twice.
    assert ranks.rank.tolist() == ranks.expected.tolist() == [3, 5, 4, 4]


def test_where_nothing_is_known_popularity_ranks():
    # e has a fifth of the events: d has more, c as many.
    ranks = rank_events(predict, frame([("y", [], "e")]), ITEMS, 1)
    assert (ranks.rank.tolist(), ranks.best.tolist(), ranks.worst.tolist()) == ([3], [2], [3])


def test_a_model_of_other_items():
    with pytest.raises(ConfigError, match=r"does not know the item 'f' of the run; .*\.$"):
        rank_events(predict, frame(EVENTS), [*ITEMS, "f"], 1)
    with pytest.raises(ConfigError, match="items that are not in the run's vocabulary"):
        rank_events(predict, frame(EVENTS), ITEMS[:4], 1)


def test_ranks_in_lists():
    lists = [["b", "c", "d"], ["b", "c"], []]
    assert ranks_in_lists(lists, ["c", "e", "a"]).tolist() == [2, math.inf, math.inf]


def test_ranks_in_lists_agree_within_ties():
    # By the vectors: third to fifth for ties; a miss; third.
    best, worst = np.array([3.0, math.inf, 3]), np.array([5.0, math.inf, 3])
    ranking = Ranking(0, worst, worst, best, worst, worst, worst)

    def agrees(*listed, columns=4):
        return ranking.agrees(np.array(listed, np.float64), columns).tolist()

    assert agrees(3, math.inf, 3) == agrees(4, math.inf, 3) == [True, True, True]
    # The list has four items: the fifth of ties need not be in it, the third must.
    assert agrees(math.inf, math.inf, math.inf) == [True, True, False]
    assert agrees(2, 1) == [False, False]
    assert agrees(math.inf, math.inf, math.inf, columns=2) == [True, True, True]


def test_lists_have_nothing_excluded_and_no_padding():
    asked = []

    def listen(signature, **inputs):
        asked.append(inputs)
        return predict(signature, **inputs)

    request = {"user_id": np.array(["u", "y"], object), "history": np.full((2, 1), "", object)}
    lists, columns, is_popular = recommend(listen, request, 7)
    assert (lists, columns, is_popular.tolist()) == ([["a"], ["a"]], 2, [False, True])
    assert asked[0]["k"].tolist() == [7, 7]
    assert not asked[0]["exclude"].any() and not asked[0]["allow"].any()


def test_means():
    # by hand: 1/log2(2) = 1, 1/log2(4) = 0.5
    ranks = np.array([1, 3, 4, math.inf])
    assert mean("HR@3", ranks) == 0.5
    assert mean("NDCG@3", ranks) == pytest.approx((1 + 0.5) / 4)
    assert mean("MRR", np.array([1, 2, 4, 4])) == 0.5
    assert [cutoff(name) for name in ("HR@20", "NDCG@5", "MRR")] == [20, 5, 0]
