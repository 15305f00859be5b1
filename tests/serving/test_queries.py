import pytest

from serving import queries
from serving.answers import Explanation, Recommendations


@pytest.mark.parametrize(("length", "width"), [(0, 10), (1, 10), (9, 10), (10, 20), (19, 20), (20, 30), (200, 210)])
def test_ids_stand_behind_at_least_one_empty_text(length, width):
    ids = [f"i{place}" for place in range(length)]
    row = queries.padded(ids)
    assert len(row) == width
    assert row[0] == ""
    assert [one for one in row if one] == ids
    assert row[width - length :] == ids


def test_only_the_latest_events_are_sent():
    history = ["a", "b", "c", "d"]
    for query in (
        queries.recommend(history, "u", 3, [], [], 2),
        queries.score(history, ["x"], "u", 2),
        queries.explain(history, "x", "u", 2),
        queries.embed(history, "u", 2),
    ):
        assert query.inputs["history"] == [""] * 8 + ["c", "d"]
        assert query.inputs["user_id"] == "u"


def test_a_history_may_come_from_a_generator():
    query = queries.explain((one for one in "ab"), "x", "", 5)
    assert query.inputs["history"][-2:] == ["a", "b"]
    assert query.read({"contribution": [0.0] * 8 + [1.0, 2.0]}).history == ["a", "b"]


def test_recommendations_end_where_there_are_no_more():
    query = queries.recommend([], "", 4, ["e"], ["f", "g"], 5)
    assert query.inputs["exclude"] == [""] * 9 + ["e"]
    assert query.inputs["allow"] == [""] * 8 + ["f", "g"]
    assert query.inputs["k"] == 4
    floor = -3.4028234663852886e38
    answer = query.read({"items": ["b", "a", "", ""], "scores": [2.0, 1.0, floor, floor], "source": "model"})
    assert answer == Recommendations(["b", "a"], [2.0, 1.0], "model")


def test_nothing_to_exclude_or_to_allow_is_sent_as_empty_texts():
    query = queries.recommend(["a"], "", 4, (), (), 5)
    assert query.inputs["exclude"] == query.inputs["allow"] == [""] * 10


def test_scores_are_found_where_a_server_has_lengthened_the_rows():
    # Beside a row of 20 the server pads ["" x 8, a, b] to 20 with "", on the right.
    query = queries.score(["h"], ["a", "b"], "", 5)
    outputs = {"scores": [0.0] * 8 + [1.5, 2.5] + [0.0] * 10, "known": [False] * 8 + [True, False] + [False] * 10}
    assert query.read(outputs) == [1.5, None]


def test_contributions_are_found_where_a_server_has_lengthened_the_rows():
    query = queries.explain(["a", "b", "c"], "x", "", 5)
    contribution = [0.0] * 7 + [1.0, 2.0, 3.0] + [0.0] * 10
    assert query.read({"contribution": contribution}) == Explanation("x", ["a", "b", "c"], [1.0, 2.0, 3.0], None)
    attention = [0.0] * 7 + [0.1, 0.2, 0.7] + [0.0] * 10
    assert query.read({"contribution": contribution, "attention": attention}).attention == [0.1, 0.2, 0.7]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: queries.embed("abc", "", 5), "history must be a list of ids, but is 'abc'."),
        (lambda: queries.embed(None, "", 5), "history must be a list of ids, but is None."),
        (lambda: queries.embed(["a", 7], "", 5), "every id in history must be a text, but is 7."),
        (lambda: queries.embed([b"a"], "", 5), "every id in history must be a text, but is b'a'."),
        (lambda: queries.embed(["\ud800"], "", 5), "every id in history must be Unicode text, but '\\ud800' has half of a surrogate pair."),
        (lambda: queries.embed([], 7, 5), "user_id must be a text, but is 7."),
        (lambda: queries.explain([], None, "", 5), "item must be a text, but is None."),
        (lambda: queries.score([], "ab", "", 5), "candidates must be a list of ids, but is 'ab'."),
        (lambda: queries.recommend([], "", 3, "a", [], 5), "exclude must be a list of ids, but is 'a'."),
        (lambda: queries.recommend([], "", 3, [], "a" * 90, 5), f"allow must be a list of ids, but is '{'a' * 59}...."),
        (lambda: queries.recommend([], "", 0, [], [], 5), "k must be a number of items from 1 to 2147483647, but is 0."),
        (lambda: queries.recommend([], "", 2**31, [], [], 5), "k must be a number of items from 1 to 2147483647, but is 2147483648."),
        (lambda: queries.recommend([], "", 2.5, [], [], 5), "k must be a number of items from 1 to 2147483647, but is 2.5."),
        (lambda: queries.recommend([], "", True, [], [], 5), "k must be a number of items from 1 to 2147483647, but is True."),
    ],
)
def test_what_is_wrong_with_an_argument(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message
