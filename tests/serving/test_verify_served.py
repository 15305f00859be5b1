import json
import math
import shutil

import numpy as np
import polars as pl
import pytest

from serving import verify
from serving.checks import ranking
from serving.checks.ranking import cutoff, mean
from serving.checks.run_directory import (
    Event,
    RunError,
    read_events,
    read_items,
    read_metrics,
)
from serving.clients.batches import padded, texts
from serving.clients.responses import Recommendations
from serving.clients.rest_client import RestClient
from serving.local_server import LocalServer
from serving.server.batching import BatchOptions
from serving.server.model_config import ModelConfig
from serving.server.model_store import ModelStore

ITEMS = ["a", "b", "c", "d", "e"]
VECTORS = np.array([[5, 0], [4, 0], [4, 0], [1, 0], [0, 1]], np.float32)
EVENTS = [
    Event("u", ["a"], "c"),
    Event("v", ["a", "d", "a"], "e"),
    Event("w", ["b", "a"], "d"),
    Event("x", ["d"], "d"),
]


def embedding(signature, inputs):
    """Query vectors (1, 0). They rank the items a, b = c, d, e."""
    if signature == "recommend":
        rows = len(inputs["user_id"])
        source = ["popular" if user == "y" else "model" for user in inputs["user_id"]]
        return {
            "items": np.array([["a"]] * rows, object),
            "scores": np.ones((rows, 1)),
            "source": texts(source),
        }
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
        assert inputs["history"].shape[1] % 10 == 0 and (inputs["history"][:, 0] == "").all()
        return {"query": np.tile(np.float32([1, 0]), (len(inputs["user_id"]), 1))}
    known = np.array([item in ITEMS for item in inputs["item"]])
    return {
        "vector": VECTORS[[ITEMS.index(item) if item in ITEMS else 0 for item in inputs["item"]]],
        "known": known,
    }


def test_ranks_by_vectors():
    ranks = ranking.rank_by_vectors(embedding, EVENTS, ITEMS)
    # c: a was had before and b ties against it. e: b and c are before it, a and d were had. d: c; a
    # and b were had. d was had: a miss.
    assert ranks.rank.tolist() == [2, 3, 2, math.inf]
    assert ranks.close.tolist() == [True, False, False, False]


def test_ranks_where_all_items_compete():
    ranks = ranking.rank_by_vectors(embedding, EVENTS, ITEMS, "include")
    # c: behind a and b, which ties. e: behind all others. d: behind a, b and c, twice.
    assert ranks.rank.tolist() == [3, 5, 4, 4]


def test_where_nothing_is_known_popularity_ranks():
    # e has a fifth of the events: d has more, c as many.
    ranks = ranking.rank_by_vectors(embedding, [Event("y", [], "e")], ITEMS)
    assert (ranks.rank.tolist(), ranks.close.tolist()) == ([3], [True])


def test_a_server_of_other_items():
    with pytest.raises(RunError, match=r"does not know the item 'f' of the run; .*\.$"):
        ranking.rank_by_vectors(embedding, EVENTS, [*ITEMS, "f"])
    with pytest.raises(RunError, match="no item 'e'"):
        ranking.rank_by_vectors(embedding, EVENTS, ITEMS[:4])


def test_ranks_in_lists():
    answers = [
        (["b", "c", "d"], [4.0, 4.0, 1.0], "model"),
        (["b", "c"], [4.0, 4.0], "model"),
        (["c", "d"], [4.0, 1.0], "model"),
        (["a", "b"], [5.0, 4.0], "model"),
        (["a", "d"], [5.0, 4.0], "popular"),
    ]
    events = [*EVENTS, Event("y", [], "d")]
    ranks, longest = ranking.rank_in_lists(answers, events, np.array([91, 92, 93, 94, 95]))
    # c ties with b; e is not there; the lists end with d, behind which others may tie, but for that
    # of x, which has no d.
    assert ranks.tolist() == [2, math.inf, 93, math.inf, 95]
    assert longest == 3


