"""Signatures that know more of the items: similar, recommend_diverse and describe."""

import json

import numpy as np
import pytest

from export.model_copy import permute_items
from export.related import SCORE
from export.retrieval import InvertedFile
from export.saved_model import save
from export.servable import Servable
from tests.models.contract import EXPORTED
from tfrec_attn.errors import ConfigError
from tfrec_attn.runtime.runner import Runner

ITEMS = 12
# Item i has the category of i % 3; item 5 has none, and nothing is known of item 6.
CATEGORIES = ["A", "B", "C"]
ABOUT = [
    ("", "")
    if item == 6
    else (json.dumps({"title": f"Title {item}, é"}), "" if item == 5 else CATEGORIES[item % 3])
    for item in range(ITEMS)
]
FLOOR = np.finfo(np.float32).min


def texts(array):
    return [[one.decode() for one in row if one] for row in array]


@pytest.fixture(scope="module", params=["all items", "index"])
def diverse(request, make_model, tmp_path_factory):
    """(model, runner) of SASRec with a catalogue; the index has few cells and misses items."""
    model, counts, index, order = make_model("sasrec"), np.arange(ITEMS), None, np.arange(ITEMS)
    exported = model
    if request.param == "index":
        order = np.random.default_rng(1).permutation(ITEMS)
        exported = permute_items(model, order)
        index = InvertedFile([0, 5, 12], np.eye(2, 8, dtype=np.float32), 1)
    folder = tmp_path_factory.mktemp("diverse")
    about = [ABOUT[place] for place in order]
    save(Servable(exported, counts[order], k=5, max_k=8, index=index, items=about), folder)
    runner = Runner(folder, optimize=False)
    yield model, runner
    runner.close()


def ask(runner, histories, k=8, **values):
    rows = len(histories)
    lists = {name: values.pop(name, [""] * rows) for name in ("exclude", "allow", "allow_category")}
    numbers = {
        name: values.pop(name, [0] * rows)
        for name in ("per_category", "popularity_penalty", "diversity")
    }
    assert not values
    history = ["\t".join(one) for one in histories]
    return runner.run(
        "recommend_diverse_joined",
        **lists,
        **numbers,
        history=history,
        user_id=[""] * rows,
        k=[k] * rows,
    )


def test_without_options_the_list_is_that_of_recommend(diverse):
    model, runner = diverse
    ids = model.item_vocabulary.ids()
    histories = [[ids[3], ids[4]], [], [ids[11]]]
    found = ask(runner, histories, allow=["", "", "\t".join(ids[1:5])], exclude=[ids[1], "", ""])
    expected = runner.run(
        "recommend_joined",
        user_id=[""] * 3,
        history=["\t".join(one) for one in histories],
        exclude=[ids[1], "", ""],
        allow=["", "", "\t".join(ids[1:5])],
        k=[8] * 3,
    )
    assert texts(found["items"]) == texts(expected["items"])
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=1e-5)
    for name in ("k", "source", "separator"):
        assert found[name].tolist() == expected[name].tolist()


def test_categories_are_found_among_all_items(diverse):
    """Also where the index scans one cell only."""
    model, runner = diverse
    ids, history = model.item_vocabulary.ids(), [model.item_vocabulary.ids()[0]]
    found = ask(runner, [history] * 4, allow_category=["A", "A\tC", "none", "A\tnone"])
    wanted = [{"A"}, {"A", "C"}, set(), {"A"}]
    for row, categories in enumerate(wanted):
        expected = {one for one, (_, name) in zip(ids, ABOUT, strict=True) if name in categories}
        items = texts(found["items"])[row]
        order = [one for one in model.recommend([history], ITEMS)[0][0] if one in expected]
        assert items == order[:8]
    assert found["known_category"].tolist() == [
        [True, False],
        [True, True],
        [False, False],
        [True, False],
    ]
    both = ask(runner, [history], allow_category=["A"], allow=["\t".join(ids[1:5])])
    assert texts(both["items"]) == [[ids[3]]]


def test_a_cap_holds_for_each_category_but_not_for_items_without_one(diverse):
    model, runner = diverse
    ids = model.item_vocabulary.ids()
    found = ask(runner, [[ids[0]], []], allow=["\t".join(ids)] * 2, per_category=[1, 2])
    for items, cap in zip(texts(found["items"]), (1, 2), strict=True):
        names = [ABOUT[ids.index(one)][1] for one in items]
        assert all(names.count(one) == cap for one in CATEGORIES)
        assert len(items) == 3 * cap + 2
    assert found["source"].tolist() == [b"model", b"popular"]


