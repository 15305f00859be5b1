"""The joined signatures: lists as one text a row, which no batch can change."""

import numpy as np
import pytest

from export.saved_model import save
from export.servable import MOST_IDS, Servable
from export.session import Session
from tfrec_attn import models
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError

LENGTH, TAB = 4, "\t"
LISTS = ("history", "exclude", "allow", "candidates")
EVERY_MODEL = pytest.mark.parametrize("name", models.names())
FLOOR = np.finfo(np.float32).min


def rows_of(model):
    """Rows of all inputs, of all lengths, with unknown and empty ids."""
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


def assert_row(found, place, expected):
    """A row of a batch is the answer to it alone, and behind that there is nothing."""
    for name, values in expected.items():
        own = found[name][place]
        if values.ndim == 1:
            assert own == values[0], name
            continue
        width = values.shape[1]
        if values.dtype == object:
            assert own[:width].tolist() == values[0].tolist() and not any(own[width:]), name
        else:
            np.testing.assert_allclose(own[:width], values[0], rtol=1e-4, atol=1e-5, err_msg=name)
            assert set(own[width:].tolist()) <= {0.0, float(FLOOR), False}, name


@EVERY_MODEL
@pytest.mark.parametrize("signature", ["serving_default", "recommend", "score", "embed", "explain"])
def test_a_batch_of_joined_rows_is_answered_as_each_row_of_ids_alone(name, served, signature):
    model, _, session = served(name)
    rows, inputs = rows_of(model), session.signatures[signature][0]
    together = session.run(f"{signature}_joined", **joined(rows, inputs))
    for place, row in enumerate(rows):
        expected = session.run(signature, **padded(row, inputs))
        for output in ("contribution", "attention"):
            if output in expected:
                expected[output] = expected[output][:, 1:]
        if signature == "score":
            expected = {output: values[:, 1:] for output, values in expected.items()}
        assert_row(together, place, expected)
    assert together["separator"].tolist() == [b"\t"] * len(rows)
    assert together.keys() - expected.keys() == {"separator"}


@EVERY_MODEL
def test_requests_that_a_server_concatenates(name, served):
    """As TF Serving batches: rows one after the other, and the outputs split along their first
    axis.
    """
    model, _, session = served(name)
    rows, inputs = rows_of(model), session.signatures["recommend_joined"][0]
    requests = [joined(rows[begin:end], inputs) for begin, end in ((0, 1), (1, 3), (3, 6))]
    together = session.run(
        "recommend_joined",
        **{one: [value for request in requests for value in request[one]] for one in inputs},
    )
    place = 0
    for request in requests:
        for row in range(len(request["k"])):
            alone = session.run(
                "recommend_joined",
                **{one: values[row : row + 1] for one, values in request.items()},
            )
            assert_row(together, place, alone)
            place += 1


@EVERY_MODEL
def test_what_padding_does_to_rows_of_ids(name, served):
    """The reason for all this: TF Serving's padding repeats the first id of a shorter row behind
    its last.
    """
    model, _, session = served(name)
    items = model.item_vocabulary.ids()
    short, long = [items[0], items[3]], items[4:9]
    alone = session.run("embed", user_id=["u"], history=[short])["query"][0]
    together = session.run("embed", user_id=["u"] * 2, history=[[*short, *short[:1] * 3], long])[
        "query"
    ][0]
    assert np.abs(alone - together).max() > 1e-3
    both = session.run(
        "embed_joined", user_id=["u"] * 2, history=[TAB.join(short), TAB.join(long)]
    )["query"][0]
    np.testing.assert_allclose(both, alone, rtol=1e-5, atol=1e-6)


def test_columns_belong_to_the_ids_of_the_text(served):
    model, _, session = served("sasrec")
    items = model.item_vocabulary.ids()
    texts = [TAB.join([items[1], "?", items[2]]), TAB.join(items[3:8])]
    answer = session.run("explain_joined", user_id=["", ""], history=texts, item=items[8:10])
    assert answer["contribution"].shape == answer["attention"].shape == (2, 5)
    assert (answer["attention"][0] > 0).tolist() == [True, False, True, False, False]
    # The window has four places.
    assert (answer["attention"][1] > 0).tolist() == [False, True, True, True, True]


def test_the_latest_ids_of_a_text_without_end_are_read(served):
    model, _, session = served("sasrec")
    items = model.item_vocabulary.ids()
    history = [*items[:2], *["?"] * (MOST_IDS - 2), *items[4:6]]
    answer = session.run(
        "explain_joined", user_id=["", ""], history=[TAB.join(history), items[1]], item=items[:2]
    )
    assert answer["attention"].shape == (2, MOST_IDS)
    np.testing.assert_array_equal(
        np.flatnonzero(answer["attention"][0]), [MOST_IDS - 2, MOST_IDS - 1]
    )
    assert answer["attention"][1][0] > 0
    query = session.run(
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
    with Session(tmp_path) as session:
        answer = session.run("serving_default_joined", user_id=[""], history=["tab\there本cé"])
        expected = session.run("serving_default", user_id=[""], history=[["", "tab\there", "cé"]])
    assert answer["separator"].tolist() == ["本".encode()]
    assert answer["items"].tolist() == expected["items"].tolist() == [[b"b", b"", b""]]


@pytest.mark.parametrize(
    ("separator", "message"),
    [
        (
            "\t",
            r"--separator must stand in no id, but '\\t' stands in the item 'tab\\there'; name another character\.",
        ),
        (
            "é",
            r"--separator must stand in no id, but 'é' stands in the item 'cé'; name another character\.",
        ),
        ("", r"--separator must be one character, but is ''\."),
        ("ab", r"--separator must be one character, but is 'ab'\."),
    ],
)
def test_a_separator_that_does_not_separate(model_with_tabs, separator, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Servable(model_with_tabs, np.ones(3), separator=separator)
