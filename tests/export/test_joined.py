"""Tests of the joined signatures, whose lists are one text a row, so that no batch changes them."""

import numpy as np
import pytest

from export.saved_model import save
from export.servable import Servable
from export.signatures import MOST_IDS
from tests.models.contract import EXPORTED
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError
from tfrec_attn.runtime.runner import Runner

LENGTH, TAB = 4, "\t"
LISTS = ("history", "exclude", "allow", "candidates")
EACH = pytest.mark.parametrize("name", EXPORTED)
FLOOR = np.finfo(np.float32).min


def rows_of(model):
    """Rows with all inputs, of different lengths, with unknown and empty ids."""
    items, users = model.item_vocabulary.ids(), model.user_vocabulary.ids()
    histories = [
        [],
        [items[0]],
        ["?", items[5], "", items[2]],
        items[3:9],
        [""],
        [items[7], items[7], "??"],
    ]
    excluded = [[], [items[11]], [items[1], "?"], [], [items[2]], items[8:]]
    allowed = [[], [], [items[9], items[4], items[9]], ["?"], ["", ""], []]
    candidates = [[items[3]], [items[7], "?", items[0]], [], [items[1], ""], ["?"], items]
    people = [users[0], "nobody", "", users[1], users[2], users[0]]
    columns = zip(
        people,
        histories,
        excluded,
        allowed,
        candidates,
        [items[6], "?", *items[:4]],
        [3, 0, 8, -2, 99, 5],
        strict=True,
    )
    return [
        dict(
            zip(
                ("user_id", "history", "exclude", "allow", "candidates", "item", "k"),
                column,
                strict=True,
            )
        )
        for column in columns
    ]


def joined(rows, inputs, separator=TAB):
    return {
        name: [separator.join(row[name]) if name in LISTS else row[name] for row in rows]
        for name in inputs
    }


def padded(row, inputs):
    """One row with its lists as they are, and one "" in front."""
    return {name: [["", *row[name]] if name in LISTS else row[name]] for name in inputs}


def assert_row(found, row, expected):
    """Asserts that a row of a batch is the response to it alone, followed by padding."""
    for name, values in expected.items():
        own = found[name][row]
        if values.ndim == 1:
            assert own == values[0], name
            continue
        width = values.shape[1]
        if values.dtype == object:
            assert own[:width].tolist() == values[0].tolist() and not any(own[width:]), name
        else:
            np.testing.assert_allclose(own[:width], values[0], rtol=1e-4, atol=1e-5, err_msg=name)
            assert set(own[width:].tolist()) <= {0.0, float(FLOOR), False}, name


@EACH
@pytest.mark.parametrize("signature", ["serving_default", "recommend", "score", "embed", "explain"])
def test_batch_of_joined_rows_equals_each_row_of_ids_alone(name, served, signature):
    model, _, runner = served(name)
    rows, inputs = rows_of(model), runner.signatures[signature][0]
    together = runner.run(f"{signature}_joined", **joined(rows, inputs))
    for number, row in enumerate(rows):
        expected = runner.run(signature, **padded(row, inputs))
        for output in ("contribution", "attention"):
            if output in expected:
                expected[output] = expected[output][:, 1:]
        if signature == "score":
            expected = {output: array[:, 1:] for output, array in expected.items()}
        assert_row(together, number, expected)
    assert together["separator"].tolist() == [b"\t"] * len(rows)
    assert together.keys() - expected.keys() == {"separator"}


@EACH
def test_requests_that_a_server_concatenates(name, served):
    """TF Serving concatenates requests, and splits the outputs along their first axis."""
    model, _, runner = served(name)
    rows, inputs = rows_of(model), runner.signatures["recommend_joined"][0]
    requests = [joined(rows[begin:end], inputs) for begin, end in ((0, 1), (1, 3), (3, 6))]
    together = runner.run(
        "recommend_joined",
        **{one: [value for request in requests for value in request[one]] for one in inputs},
    )
    row_of_batch = 0
    for request in requests:
        for row in range(len(request["k"])):
            alone = runner.run(
                "recommend_joined",
                **{one: values[row : row + 1] for one, values in request.items()},
            )
            assert_row(together, row_of_batch, alone)
            row_of_batch += 1


