"""Tests of `explain` against a loop that scores the history again without each event."""

import numpy as np
import pytest
import tensorflow as tf

from export.servable import MOST_MAPPED, Servable
from tests.models.contract import EXPORTED

LENGTH = 4
EACH = pytest.mark.parametrize("name", EXPORTED)


def score(model, user, history, item):
    """Of an item for the latest known events of a history."""
    known = [one for one in model.item_vocabulary.lookup(history) if one][-LENGTH:]
    features = {
        "user": model.user_vocabulary.lookup([user]),
        "history": np.array([[0] * (LENGTH - len(known)) + known], np.int32),
    }
    return model(features).numpy()[0, model.item_vocabulary.lookup([item])[0]]


def counting(model, history):
    """Columns of the events that count."""
    known = model.item_vocabulary.lookup(history)
    return [column for column, one in enumerate(known) if one][-LENGTH:]


def cases(model):
    """(user, history of eight columns, item), short and long ones."""
    items, user = model.item_vocabulary.ids(), model.user_vocabulary.ids()[2]
    histories = [
        ["", "", "", "", "", "", "", items[7]],
        ["", items[1], "?", items[1], "", items[8], "?", ""],
        ["", items[0], items[1], items[2], items[3], "?", items[4], items[5]],
        ["", "", "", "", items[6], items[2], items[9], items[3]],
        [""] * 7 + ["?"],
    ]
    return [
        (one, history, items[number])
        for one in (user, "nobody")
        for number, history in enumerate(histories, 3)
    ]


def window_of(model, users, histories):
    """Features of the latest events that count."""
    window = np.zeros((len(users), LENGTH), np.int32)
    for row, history in enumerate(histories):
        rows = model.item_vocabulary.lookup([history[one] for one in counting(model, history)])
        window[row, LENGTH - len(rows) :] = rows
    return {"user": model.user_vocabulary.lookup(users), "history": window}


@EACH
def test_contributions_against_a_loop(name, served):
    model, _, runner = served(name)
    users, histories, items = (list(part) for part in zip(*cases(model), strict=True))
    result = runner.run("explain", user_id=users, history=histories, item=items)["contribution"]
    expected = np.zeros((len(users), 8), np.float32)
    for row, (user, history, item) in enumerate(cases(model)):
        for column in counting(model, history):
            rest = history[:column] + history[column + 1 :]
            expected[row, column] = score(model, user, history, item) - score(
                model, user, rest, item
            )
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(result[expected == 0], 0)
    assert np.abs(expected).max() > 0.05 or not model.uses_history


@EACH
def test_an_event_before_the_window_counts_only_as_what_moves_in(name, served):
    model, _, runner = served(name)
    items = model.item_vocabulary.ids()
    window = items[2:6]

    def contributions(history):
        return runner.run("explain", user_id=["u"], history=[history], item=[items[9]])[
            "contribution"
        ][0]

    first, second = contributions(["", items[0], *window]), contributions(["", items[7], *window])
    assert not first[:2].any()
    # Without the first event of the window the one before it moves in.
    moved_in = [score(model, "u", [one, *window[1:]], items[9]) for one in (items[0], items[7])]
    np.testing.assert_allclose(
        first[2] - second[2], moved_in[1] - moved_in[0], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(contributions([items[7], items[0], *window])[2:], first[2:])


@EACH
def test_attention_is_in_the_columns_of_its_events(name, served):
    model, _, runner = served(name)
    users, histories, items = (list(part) for part in zip(*cases(model), strict=True))
    result = runner.run("explain", user_id=users, history=histories, item=items)
    attention = model.attention(window_of(model, users, histories))
    assert ("attention" in result) == (attention is not None)
    if attention is None:
        pytest.skip(f"{name} has no attention")
    expected = np.zeros((len(users), 8), np.float32)
    for row, history in enumerate(histories):
        columns = counting(model, history)
        expected[row, columns] = attention.numpy()[row, LENGTH - len(columns) :]
    np.testing.assert_allclose(result["attention"], expected, rtol=1e-5, atol=1e-6)
    assert expected.max() > 0.1


@EACH
def test_the_attention_map_is_that_of_the_latest_events(name, served):
    model, _, runner = served(name)
    users, histories, items = (list(part) for part in zip(*cases(model), strict=True))
    result = runner.run("explain", user_id=users, history=histories, item=items)
    expected = model.attention_map(window_of(model, users, histories))
    assert ("attention_map" in result) == (expected is not None)
    if expected is None:
        pytest.skip(f"{name} has no attention map")
    np.testing.assert_allclose(result["attention_map"], expected, rtol=1e-5, atol=1e-6)
    joined = runner.run(
        "explain_joined",
        user_id=users,
        history=["\t".join(history) for history in histories],
        item=items,
    )
    np.testing.assert_array_equal(joined["attention_map"], result["attention_map"])
    for row, history in enumerate(histories):
        columns = counting(model, history)
        own = result["attention_map"][row]
        weights = own.sum(axis=0) / max(len(columns), 1) if name == "attrec" else own[-1]
        np.testing.assert_allclose(
            result["attention"][row, columns],
            weights[LENGTH - len(columns) :],
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.parametrize(("length", "mapped"), [(MOST_MAPPED, True), (MOST_MAPPED + 1, False)])
def test_a_map_that_would_be_large_is_left_out(length, mapped, make_model):
    servable = Servable(make_model("attrec", length=length), np.arange(12))
    outputs = servable.explain(tf.constant(["u"]), tf.constant([["", "?"]]), tf.constant(["?"]))
    assert ("attention_map" in outputs, "attention" in outputs) == (mapped, True)


def test_an_attrec_without_self_attention_has_no_map(make_model):
    model = make_model("attrec", self_attention=False)
    items = model.item_vocabulary.ids()
    result = Servable(model, np.arange(12)).explain(
        tf.constant(["u"]), tf.constant([["?", items[3], "", items[4]]]), tf.constant(items[9:10])
    )
    assert set(result) == {"contribution", "attention", "known"}
    np.testing.assert_array_equal(result["attention"], [[0, 0.5, 0, 0.5]])


@EACH
def test_an_unknown_item_has_no_contributions(name, served):
    model, _, runner = served(name)
    history = [["", *model.item_vocabulary.ids()[:3]]]
    fed = {"user_id": ["u"] * 2, "history": history * 2}
    result = runner.run("explain", **fed, item=["?", model.item_vocabulary.ids()[3]])
    assert not result["contribution"][0].any()
    assert result["known"].tolist() == [False, True]
