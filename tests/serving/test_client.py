import json
import socket

import pytest

from serving import client
from serving.cli import side_by_side
from serving.clients.grpc_client import GrpcClient
from serving.clients.responses import Recommendations

HISTORY = "i3,i7,i1"


@pytest.fixture(scope="module")
def target(server):
    return ["--model", "sasrec", "--target", f"127.0.0.1:{server.grpc_port}", "--timeout", "20"]


@pytest.fixture(scope="module")
def asked(server):
    """The results of the client in Python for the same requests."""
    with GrpcClient(f"127.0.0.1:{server.grpc_port}", "sasrec", timeout=20) as one:
        history = HISTORY.split(",")
        return {
            "recommend": one.recommend(
                history, "u1", 3, exclude=["i5"], allow=["i2", "i5", "i8", "i9"]
            ),
            "score": one.score(history, ["i2", "nothing"]),
            "explain": one.explain(history, "i2"),
            "embed": one.embed(history),
        }


def run(capsys, *arguments):
    code = client.main(list(arguments))
    written = capsys.readouterr()
    return code, written.out, written.err


def test_json(capsys, target, asked):
    def answer(command, *options):
        code, out, err = run(capsys, command, "--history", HISTORY, "--json", *options, *target)
        assert (code, err) == (0, "")
        return json.loads(out)

    recommended = answer(
        "recommend", "--user", "u1", "--k", "3", "--exclude", "i5", "--allow", "i2,i5,i8,i9"
    )
    assert recommended == {
        "items": asked["recommend"].items,
        "scores": pytest.approx(asked["recommend"].scores),
        "source": "model",
        "k": 3,
        "unknown_categories": [],
    }
    assert sorted(recommended["items"]) == ["i2", "i8", "i9"]
    scored = answer("score", "--candidates", "i2,nothing")
    assert scored == {
        "candidates": ["i2", "nothing"],
        "scores": [pytest.approx(asked["score"][0]), None],
    }
    explained = answer("explain", "--item", "i2")
    assert list(explained) == ["item", "history", "contribution", "attention", "known"]
    assert (explained["item"], explained["history"]) == ("i2", ["i3", "i7", "i1"])
    assert explained["contribution"] == pytest.approx(asked["explain"].contribution, abs=1e-6)
    assert answer("embed") == {"query": pytest.approx(asked["embed"], abs=1e-6)}


def test_tables(capsys, target, asked):
    def lines(command, *options):
        code, out, err = run(capsys, command, "--history", HISTORY, *options, *target)
        assert (code, err) == (0, "")
        return [line.split() for line in out.splitlines()]

    items, scores = asked["recommend"].items, asked["recommend"].scores
    table = lines("recommend", "--k", "3", "--exclude", "i5", "--allow", "i2,i5,i8,i9")
    assert table == [
        ["item", "score"],
        *([str(place + 1), items[place], f"{scores[place]:.4f}"] for place in range(3)),
    ]
    assert lines("score", "--candidates", "i2,nothing") == [
        ["item", "score"],
        ["i2", f"{asked['score'][0]:.4f}"],
        ["nothing", "unknown"],
    ]
    explained = asked["explain"]
    rows = zip(explained.history, explained.contribution, explained.attention)
    assert lines("explain", "--item", "i2") == [
        ["event", "contribution", "attention"],
        *(
            [event, f"{contribution:+.4f}", f"{attention:.4f}"]
            for event, contribution, attention in rows
        ),
    ]
    assert lines("embed") == [[f"{one:.4f}" for one in asked["embed"]]]