def test_means():
    # by hand: 1/log2(2) = 1, 1/log2(4) = 0.5
    assert mean("HR@3", [1, 3, 4, math.inf]) == 0.5
    assert mean("NDCG@3", [1, 3, 4, math.inf]) == pytest.approx((1 + 0.5) / 4)
    assert mean("MRR", [1, 2, 4, 4]) == 0.5
    assert [cutoff(name) for name in ("HR@20", "NDCG@5", "MRR")] == [20, 5, 0]


def test_padding():
    assert padded([["a"], []]).tolist() == [[""] * 9 + ["a"], [""] * 10]
    assert padded([["a"] * 10]).shape == (1, 20)
    assert texts(["a", "bc"]).tolist() == ["a", "bc"]


def test_questions_in_batches_and_one_by_one():
    asked = []

    def predict(signature, inputs):
        asked.append(inputs)
        rows = len(inputs["user_id"])
        return {
            "items": np.array([["e", ""]] * rows, object),
            "scores": np.tile([2.0, -1.0], (rows, 1)),
            "source": texts(["model"] * rows),
        }

    class Client:
        def recommend(self, history, user_id, k):
            assert k == 7
            return Recommendations([user_id], [1.0], "model")

    assert ranking.ask_in_batches(predict, EVENTS, 7) == [(["e"], [2.0], "model")] * 4
    # The served lists are compared: nothing is excluded for the test.
    assert (
        not asked[0]["exclude"].any()
        and not asked[0]["allow"].any()
        and asked[0]["k"].tolist() == [7] * 4
    )
    assert ranking.ask_one_by_one(Client(), EVENTS, 7) == [
        ([user], [1.0], "model") for user in "uvwx"
    ]
    asked.clear()
    assert len(ranking.ask_in_batches(predict, EVENTS * 20, 7, rows=32)) == 80
    assert [len(inputs["user_id"]) for inputs in asked] == [32, 32, 16]


def test_what_is_not_a_run(tmp_path, run):
    with pytest.raises(RunError, match=r"no metrics\.json"):
        read_metrics(tmp_path)
    for text in ("{", "[]", '{"test": {"AUC": 1}}', '{"valid": {"MRR": 1}}', '{"test": {}}'):
        (tmp_path / "metrics.json").write_text(text)
        with pytest.raises(RunError, match="HR@k, NDCG@k and MRR of test"):
            read_metrics(tmp_path)
    with pytest.raises(RunError, match=r"no test\.parquet"):
        read_events(tmp_path)
    (tmp_path / "test.parquet").write_bytes(b"x")
    with pytest.raises(RunError, match="as Parquet"):
        read_events(tmp_path)
    pl.DataFrame({"user_id": ["a"]}).write_parquet(tmp_path / "test.parquet")
    with pytest.raises(RunError, match="columns user_id, history, target"):
        read_events(tmp_path)
    with pytest.raises(RunError, match=r"items\.txt"):
        read_items(tmp_path)
    assert len(read_events(run)) > 20 and len(read_items(run)) > 20


def command(capsys, server, run, *more):
    arguments = [
        "--target",
        f"127.0.0.1:{server.grpc_port}",
        "--rest",
        f"http://127.0.0.1:{server.rest_port}",
        "--model",
        "sasrec",
    ]
    code = verify.main([*arguments, "--run", str(run), *more])
    return code, *capsys.readouterr()


def test_all_ways_give_the_metrics_of_the_run(capsys, server, run):
    code, out, error = command(capsys, server, run, "--json")
    assert (code, error) == (0, "")
    report = json.loads(out)
    expected = json.loads((run / "metrics.json").read_text())["test"]
    assert {name: row["run"] for name, row in report["metrics"].items()} == expected
    ways = ["gRPC in batches", "gRPC one by one", "REST in batches", "REST one by one"]
    assert list(report["ways"]) == ways and report["events"] == report["ways"][ways[0]][
        "events"
    ] == len(read_events(run))
    compared = 0
    for name, row in report["metrics"].items():
        assert row["vectors"] == pytest.approx(row["run"], abs=1e-6)
        for way in ways:
            assert (row[way] is None) == (name == "MRR" or cutoff(name) > 20)
            if row[way] is not None:
                assert row[way] == pytest.approx(row["run"], abs=1e-6)
                compared += 1
    assert compared >= 8 and all(
        one["k"] == 20 and not one["keeps_seen"] for one in report["ways"].values()
    )


