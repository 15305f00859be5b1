"""Lists of a model whose scores are known, by hand."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.commands import assert_sentence
from tfrec_attn.errors import ConfigError
from tfrec_attn.lists.list_reranking import ListReranking
from tfrec_attn.lists.recommender import Recommender
from tfrec_attn.lists.source import Queries, Source
from tfrec_attn.lists.user_histories import UserBatch
from tfrec_attn.models.base.untrained import UNTRAINED


class Latest(Source):
    """Items 1..6 on a line; the query of a history is its latest item, the score item * query.

    Training never touched the items 3 and 6. The item 2 is the most popular.
    """

    items = ("i1", "i2", "i3", "i4", "i5", "i6")
    trained = np.array([True, True, False, True, True, False])
    vectors = np.array([[1.0], [2.0], [0.0], [4.0], [5.0], [0.0]], np.float32)
    popularity = np.array([0.1, 0.4, -1.0, 0.3, 0.2, -1.0], np.float32)
    categories = ("a", "b", "a", "b", "b", "")
    path = Path("runs/line")

    def __init__(self, keep_seen=False):
        self.keep_seen = keep_seen

    def queries(self, users, histories):
        latest = histories.latest(1)
        assert not np.isin(latest, [3, 6]).any()
        sign = np.array([[-1.0] if user == "grumpy" else [1.0] for user in users])
        return Queries((sign * latest).astype(np.float32), None, histories.lengths == 0)


SIGNS = np.array([[-1], [1], [1], [1], [1], [1]], np.float32)
BATCH = UserBatch.of(
    ["a", "grumpy", "stranger", "c", "d"],
    [["i1", "i5"], ["i4"], ["?", "!"], ["i2", "i6"], ["i3"]],
)


def lists_of(recommender, batch=BATCH):
    lists = recommender.recommend(batch)
    ids = [[f"i{row}" for row in rows if row] for rows in lists.rows.tolist()]
    return ids, lists


def test_lists_are_ranked_without_the_history():
    ids, lists = lists_of(Recommender(Latest(), 4))
    assert ids == [
        ["i4", "i2", "i3", "i6"],
        ["i1", "i2", "i5", "i3"],
        ["i2", "i4", "i5", "i1"],
        ["i5", "i4", "i1", "i3"],
        ["i2", "i4", "i5", "i1"],
    ]
    assert lists.popular.tolist() == [False, False, True, False, True]
    assert lists.unknown_events == 2
    low = float(UNTRAINED)
    np.testing.assert_allclose(lists.scores[0], [20, 10, low, low])
    np.testing.assert_allclose(lists.scores[2], [0.4, 0.3, 0.2, 0.1])


def test_lists_end_where_nothing_is_left():
    ids, lists = lists_of(Recommender(Latest(), 6))
    assert ids[3] == ["i5", "i4", "i1", "i3"]
    assert lists.scores[3, 4:].tolist() == [np.finfo(np.float32).min] * 2


def test_items_of_the_history_may_be_kept():
    ids, _ = lists_of(Recommender(Latest(keep_seen=True), 2))
    assert ids == [["i5", "i4"], ["i1", "i2"], ["i2", "i4"], ["i5", "i4"], ["i2", "i4"]]


def test_allowed_and_excluded_items():
    recommender = Recommender(Latest(), allow=["i6", "i1", "i4", "i5", "?"], exclude=["i5", "!"])
    assert recommender.k == 3
    ids, _ = lists_of(recommender)
    assert ids == [["i4", "i6"], ["i1", "i6"], ["i4", "i1", "i6"], ["i4", "i1"], ["i4", "i1", "i6"]]


def test_a_cap_for_each_category():
    # i4 and i2 are of one category; i6 has none, and i3 comes after i1 of its category.
    ids, lists = lists_of(Recommender(Latest(), 3, per_category=1))
    assert ids == [
        ["i4", "i3", "i6"],
        ["i1", "i2", "i6"],
        ["i2", "i1", "i6"],
        ["i5", "i1"],
        ["i2", "i1", "i6"],
    ]
    np.testing.assert_allclose(lists.scores[3, :2], [10, 2])
    ids, _ = lists_of(Recommender(Latest(keep_seen=True), 3, per_category=2))
    assert ids[0] == ["i5", "i4", "i1"]


def test_a_cap_by_numpy():
    random = np.random.default_rng(1)
    categories = [("", "x", "y", "z")[one] for one in random.integers(0, 4, 30)]
    rows = np.stack([random.permutation(30)[:20] + 1 for _ in range(150)]).astype(np.int32)
    rows[:, 15:] = 0
    scores = -np.sort(random.normal(size=rows.shape).astype(np.float32))
    scores[:, 15:] = np.finfo(np.float32).min
    source = Latest()
    source.items, source.categories, source.popularity = range(30), categories, np.zeros(30)
    found, values = ListReranking(source, 6, 2).first(rows, scores, np.zeros(150, bool))
    for row, own, items, kept in zip(rows, scores, found, values, strict=True):
        expected, taken = [], Counter()
        for item, score in zip(row, own, strict=True):
            name = categories[item - 1]
            if item and (name == "" or taken[name] < 2):
                expected.append((item, score))
            taken[name] += 1
        expected += [(0, np.finfo(np.float32).min)] * 6
        assert list(zip(items, kept, strict=True)) == expected[:6]


def test_a_penalty_and_diversity_by_hand():
    # The scores of user a are 20 for i4, 10 for i2 and 5 for i1. There are six items, so that their
    # popularities are ln 2.8, ln 3.4 and ln 1.6; 100 of them cost i4 103, i2 122 and i1 47.
    source = Latest(keep_seen=True)
    ids, lists = lists_of(Recommender(source, 3, exclude=["i5"], popularity_penalty=100))
    assert ids[0] == ["i1", "i4", "i2"]
    np.testing.assert_allclose(lists.scores[0], [5, 20, 10])
    # Where nothing is known the popularities are the scores.
    assert ids[2] == ["i2", "i4", "i1"]
    # The scores are 20, 10 and -5, and the relevances 1, 0.6 and 0. The list has i4, which has the
    # direction of i2: 0.5 (0.6 - 1) is less than 0.5 (0 + 1) for i1 on the other side.
    source.vectors, source.points = source.vectors * SIGNS, np.array([True])
    assert lists_of(Recommender(source, 2, exclude=["i5"]))[0][0] == ["i4", "i2"]
    ids, lists = lists_of(Recommender(source, 2, exclude=["i5"], diversity=0.5))
    assert ids[0] == ["i4", "i1"]
    np.testing.assert_allclose(lists.scores[0], [20, -5])


def test_allowed_categories():
    assert lists_of(Recommender(Latest(), allow_category=["a", "c"]))[0][1:3] == [
        ["i1", "i3"],
        ["i1", "i3"],
    ]
    assert lists_of(Recommender(Latest(), allow=["i1", "i2"], allow_category=["b"]))[0][0] == ["i2"]


def test_only_untrained_items_are_left():
    ids, _ = lists_of(Recommender(Latest(), allow=["i6", "i3"]))
    assert ids == [["i3", "i6"], ["i3", "i6"], ["i3", "i6"], ["i3"], ["i6"]]


def test_the_lists_do_not_depend_on_the_batch():
    recommender = Recommender(Latest(), 4)
    whole = recommender.recommend(BATCH)
    for row in range(5):
        one = recommender.recommend(BATCH.slice(row, row + 1))
        assert one.rows[0].tolist() == whole.rows[row].tolist()


@pytest.mark.parametrize(
    ("arguments", "pieces"),
    [
        ({"k": 0}, ["--k", "1..6", "is 0"]),
        ({"k": 7}, ["--k", "1..6", "is 7"]),
        ({"k": 3, "allow": ["i1", "i2"]}, ["--k", "1..2", "is 3"]),
        ({"allow": ["x", "y"]}, ["--allow", "none of the 2 ids"]),
        ({"exclude": ["x"]}, ["--exclude", "none of the 1 ids"]),
        ({"allow": ["i1"], "exclude": ["i1", "i2"]}, ["--exclude", "--allow", "leaves none"]),
        ({"exclude": list(Latest.items)}, ["--exclude", "leaves none of the 6"]),
        ({"per_category": 0}, ["--per-category", "1 or greater", "is 0"]),
        ({"popularity_penalty": -1.0}, ["--popularity-penalty", "from 0 to 1000000", "is -1.0"]),
        ({"popularity_penalty": 1e300}, ["--popularity-penalty", "from 0 to", "is 1e+300"]),
        ({"diversity": 1.5}, ["--diversity", "from 0 to 1", "is 1.5"]),
        ({"diversity": 0.5}, ["--diversity needs", "runs/line does not say", "give the run"]),
        ({"allow_category": ["q"]}, ["--allow-category", "no item has 'q'"]),
        ({"allow_category": ["a"], "allow": ["i2"]}, ["together leave no item"]),
    ],
)
def test_wrong_arguments(arguments, pieces):
    with pytest.raises(ConfigError) as caught:
        Recommender(Latest(), **arguments)
    assert_sentence(caught.value, *pieces)


def test_categories_need_an_items_file(monkeypatch):
    monkeypatch.setattr(Latest, "categories", None)
    for option in ({"per_category": 1}, {"allow_category": ["a"]}):
        with pytest.raises(ConfigError) as caught:
            Recommender(Latest(), **option)
        assert_sentence(caught.value, "needs categories", "runs/line", "data.items=FILE")