def test_two_models_side_by_side(capsys, target, asked):
    options = ["--history", HISTORY, "--user", "u1", "--k", "3", "--against", "sasrec:stable"]
    options += ["--exclude", "i5", "--allow", "i2,i5,i8,i9"]
    code, out, err = run(capsys, "recommend", *options, *target)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    items, scores = asked["recommend"].items, [f"{one:.4f}" for one in asked["recommend"].scores]
    assert lines[0].split() == ["sasrec", "score", "sasrec:stable", "score", "change"]
    assert [line.split() for line in lines[1:4]] == [
        [str(rank + 1), items[rank], scores[rank], items[rank], scores[rank], "="]
        for rank in range(3)
    ]
    assert lines[4:] == ["", "3 items in common, overlap@3 1, rank correlation 1"]
    compared = json.loads(run(capsys, "recommend", "--json", *options, *target)[1])
    assert compared["models"] == ["sasrec", "sasrec:stable"]
    assert compared["lists"][0]["items"] == compared["lists"][1]["items"] == items
    assert compared["ranks"] == {item: [rank, rank] for rank, item in enumerate(items, 1)}
    code, out, err = run(capsys, "recommend", *options, "--allow-category", "none", *target)
    assert code == 0 and "0 items in common" in out
    assert err == "note: no item has the category 'none'; give others to --allow-category.\n"


def test_lists_that_differ_by_hand():
    first = Recommendations(["a", "b", "c"], [3.0, 2.0, 1.0], "model", 3)
    second = Recommendations(["c", "d"], [0.5, -4e38], "popular", 3)
    lines = side_by_side.as_text(first, second, ("old", "new")).splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["old", "score", "new", "score", "change"],
        ["1", "a", "3.0000", "c", "0.5000", "+2"],
        ["2", "b", "2.0000", "d", "-4e+38", "new"],
        ["3", "c", "1.0000"],
    ]
    assert lines[4:] == [
        "",
        "1 item in common, overlap@3 0.3333",
        "new knows nothing of the history: its items are the most popular.",
    ]


def test_items_beside_an_item(capsys, server, target):
    with GrpcClient(f"127.0.0.1:{server.grpc_port}", "sasrec", timeout=20) as one:
        expected = one.similar("i2", 3)
    code, out, err = run(capsys, "similar", "--item", "i2", "--k", "3", *target)
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["item", "cosine"],
        *(
            [str(place), item, f"{score:.4f}"]
            for place, (item, score) in enumerate(
                zip(expected.items, expected.scores, strict=True), 1
            )
        ),
    ]
    for command in (["similar"], ["explain", "--history", HISTORY]):
        code, out, err = run(capsys, *command, "--item", "nothing", *target)
        assert code == 0
        assert err == "note: the model knows no item 'nothing'; give another --item.\n"


def test_titles_and_categories(capsys, target, monkeypatch):
    options = "--allow-category", "C,none", "--per-category", "2", "--k", "9"
    code, out, err = run(capsys, "recommend", "--history", HISTORY, *options, *target)
    assert code == 0 and len(out.splitlines()) == 3
    assert err == "note: no item has the category 'none'; give others to --allow-category.\n"
    code, out, err = run(capsys, "describe", "--items", "i50,nothing", *target)
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["item", "colour", "category"],
        ["i50", "red", "C"],
        ["nothing"],
    ]
    about = {"i50": {"title": "Fifty\n"}}
    monkeypatch.setattr(GrpcClient, "describe", lambda _, items: [about.get(i, {}) for i in items])
    code, out, err = run(capsys, "score", "--candidates", "i2,i50", *target)
    head, without, titled = (line.split() for line in out.splitlines())
    assert head == ["item", "title", "score"] and titled[:2] == ["i50", r"Fifty\n"]
    assert len(without) == 2
    # No text breaks the table.
    assert run(capsys, "describe", "--items", "i50", *target)[1] == "item  title\ni50   Fifty\\n\n"


def test_over_rest(capsys, server, asked):
    url = [
        "--url",
        f"http://127.0.0.1:{server.rest_port}",
        "--model",
        "sasrec",
        "--timeout",
        "20",
        "--version",
        "1",
    ]
    code, out, _ = run(
        capsys,
        "recommend",
        "--history",
        HISTORY,
        "--k",
        "3",
        "--exclude",
        "i5",
        "--allow",
        "i2,i5,i8,i9",
        "--json",
        *url,
    )
    assert code == 0
    assert json.loads(out)["items"] == asked["recommend"].items