@EACH
def test_padding_changes_rows_of_ids_but_not_joined_rows(name, served):
    """TF Serving pads a shorter row with its first id, which is why joined signatures exist."""
    model, _, runner = served(name)
    items = model.item_vocabulary.ids()
    short, long = [items[0], items[3]], items[4:9]
    fed = {"user_id": ["u"] * 2}
    alone = runner.run("score", user_id=["u"], history=[short], candidates=[items])["scores"][0]
    together = runner.run(
        "score", **fed, history=[[*short, *short[:1] * 3], long], candidates=[items] * 2
    )["scores"][0]
    assert np.abs(alone - together).max() > 1e-3 or not model.uses_history
    both = runner.run(
        "score_joined",
        **fed,
        history=[TAB.join(short), TAB.join(long)],
        candidates=[TAB.join(items)] * 2,
    )["scores"][0]
    np.testing.assert_allclose(both, alone, rtol=1e-5, atol=1e-6)


def test_columns_belong_to_the_ids_of_the_text(served):
    model, _, runner = served("sasrec")
    items = model.item_vocabulary.ids()
    texts = [TAB.join([items[1], "?", items[2]]), TAB.join(items[3:8])]
    answer = runner.run("explain_joined", user_id=["", ""], history=texts, item=items[8:10])
    assert answer["contribution"].shape == answer["attention"].shape == (2, 5)
    assert (answer["attention"][0] > 0).tolist() == [True, False, True, False, False]
    # The window has four events.
    assert (answer["attention"][1] > 0).tolist() == [False, True, True, True, True]


def test_only_the_latest_ids_of_a_long_text_are_read(served):
    model, _, runner = served("sasrec")
    items = model.item_vocabulary.ids()
    history = [*items[:2], *["?"] * (MOST_IDS - 2), *items[4:6]]
    answer = runner.run(
        "explain_joined", user_id=["", ""], history=[TAB.join(history), items[1]], item=items[:2]
    )
    assert answer["attention"].shape == (2, MOST_IDS)
    np.testing.assert_array_equal(
        np.flatnonzero(answer["attention"][0]), [MOST_IDS - 2, MOST_IDS - 1]
    )
    assert answer["attention"][1][0] > 0
    query = runner.run(
        "embed_joined", user_id=["", ""], history=[TAB.join(history), TAB.join(items[4:6])]
    )["query"]
    np.testing.assert_allclose(query[0], query[1], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def model_with_tabs(make_model):
    model = make_model("sasrec", items=3)
    model.item_vocabulary = Vocabulary(["tab\there", "b", "cé"])
    return model


def test_another_separator(model_with_tabs, tmp_path):
    save(Servable(model_with_tabs, np.ones(3), separator="本"), tmp_path)
    with Runner(tmp_path) as runner:
        answer = runner.run("serving_default_joined", user_id=[""], history=["tab\there本cé"])
        expected = runner.run("serving_default", user_id=[""], history=[["", "tab\there", "cé"]])
    assert answer["separator"].tolist() == ["本".encode()]
    assert answer["items"].tolist() == expected["items"].tolist() == [[b"b", b"", b""]]


@pytest.mark.parametrize(
    ("separator", "message"),
    [
        (
            "\t",
            r"--separator must not be in any id, but '\\t' is in the item 'tab\\there'; "
            r"name another character\.",
        ),
        (
            "é",
            r"--separator must not be in any id, but 'é' is in the item 'cé'; "
            r"name another character\.",
        ),
        ("", r"--separator must be one character, but is ''\."),
        ("ab", r"--separator must be one character, but is 'ab'\."),
    ],
)
def test_separator_that_is_not_usable(model_with_tabs, separator, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Servable(model_with_tabs, np.ones(3), separator=separator)
