"""Tests of all signatures of all models, through the loader of TF Serving, against the model."""

import numpy as np
import pytest
import tensorflow as tf

from export.servable import Servable
from tests.models.contract import EXPORTED, TYPICAL
from tfrec_attn import models

FLOOR = np.finfo(np.float32).min
LENGTH = 4
EACH = pytest.mark.parametrize("name", EXPORTED)
# For what does not depend on the model: one that uses users and one that does not.
ONE_OF_EACH = pytest.mark.parametrize(
    "name",
    [
        next(name for name in EXPORTED if models.get(name).uses_user == uses_user)
        for uses_user in (True, False)
    ],
)


def table(rows, columns=None, pad=""):
    """Texts [B, W] with "" on the left."""
    columns = max(map(len, rows), default=0) + 1 if columns is None else columns
    return np.array([[pad] * (columns - len(row)) + list(row) for row in rows], object).reshape(
        len(rows), columns
    )


def text(array):
    return [[one.decode() for one in row] for row in array]


def listed(result):
    """(items, scores) of each row without the missing ones."""
    items, scores = text(result["items"]), result["scores"]
    assert all(
        (one == "") == (score == FLOOR)
        for row, values in zip(items, scores, strict=True)
        for one, score in zip(row, values)
    )
    return [[one for one in row if one] for row in items], [row[row > FLOOR] for row in scores]


def assert_same(found, expected):
    assert list(found[0]) == list(expected[0])
    for one, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def features_of(model, user, history):
    known = [one for one in model.item_vocabulary.lookup(history) if one][-LENGTH:]
    return {
        "user": model.user_vocabulary.lookup([user]),
        "history": np.array([[0] * (LENGTH - len(known)) + known], np.int32),
    }


def knows_nothing(model, user, history):
    return bool(model.knows_nothing(features_of(model, user, history))[0])


def scores_of(model, user, history, popular=True):
    """Item -> score by the model, or its popularity where the model knows nothing."""
    if popular and knows_nothing(model, user, history):
        scores = model.popularity
    else:
        scores = model(features_of(model, user, history)).numpy()[0, 1:]
    return dict(zip(model.item_vocabulary.ids(), scores, strict=True))


def ranked(scores, without=(), among=None, k=8):
    left = {
        item: score
        for item, score in scores.items()
        if item not in without and (among is None or item in among)
    }
    best = sorted(left, key=lambda item: -left[item])[: max(k, 0)]
    return best, [left[item] for item in best]


@pytest.fixture(scope="module")
def requests(make_model):
    """(users, histories): short and long ones, repetitions, unknown ids and users, an empty one."""
    model = make_model("attrec")
    items, users = model.item_vocabulary.ids(), model.user_vocabulary.ids()
    histories = [
        [items[0]],
        [items[7], items[8], items[2]],
        [items[3], "unknown", items[3], items[5], items[3]],
        [items[i] for i in (0, 1, 2, 3, 4, 5)],
        ["?", items[6], "", "??", items[1], items[9], "", items[10], "!", items[11], "?"],
        [],
    ]
    return [users[0], users[1], "nobody", users[2], "", users[3]], histories


@EACH
def test_serving_default_recommends_as_the_model(name, served, requests):
    model, _, runner = served(name)
    users, histories = requests[0][:5], requests[1][:5]
    result = runner.run("serving_default", user_id=users, history=table(histories))
    assert_same(listed(result), model.recommend(histories, 5, users=users))
    popular = [knows_nothing(model, *request) for request in zip(users, histories, strict=True)]
    assert [source == b"popular" for source in result["source"]] == popular
    assert popular == [not model.uses_history and user in ("nobody", "") for user in users]
    assert result["scores"].dtype == np.float32


@EACH
def test_padding_and_unknown_ids_anywhere(name, served, requests):
    model, _, runner = served(name)
    items = model.item_vocabulary.ids()
    same = [
        [items[4], items[9], items[1]],
        [items[4], "", items[9], "?", items[1], ""],
        ["", "?", "", items[4], items[9], items[1], "?"],
    ]
    result = runner.run("serving_default", user_id=["u"] * 3, history=table(same))
    assert len({tuple(row) for row in text(result["items"])}) == 1
    np.testing.assert_allclose(result["scores"][1:], result["scores"][:-1], rtol=1e-5, atol=1e-6)


@EACH
def test_rows_that_the_server_pads(name, served, requests):
    """TF Serving pads rows at their end with the first element, so that clients put "" first."""
    _, _, runner = served(name)
    users, histories = requests
    tensors = [table([history]) for history in histories]
    alone = [
        runner.run("serving_default", user_id=[user], history=tensor)
        for user, tensor in zip(users, tensors, strict=True)
    ]
    widest = max(tensor.shape[1] for tensor in tensors)
    padded = [
        np.concatenate([tensor, [[tensor[0, 0]] * (widest - tensor.shape[1])]], axis=1)
        for tensor in tensors
    ]
    together = runner.run("serving_default", user_id=users, history=np.concatenate(padded))
    for row, result in enumerate(alone):
        assert result["items"][0].tolist() == together["items"][row].tolist()
        np.testing.assert_allclose(
            result["scores"][0], together["scores"][row], rtol=1e-5, atol=1e-6
        )


