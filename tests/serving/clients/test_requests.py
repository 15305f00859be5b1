import pytest

from serving.clients import requests
from serving.clients.responses import Explanation, Recommendations, SeparatorChanged


def test_lists_are_sent_as_one_text():
    request = requests.recommend(["a", "", "日本語"], "", 4, ["e"], [], 5)
    assert request.row() == {
        "user_id": "",
        "history": "a\t\t日本語",
        "exclude": "e",
        "allow": "",
        "k": 4,
    }
    assert request.row("|")["history"] == "a||日本語"
    assert requests.score(["a"], ["x", "y"], "u", 5).row() == {
        "user_id": "u",
        "history": "a",
        "candidates": "x\ty",
    }
    assert requests.explain([], "a\tb", "u\tv", 5).row() == {
        "user_id": "u\tv",
        "history": "",
        "item": "a\tb",
    }


@pytest.mark.parametrize(
    ("asked", "separator", "message"),
    [
        (
            requests.embed(["a", "b\tc"], "", 5),
            "\t",
            "history must have no id with '\\t', which joins the ids for this model, "
            "but has 'b\\tc'",
        ),
        (
            requests.recommend([], "", 3, [], ["本屋"], 5),
            "本",
            "allow must have no id with '本', which joins the ids for this model, but has",
        ),
    ],
)
def test_an_id_with_the_separator_is_not_sent(asked, separator, message):
    with pytest.raises(ValueError) as caught:
        asked.row(separator)
    assert str(caught.value).startswith(message) and str(caught.value).endswith("; leave it out.")
    assert asked.row("/")


def test_reranking_asks_for_another_signature():
    plain = requests.recommend(["a"], "", 4, [], [], 5, [], 0, 0.0, 0)
    assert plain.signature == "recommend_joined" and "diversity" not in plain.row()
    request = requests.recommend(["a"], "", 4, [], [], 5, ["x", "y"], 2, 1, 0.5)
    assert request.signature == "recommend_diverse_joined"
    assert request.row() == {
        **plain.row(),
        "allow_category": "x\ty",
        "per_category": 2,
        "popularity_penalty": 1.0,
        "diversity": 0.5,
    }


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: requests.similar("a", 0, "cosine"), "k must be a number of items from 1 to "),
        (lambda: requests.similar("a", 1, "x"), "by must be one of cosine, score, but is 'x'."),
        (lambda: requests.similar(3, 1, "score"), "item must be a text, but is 3."),
        (
            lambda: requests.recommend([], "", 1, [], [], 5, "x"),
            "allow_category must be a list of ids, but is 'x'.",
        ),
        (
            lambda: requests.recommend([], "", 1, [], [], 5, [], -1),
            "per_category must be a number of items, or 0 for any, but is -1.",
        ),
        (
            lambda: requests.recommend([], "", 1, [], [], 5, [], 0, float("nan")),
            "popularity_penalty must be a number from 0 to 1e+30, but is nan.",
        ),
        (
            lambda: requests.recommend([], "", 1, [], [], 5, [], 0, 0, 1.5),
            "diversity must be a number from 0 to 1, but is 1.5.",
        ),
    ],
)
def test_wrong_reranking(ask, message):
    with pytest.raises(ValueError) as caught:
        ask()
    assert str(caught.value).startswith(message)


def test_only_the_latest_events_are_sent():
    history = ["a", "b", "c", "d"]
    for request in (
        requests.recommend(history, "u", 3, [], [], 2),
        requests.score(history, ["x"], "u", 2),
        requests.explain(history, "x", "u", 2),
        requests.embed(history, "u", 2),
    ):
        assert request.row()["history"] == "c\td"
        assert request.row()["user_id"] == "u"


def test_a_history_may_come_from_a_generator():
    request = requests.explain((one for one in "ab"), "x", "", 5)
    assert request.row()["history"] == "a\tb"
    assert request.read({"contribution": [1.0, 2.0], "known": True}).history == ["a", "b"]