def test_popular_items_are_said_to_be_so(capsys, target):
    code, out, _ = run(capsys, "recommend", "--k", "2", *target)
    assert code == 0
    assert out.endswith("\n\nNothing of the history is known: these are the most popular items.\n")
    assert json.loads(run(capsys, "recommend", "--json", *target)[1])["source"] == "popular"


@pytest.mark.parametrize("k", [20, 21, 500])
def test_more_items_than_the_model_gives_are_said(capsys, target, k):
    code, out, err = run(
        capsys, "recommend", "--history", HISTORY, "--k", str(k), "--json", *target
    )
    assert code == 0
    answer = json.loads(out)
    assert len(answer["items"]) == answer["k"] == 20
    assert err == (
        "" if k == 20 else f"note: the model returns at most 20 items, but --k is {k}.\n"
    )


def test_fewer_items_than_wanted_are_not(capsys, target):
    code, out, err = run(
        capsys, "recommend", "--history", HISTORY, "--k", "9", "--allow", "i2,i5", "--json", *target
    )
    assert (code, err) == (0, "")
    assert (len(json.loads(out)["items"]), json.loads(out)["k"]) == (2, 9)


def test_ids_with_commas_are_quoted(capsys, target):
    code, out, _ = run(capsys, "score", "--candidates", '"a,b",say "hi", c', "--json", *target)
    assert code == 0
    assert json.loads(out)["candidates"] == ["a,b", 'say "hi"', " c"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["recommend", "--k", "0"],
            "error: k must be a number of items from 1 to 2147483647, but is 0.\n",
        ),
        (
            ["recommend", "--exclude", "a\tb"],
            "error: exclude must have no id with '\\t', which joins the ids for this model, "
            "but has 'a\\tb'; leave it out.\n",
        ),
        (
            ["recommend", "--timeout", "-1"],
            "error: timeout must be a number of seconds above 0, but is -1.0.\n",
        ),
        (["recommend", "--retries", "9"], "error: retries must be 0 to 4, but is 9.\n"),
        (["recommend", "--label", "none"], "error: 127.0.0.1:"),
        (["recommend", "--against", "sasrec:none"], "error: 127.0.0.1:"),
    ],
)
def test_what_cannot_be_asked_ends_with_2(capsys, target, options, message):
    code, out, err = run(capsys, options[0], *target, *options[1:])
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.endswith(".\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["recommend", "--history", 'a,"b'],
            "argument --history: expected ids separated by commas, "
            "but 'a,\"b' is not: unexpected end of data.",
        ),
        (
            ["recommend", "--metadata", "x"],
            "argument --metadata: expected KEY=VALUE, but got 'x'.",
        ),
        (
            ["recommend", "--version", "1", "--label", "x"],
            "argument --label: not allowed with argument --version",
        ),
        (["recommend", "--url", "x"], "argument --url: not allowed with argument --target"),
        (["explain"], "the following arguments are required: --item"),
        (["score"], "the following arguments are required: --candidates"),
        (["guess"], "explain | embed | describe: invalid choice: 'guess'"),
    ],
)
def test_options_that_make_no_sense(capsys, options, message):
    with pytest.raises(SystemExit) as ended:
        client.main([options[0], "--model", "m", "--target", "127.0.0.1:1", *options[1:]])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("scheme", ["--target={}", "--url=http://{}"])
def test_no_server_ends_with_1(capsys, scheme):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = run(
            capsys, "recommend", "--model", "m", scheme.format(where), "--retries", "0"
        )
    assert (code, out) == (1, "")
    assert err.startswith(f"error: No server answers at {scheme.format(where).partition('=')[2]} (")
    assert err.endswith("); start one there, or name another.\n")