@EACH
def test_lists_that_exclude_and_allow(name, served, requests):
    model, _, runner = served(name)
    items = model.item_vocabulary.ids()
    cases = [
        ([], []),
        ([items[2], items[2], "?"], []),
        ([], [items[10], items[2], items[5], items[10], "?"]),
        ([items[2], items[9]], [items[9], items[1], items[2], items[4], ""]),
        ([items[11]], items),
        ([], ["?", "??"]),
        (items, []),
    ]
    histories = [[items[5], items[6]]] * len(cases)
    excluded, allowed = [case[0] for case in cases], [case[1] for case in cases]
    users = [model.user_vocabulary.ids()[0]] * len(cases)
    scores = scores_of(model, users[0], histories[0])
    expected = [
        ranked(scores, {*exclude, *histories[0]}, allow or None) for exclude, allow in cases
    ]
    lists = {"exclude": table(excluded), "allow": table(allowed)}
    result = runner.run(
        "recommend", user_id=users, history=table(histories), **lists, k=[8] * len(cases)
    )
    assert_same(listed(result), list(zip(*expected, strict=True)))
    assert expected[5] == expected[6] == ([], [])
    for row in range(len(cases)):
        one = {key: value[row : row + 1] for key, value in lists.items()}
        alone = runner.run(
            "recommend", user_id=users[:1], history=table(histories[:1]), **one, k=[8]
        )
        assert_same(listed(alone), ([expected[row][0]], [expected[row][1]]))


@EACH
def test_each_row_has_its_own_k(name, served):
    model, _, runner = served(name)
    item = model.item_vocabulary.ids()[3]
    ks = [2, 0, -7, 8, 99]
    nothing = np.full((5, 1), "", object)
    result = runner.run(
        "recommend",
        user_id=["u"] * 5,
        history=table([[item]] * 5),
        exclude=nothing,
        allow=nothing,
        k=ks,
    )
    assert result["k"].tolist() == [2, 0, 0, 8, 8]
    assert result["items"].shape == (5, 8)
    expected = [ranked(scores_of(model, "u", [item]), {item}, k=min(k, 8)) for k in ks]
    assert [len(one) for one, _ in expected] == [2, 0, 0, 8, 8]
    assert_same(listed(result), list(zip(*expected, strict=True)))
    for k, columns in ((1, 1), (0, 0), (-1, 0), (99, 8)):
        one = runner.run(
            "recommend",
            user_id=["u"],
            history=table([[item]]),
            exclude=nothing[:1],
            allow=nothing[:1],
            k=[k],
        )
        assert one["items"].shape == one["scores"].shape == (1, columns)
    allowed = runner.run(
        "recommend",
        user_id=["u"],
        history=table([[]]),
        exclude=nothing[:1],
        allow=[[item, ""]],
        k=[4],
    )
    assert text(allowed["items"]) == [[item, "", "", ""]]
    assert runner.run("serving_default", user_id=["u"], history=table([[item]]))["items"].shape == (
        1,
        5,
    )


@ONE_OF_EACH
def test_fewer_items_than_k(name, served):
    model, _, runner = served(name, items=3, k=8)
    first, second, third = model.item_vocabulary.ids()
    result = runner.run(
        "serving_default", user_id=["u", "u"], history=table([[second], [first, second, third]])
    )
    assert result["items"].shape == (2, 3)
    expected = ranked(scores_of(model, "u", [second]), {second})
    assert sorted(expected[0]) == sorted([first, third])
    assert_same(listed(result), ([expected[0], []], [expected[1], []]))
    nothing = [[""]]
    result = runner.run(
        "recommend", user_id=["u"], history=[[second]], exclude=nothing, allow=nothing, k=[50]
    )
    assert result["items"].shape == (1, 3)
    assert result["k"].tolist() == [3]


@EACH
def test_popular_items_where_nothing_is_known(name, served):
    """Item i + 1 of 12 has i of 66 training events."""
    model, _, runner = served(name)
    items, user = model.item_vocabulary.ids(), model.user_vocabulary.ids()[0]
    users, histories = ["nobody", user, "nobody", ""], [["?", ""], ["?"], [items[0]], []]
    popular = [True, not model.uses_user, not model.uses_history, True]
    result = runner.run("serving_default", user_id=users, history=table(histories))
    assert [source == b"popular" for source in result["source"]] == popular
    assert_same(
        [listed(result)[0][0], [listed(result)[1][0]]],
        [items[:6:-1], [np.arange(11, 6, -1) / 66]],
    )
    assert text(result["items"])[3] == text(result["items"])[0]
    assert (text(result["items"])[1] == text(result["items"])[0]) == popular[1]
    alone = runner.run("serving_default", user_id=users[2:3], history=table(histories[2:3]))
    np.testing.assert_allclose(result["scores"][2], alone["scores"][0], rtol=1e-5)

    lists = {"exclude": [[items[11], "?"]] * 2, "allow": [["", ""], [items[11], items[4]]]}
    result = runner.run("recommend", user_id=["", ""], history=table([[], []]), **lists, k=[2, 2])
    assert_same(
        listed(result), ([[items[10], items[9]], [items[4]]], [[10 / 66, 9 / 66], [4 / 66]])
    )
    assert result["source"].tolist() == [b"popular"] * 2
    scores = runner.run(
        "score", user_id=[""], history=table([[]]), candidates=[[items[11], "?", items[4]]]
    )["scores"]
    np.testing.assert_allclose(scores, [[11 / 66, FLOOR, 4 / 66]], rtol=1e-6)