def test_recommendations_end_where_there_are_no_more():
    request = requests.recommend([], "", 4, ["e"], ["f", "g"], 5)
    floor = -3.4028234663852886e38
    outputs = {
        "items": ["b", "a", "", ""],
        "scores": [2.0, 1.0, floor, floor],
        "source": "model",
        "k": 4,
        "separator": "\t",
    }
    assert request.response(outputs) == Recommendations(["b", "a"], [2.0, 1.0], "model", 4)


def test_scores_are_those_of_the_own_candidates_in_a_wider_batch():
    request = requests.score(["h"], ["a", "b"], "", 5)
    outputs = {
        "scores": [1.5, 2.5] + [0.0] * 10,
        "known": [True, False] + [False] * 10,
        "separator": "\t",
    }
    assert request.response(outputs) == [1.5, None]
    assert requests.score(["h"], [], "", 5).response(outputs) == []


def test_contributions_are_those_of_the_own_events_in_a_wider_batch():
    request = requests.explain(["a", "b", "c"], "x", "", 5)
    contribution = [1.0, 2.0, 3.0] + [0.0] * 10
    outputs = {"contribution": contribution, "known": False, "separator": "\t"}
    expected = Explanation("x", ["a", "b", "c"], [1.0, 2.0, 3.0], None, False)
    assert request.response(outputs) == expected
    attention = [0.1, 0.2, 0.7] + [0.0] * 10
    assert request.response({**outputs, "attention": attention}).attention == [0.1, 0.2, 0.7]
    with pytest.raises(IndexError):
        request.response({**outputs, "contribution": [1.0, 2.0]})


def test_an_answer_to_other_ids_is_none():
    request = requests.embed(["a"], "", 5)
    assert request.response({"query": [0.5], "separator": "|"}, "|") == [0.5]
    with pytest.raises(SeparatorChanged) as caught:
        request.response({"query": [0.5], "separator": "|"})
    assert (caught.value.separator, caught.value.status) == ("|", "ABORTED")
    assert (
        str(caught.value)
        == "The model joins ids by '|', and did not when it was last asked; ask again."
    )
    for told, error in ((None, TypeError), (3, TypeError), ("", ValueError), ("||", ValueError)):
        with pytest.raises(error):
            request.response({"query": [0.5], "separator": told})
    with pytest.raises(KeyError):
        request.response({"query": [0.5]})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: requests.embed("abc", "", 5), "history must be a list of ids, but is 'abc'."),
        (lambda: requests.embed(None, "", 5), "history must be a list of ids, but is None."),
        (lambda: requests.embed(["a", 7], "", 5), "every id in history must be a text, but is 7."),
        (lambda: requests.embed([b"a"], "", 5), "every id in history must be a text, but is b'a'."),
        (
            lambda: requests.embed(["\ud800"], "", 5),
            "every id in history must be Unicode text, but '\\ud800' has half of a surrogate pair.",
        ),
        (lambda: requests.embed([], 7, 5), "user_id must be a text, but is 7."),
        (lambda: requests.explain([], None, "", 5), "item must be a text, but is None."),
        (lambda: requests.score([], "ab", "", 5), "candidates must be a list of ids, but is 'ab'."),
        (
            lambda: requests.recommend([], "", 3, "a", [], 5),
            "exclude must be a list of ids, but is 'a'.",
        ),
        (
            lambda: requests.recommend([], "", 3, [], "a" * 90, 5),
            f"allow must be a list of ids, but is '{'a' * 39}...{'a' * 16}'.",
        ),
        (
            lambda: requests.recommend([], "", 0, [], [], 5),
            "k must be a number of items from 1 to 2147483647, but is 0.",
        ),
        (
            lambda: requests.recommend([], "", 2**31, [], [], 5),
            "k must be a number of items from 1 to 2147483647, but is 2147483648.",
        ),
        (
            lambda: requests.recommend([], "", 2.5, [], [], 5),
            "k must be a number of items from 1 to 2147483647, but is 2.5.",
        ),
        (
            lambda: requests.recommend([], "", True, [], [], 5),
            "k must be a number of items from 1 to 2147483647, but is True.",
        ),
    ],
)
def test_what_is_wrong_with_an_argument(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message
