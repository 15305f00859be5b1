import json
import shutil

import numpy as np
import polars as pl
import pytest

from serving import verify
from serving.checks import agreement
from serving.clients.responses import Recommendations
from serving.clients.rest_client import RestClient
from serving.local_server import LocalServer
from serving.server.batching import BatchOptions
from serving.server.model_config import ModelConfig
from serving.server.model_store import ModelStore
from tfrec_attn.replay.event_ranking import cutoff
from tfrec_attn.replay.measured_run import COLUMNS, read_events

EVENTS = pl.DataFrame(
    [("u", ["a"], "c"), ("v", ["a", "d", "a"], "e"), ("w", [], "d")], COLUMNS, orient="row"
)


def test_requests_in_batches_and_one_by_one():
    asked = []

    def predict(signature, **inputs):
        asked.append(inputs)
        return {
            "items": np.array([[user, ""] for user in inputs["user_id"]], object),
            "source": np.array(["model"] * len(inputs["user_id"]), object),
        }

    class Client:
        def recommend(self, history, user_id, k):
            assert k == 7
            return Recommendations([user_id, *history], [1.0], "model")

    assert agreement.ask_in_batches(predict, EVENTS, 7, rows=2) == [["u"], ["v"], ["w"]]
    assert [inputs["history"].tolist() for inputs in asked] == [
        [["", "", "", "a"], ["", "a", "d", "a"]],
        [[""]],
    ]
    lists = agreement.ask_one_by_one(Client(), EVENTS, 7)
    assert lists == [["u", "a"], ["v", "a", "d", "a"], ["w"]]
    assert agreement.keep_seen(lists, EVENTS)
    assert not agreement.keep_seen([["b"], ["b", "c"], ["a"]], EVENTS)
    # Histories of three items and one of padding: 2^15 / 4 events fit.
    assert agreement.rows_of(EVENTS, 32) == 32
    assert agreement.rows_of(EVENTS, 10**6) == 8192


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
    assert out.endswith("\nThe server ranks as the run.\n")
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
        and error.endswith("give what export.verify allows as --tolerance.\n")
    )
    code, out, _ = command(capsys, server, changed, "--limit", "5", "--tolerance", "1e-5")
    assert code == 0 and out.endswith("\nThe server has the metrics of the run up to 1e-05.\n")


def test_other_lists_are_a_difference(capsys, server, run, monkeypatch):
    ask = agreement.ask_one_by_one

    def empty_over_rest(client, events, k):
        lists = ask(client, events, k)
        return [[] for _ in lists] if isinstance(client, RestClient) else lists

    monkeypatch.setattr(agreement, "ask_one_by_one", empty_over_rest)
    code, _, error = command(capsys, server, run)
    assert code == 1 and "the lists of REST one by one give 0.0" in error
    assert command(capsys, server, run, "--approximate")[0] == 0


def test_lists_that_are_all_empty_are_a_difference(capsys, server, run, monkeypatch):
    for name in ("ask_one_by_one", "ask_in_batches"):
        monkeypatch.setattr(agreement, name, lambda asker, events, k, **_: [[]] * len(events))
    code, _, error = command(capsys, server, run)
    assert code == 1 and "0 items at most" in error


def test_what_cannot_be_verified(capsys, server, run, tmp_path):
    code, _, error = command(capsys, server, tmp_path)
    assert code == 2 and error.startswith("error: ") and "metrics.json" in error
    code, _, error = command(capsys, server, run, "--limit", "0")
    assert code == 2 and "--limit must be 1 or greater" in error
    code, _, error = command(capsys, server, run, "--tolerance", "-1")
    assert code == 2 and "--tolerance must be 0 or greater, but is -1.0." in error
    code, _, error = command(capsys, server, run, "--model", "nothing")
    assert code == 1 and "Servable not found for request: Latest(nothing)" in error
    code, _, error = command(capsys, server, run, "--limit", "1", "--rest", "127.0.0.1:1")
    assert code == 2 and "--rest must be http://HOST:PORT" in error
    code, _, error = command(capsys, server, run, "--limit", "1", "--rest", "http://127.0.0.1:1")
    assert code == 1 and "No server answers at http://127.0.0.1:1" in error