@ONE_OF_EACH
def test_keep_seen(name, served, requests):
    model, _, runner = served(name, keep_seen=True, k=12, max_k=12)
    users, histories = requests[0][:5], requests[1][:5]
    result = runner.run("serving_default", user_id=users, history=table(histories))
    assert_same(listed(result), model.recommend(histories, 12, users=users, exclude_seen=False))
    assert all(len(row) == 12 for row in listed(result)[0])
    exclude = [[history[0]] for history in histories]
    result = runner.run(
        "recommend",
        user_id=users,
        history=table(histories),
        exclude=exclude,
        allow=[[""]] * 5,
        k=[12] * 5,
    )
    expected = [
        ranked(scores_of(model, user, history), {history[0]}, k=12)
        for user, history in zip(users, histories, strict=True)
    ]
    assert_same(listed(result), list(zip(*expected, strict=True)))


@EACH
def test_items_older_than_the_window_are_not_recommended(name, served):
    model, _, runner = served(name)
    items = model.item_vocabulary.ids()
    result = runner.run("serving_default", user_id=["u"], history=[["", *items[:9]]])
    assert text(result["items"])[0][3:] == ["", ""]
    assert sorted(listed(result)[0][0]) == sorted(items[9:])


@EACH
def test_scores_of_candidates(name, served, requests):
    model, _, runner = served(name)
    items = model.item_vocabulary.ids()
    candidates = [items[4], "?", items[0], items[4], ""]
    users, histories = requests[0][:5], requests[1][:5]
    result = runner.run(
        "score", user_id=users, history=table(histories), candidates=[candidates] * 5
    )
    assert result["known"].tolist() == [[True, False, True, True, False]] * 5
    scores = [
        scores_of(model, user, history) for user, history in zip(users, histories, strict=True)
    ]
    expected = [[one.get(candidate, FLOOR) for candidate in candidates] for one in scores]
    np.testing.assert_allclose(result["scores"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TYPICAL)
def test_product_of_the_embeddings_is_the_score(name, served, requests):
    model, _, runner = served(name)
    items = model.item_vocabulary.ids()
    users, histories = requests
    query = runner.run("embed", user_id=users, history=table(histories))["query"]
    embedded = runner.run("embed_items", item=[*items, "?", ""])
    assert embedded["known"].tolist() == [True] * 12 + [False] * 2
    assert not embedded["vector"][12:].any()
    expected = [
        list(scores_of(model, user, history, popular=False).values())
        for user, history in zip(users, histories, strict=True)
    ]
    np.testing.assert_allclose(query @ embedded["vector"][:12].T, expected, rtol=1e-5, atol=1e-5)


@EACH
def test_a_model_in_mixed_precision_is_served_in_float32(name, make_model):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = make_model(name)
        servable = Servable(model, np.ones(12))
        assert tf.keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    exact = type(model).from_config(model.get_config())
    exact.set_weights(model.get_weights())
    history = table([model.item_vocabulary.ids()[2:5]])
    query = servable.embed(tf.constant(["u"]), tf.constant(history.tolist()))["query"]
    np.testing.assert_allclose(
        query,
        exact.query_vectors({"user": np.array([0]), "history": np.array([[0, 3, 4, 5]], np.int32)}),
        rtol=1e-6,
        atol=1e-6,
    )


def test_invalid_arguments():
    model = models.get("attrec")(3, 5, LENGTH, dim=4)
    with pytest.raises(
        ValueError,
        match=r"item_counts must have one number for each of 5 items, but has the shape \(4,\)\.",
    ):
        Servable(model, np.ones(4))
    for k, max_k in ((0, 5), (6, 5)):
        with pytest.raises(
            ValueError,
            match=f"k must be at least 1 and at most max_k, but k is {k} and max_k is {max_k}.",
        ):
            Servable(model, np.ones(5), k=k, max_k=max_k)


def test_embed_lists_the_items_of_the_prior_alone(make_model):
    model = make_model("decayed_transitions")
    rows, values = np.zeros([2, 13, model.rows.width])
    # 5 and 9 follow item 1.
    rows[1, :2], values[1, :2] = (9, 5), (1, 2)
    model.rows.set_rows(rows, values)
    ids = model.item_vocabulary.ids(np.arange(1, 13))
    found = Servable(model, np.ones(12)).embed(
        tf.constant([""]), tf.constant([[ids[1], ids[0]]], tf.string)
    )
    assert text(found["prior_items"].numpy()) == [[ids[4], ids[8]]]
    np.testing.assert_array_equal(found["prior_scores"], [[2, 1]])
