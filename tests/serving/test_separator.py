"""A model whose ids are joined by another separator: every client learns it from the responses."""

import asyncio
import contextlib
import io
import json

import pytest

from serving import client as command
from serving import load_test
from serving.clients.grpc_client import AsyncGrpcClient, GrpcClient
from serving.clients.rest_client import RestClient
from serving.local_server import LocalServer
from serving.server.model_config import ModelConfig
from serving.server.model_store import ModelStore

HISTORY = ["i3", "i7", "i1"]


@pytest.fixture(scope="module")
def piped(run, tmp_path_factory):
    """A server of that run with `|` between ids, and its items."""
    from export.command import export

    folder = tmp_path_factory.mktemp("servables") / "piped"
    with contextlib.redirect_stdout(io.StringIO()):
        version = export(run, folder, k=5, max_k=20, separator="|")
    assert (
        json.loads((version / "assets.extra" / "model_card.json").read_text(encoding="utf-8"))[
            "serving"
        ]["separator"]
        == "|"
    )
    server = LocalServer(ModelStore([ModelConfig("piped", folder)], poll=3600), port=0, rest_port=0)
    server.start()
    yield server, version / "assets" / "items.txt"
    server.stop(grace=5)


@pytest.fixture(scope="module")
def expected(server):
    """The outputs of the model with tabs."""
    with GrpcClient(f"127.0.0.1:{server.grpc_port}", "sasrec", timeout=20) as client:
        return client.recommend(HISTORY, k=4, exclude=["i5", "i8"]), client.explain(HISTORY, "i2")


def test_clients(piped, expected):
    def same(recommended, explained):
        assert recommended.items == expected[0].items
        assert explained.contribution == pytest.approx(expected[1].contribution, rel=1e-4, abs=1e-6)

    target, url = f"127.0.0.1:{piped[0].grpc_port}", f"http://127.0.0.1:{piped[0].rest_port}"
    for client in (GrpcClient(target, "piped", timeout=20), RestClient(url, "piped", timeout=20)):
        with client:
            same(
                client.recommend(HISTORY, k=4, exclude=["i5", "i8"]), client.explain(HISTORY, "i2")
            )
            assert client.separator == "|"

    async def ask():
        async with AsyncGrpcClient(target, "piped", timeout=20) as client:
            return await asyncio.gather(
                client.recommend(HISTORY, k=4, exclude=["i5", "i8"]), client.explain(HISTORY, "i2")
            )

    same(*asyncio.run(ask()))


def test_commands(piped, expected, capsys, tmp_path):
    server, items = piped
    common = ["--model", "piped", "--target", f"127.0.0.1:{server.grpc_port}", "--timeout", "20"]
    assert (
        command.main(
            [
                "recommend",
                "--history",
                ",".join(HISTORY),
                "--k",
                "4",
                "--exclude",
                "i5,i8",
                "--json",
                *common,
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["items"] == expected[0].items
    assert load_test.main([*common, "--items", str(items), "--requests", "20"]) == 0
    (tmp_path / "items.txt").write_text("a|b\n", encoding="utf-8")
    assert (
        load_test.main([*common, "--items", str(tmp_path / "items.txt"), "--requests", "20"]) == 2
    )
    assert capsys.readouterr().err == (
        "error: history must have no id with '|', which joins the ids for this model, "
        "but has 'a|b'; leave it out.\n"
    )