def test_a_penalty_lowers_popular_items_but_no_score(diverse):
    model, runner = diverse
    ids, counts = model.item_vocabulary.ids(), np.arange(ITEMS)
    history, every = [ids[0]], ["\t".join(ids)]
    found = ask(runner, [history], allow=every, popularity_penalty=[2.0])
    items, scores = (one[0] for one in model.recommend([history], ITEMS))
    score = dict(zip(items, scores, strict=True))
    relative = np.log1p(ITEMS * counts / counts.sum())
    value = {one: score[one] - 2.0 * relative[ids.index(one)] for one in items}
    expected = sorted(items, key=lambda one: -value[one])[:8]
    assert texts(found["items"]) == [expected] and expected != items[:8]
    np.testing.assert_allclose(found["scores"][0], [score[one] for one in expected], rtol=1e-5)
    # The shares of the popular items are no scores of the model.
    popular = ask(runner, [[]], allow=every, popularity_penalty=[2.0])
    assert texts(popular["items"]) == [ids[:3:-1]]


def test_diversity_takes_the_item_that_is_farthest_from_the_best(diverse):
    model, runner = diverse
    ids, history = model.item_vocabulary.ids(), [model.item_vocabulary.ids()[0]]
    found = ask(runner, [history], allow=["\t".join(ids)], diversity=[1.0], k=2)
    first, second = texts(found["items"])[0]
    assert first == model.recommend([history], 1)[0][0][0]
    near = [one for one in model.similar([first], ITEMS)[0][0] if one not in history]
    assert second == near[-1]


def test_descriptions(diverse):
    model, runner = diverse
    ids = model.item_vocabulary.ids()
    found = runner.run("describe", candidates=[[ids[0], "?", ""], [ids[6], ids[7], ids[7]]])
    assert found["description"].dtype == object
    told = [[json.loads(one or "{}").get("title") for one in row] for row in found["description"]]
    assert told == [["Title 0, é", None, None], [None, "Title 7, é", "Title 7, é"]]
    assert found["known"].tolist() == [[True, False, False], [True, True, True]]
    joined = runner.run("describe_joined", candidates=[f"{ids[7]}\t?"])
    assert texts(joined["description"]) == [['{"title": "Title 7, \\u00e9"}']]


@pytest.mark.parametrize("name", EXPORTED)
def test_similar_items_are_those_of_the_model(name, served):
    model, _, runner = served(name)
    ids = model.item_vocabulary.ids()
    by = ["cosine", SCORE, "", SCORE, "cosine"]
    asked = [ids[2], ids[2], ids[7], "?", ids[3]]
    found = runner.run("similar", item=asked, by=by, k=[8, 3, 99, 5, 0])
    assert found["known"].tolist() == [True, True, True, False, True]
    assert found["k"].tolist() == [8, 3, 8, 5, 0]
    if name == "decayed_transitions":
        assert set(found["by"]) == {b"counts"}
        row = 1 + ids.index(ids[2])
        pairs = zip(model.rows.items.numpy()[row], model.rows.values.numpy()[row], strict=True)
        best = sorted((pair for pair in pairs if pair[0] not in (0, row)), key=lambda one: -one[1])
        assert texts(found["items"])[0] == [ids[item - 1] for item, _ in best[:8]]
        assert found["counted_items"].tolist() == found["items"].tolist()
        return
    assert found["by"].tolist() == [(one or "cosine").encode() for one in by]
    for row, k in ((0, 8), (1, 3), (2, 8)):
        items, scores = model.similar([asked[row]], k, by[row] or "cosine")
        assert texts(found["items"])[row] == items[0]
        np.testing.assert_allclose(found["scores"][row][:k], scores[0], rtol=1e-4, atol=1e-6)
    assert texts(found["items"])[3:] == [[], []]
    assert "counted_items" not in found


def test_signatures_that_a_servable_has(make_model, served):
    assert "recommend_diverse" not in served("sasrec")[2].signatures
    assert "similar" not in Servable(make_model("pop"), np.ones(ITEMS)).signatures()


def test_a_category_with_the_separator(make_model):
    with pytest.raises(
        ConfigError,
        match=r"^--separator must not be in any id, but '\\t' is in the category 'a\\tb'; "
        r"name another character\.$",
    ):
        Servable(make_model("sasrec"), np.ones(ITEMS), items=[("", "a\tb")] * ITEMS)