@pytest.mark.parametrize(
    "batching", [None, BatchOptions(max_batch_size=8, batch_timeout=0.005)], ids=["alone", "joined"]
)
def test_batches_of_the_server_change_nothing(capsys, servable, run, batching):
    store = ModelStore([ModelConfig("sasrec", servable)], batching=batching, poll=60)
    server = LocalServer(store, port=0, rest_port=0)
    server.start()
    try:
        assert command(capsys, server, run, "--rows", "8", "--limit", "40")[::2] == (0, "")
        rows = [
            line
            for line in store.metrics.render().decode().splitlines()
            if line.startswith("serving_batch_rows_bucket") and 'le="1.0"' in line
        ]
        assert (not rows) == (batching is None)
    finally:
        server.stop(grace=5)


def test_a_part_of_the_events(capsys, server, run):
    code, out, error = command(capsys, server, run, "--split", "valid", "--limit", "9")
    assert (code, error) == (0, "")
    assert "vectors, same events" in out and "REST one by one: 9 lists of 20" in out
    for name, value in json.loads((run / "metrics.json").read_text())["valid"].items():
        assert f"{value:.8f}" in out.split(name)[1].splitlines()[0]


@pytest.fixture
def changed(run, tmp_path):
    """A copy of the run that a test can change."""
    return shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("SHA256SUMS"))


def test_another_metric_is_a_difference(capsys, server, changed):
    report = json.loads((changed / "metrics.json").read_text())
    report["test"]["NDCG@10"] += 2e-6
    (changed / "metrics.json").write_text(json.dumps(report))
    code, out, error = command(capsys, server, changed, "--limit", "5")
    assert code == 1 and "NDCG@10" in out
    assert (
        error.startswith("error: NDCG@10 must be ")
        and "served vectors give" in error
        and error.endswith(".\n")
    )


def test_other_lists_are_a_difference(capsys, server, run, monkeypatch):
    ask = ranking.ask_one_by_one

    def empty_over_rest(client, events, k):
        answers = ask(client, events, k)
        return (
            [([], [], source) for _, _, source in answers]
            if isinstance(client, RestClient)
            else answers
        )

    monkeypatch.setattr(ranking, "ask_one_by_one", empty_over_rest)
    code, _, error = command(capsys, server, run)
    assert code == 1 and "the lists of REST one by one give 0.0" in error
    assert command(capsys, server, run, "--approximate")[0] == 0


def test_lists_that_are_all_empty_are_a_difference(capsys, server, run, monkeypatch):
    for name in ("ask_one_by_one", "ask_in_batches"):
        monkeypatch.setattr(
            ranking, name, lambda asker, events, k, **_: [([], [], "model")] * len(events)
        )
    code, _, error = command(capsys, server, run)
    assert code == 1 and "0 items at most" in error


def test_what_cannot_be_verified(capsys, server, run, tmp_path):
    code, _, error = command(capsys, server, tmp_path)
    assert code == 2 and error.startswith("error: ") and "metrics.json" in error
    code, _, error = command(capsys, server, run, "--limit", "0")
    assert code == 2 and "--limit must be 1 or greater" in error
    code, _, error = command(capsys, server, run, "--model", "nothing")
    assert code == 1 and "Servable not found for request: Latest(nothing)" in error
    code, _, error = command(capsys, server, run, "--limit", "1", "--rest", "127.0.0.1:1")
    assert code == 2 and "--rest must be http://HOST:PORT" in error
    code, _, error = command(capsys, server, run, "--limit", "1", "--rest", "http://127.0.0.1:1")
    assert code == 1 and "No server answers at http://127.0.0.1:1" in error
