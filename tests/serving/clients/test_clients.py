"""All clients on a served model, whose responses are those of the model alone."""

import asyncio

import numpy as np
import pytest

from serving.clients.grpc_client import AsyncGrpcClient, GrpcClient
from serving.clients.responses import ClientError, client_error
from serving.clients.rest_client import RestClient

HISTORY = ["i3", "", "no such item", "i7", "i1"]


@pytest.fixture(scope="module")
def expected(servable):
    """The outputs of the model itself, with the history in six columns."""
    from tfrec_attn.runtime.runner import Runner

    with Runner(servable) as session:
        history, none = [["", *HISTORY]], [[""]]
        return {
            "recommend": session.run(
                "recommend", user_id=[""], history=history, exclude=[["i5"]], allow=none, k=[4]
            ),
            "allowed": session.run(
                "recommend",
                user_id=[""],
                history=history,
                exclude=none,
                allow=[["i2", "i9", "i8"]],
                k=[9],
            ),
            "nothing": session.run(
                "recommend", user_id=[""], history=none, exclude=none, allow=none, k=[3]
            ),
            "score": session.run(
                "score", user_id=[""], history=history, candidates=[["i2", "no such item", "i3"]]
            ),
            "embed": session.run("embed", user_id=[""], history=history),
            "explain": session.run("explain", user_id=[""], history=history, item=["i2"]),
            "similar": session.run("similar", item=["i2"], by=["score"], k=[6]),
            "diverse": session.run(
                "recommend_diverse",
                user_id=[""],
                history=history,
                exclude=none,
                allow=none,
                k=[4],
                allow_category=[["A", "no such category"]],
                per_category=[3],
                popularity_penalty=[0.5],
                diversity=[0.25],
            ),
        }


@pytest.fixture(params=["gRPC", "REST"])
def client(server, request):
    made = {
        "gRPC": lambda: GrpcClient(f"127.0.0.1:{server.grpc_port}", "sasrec", timeout=20),
        "REST": lambda: RestClient(f"http://127.0.0.1:{server.rest_port}", "sasrec", timeout=20),
    }
    with made[request.param]() as one:
        yield one


def test_a_served_model_answers_as_it_does_alone(client, expected):
    assert expected["nothing"]["source"][0] == b"popular"
    assert len(set(expected["recommend"]["items"][0])) == 4
    for answer, name in (
        (client.recommend(HISTORY, k=4, exclude=["i5"]), "recommend"),
        (client.recommend(HISTORY, k=9, allow=["i2", "i9", "i8"]), "allowed"),
        (client.recommend([], k=3), "nothing"),
    ):
        items = [one.decode() for one in expected[name]["items"][0] if one]
        assert answer.items == items
        np.testing.assert_allclose(
            answer.scores, expected[name]["scores"][0][: len(items)], rtol=1e-5
        )
        assert answer.source == expected[name]["source"][0].decode()
    scores = client.score(HISTORY, ["i2", "no such item", "i3"])
    assert scores[1] is None
    np.testing.assert_allclose(
        [scores[0], scores[2]], expected["score"]["scores"][0][[0, 2]], rtol=1e-5
    )
    np.testing.assert_allclose(
        client.embed(HISTORY), expected["embed"]["query"][0], rtol=1e-5, atol=1e-6
    )
    explanation = client.explain(HISTORY, "i2")
    assert explanation.history == HISTORY
    np.testing.assert_allclose(
        explanation.contribution, expected["explain"]["contribution"][0][1:], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        explanation.attention, expected["explain"]["attention"][0][1:], rtol=1e-4, atol=1e-6
    )


def test_what_a_served_model_knows_of_its_items(client, expected):
    found = client.similar("i2", 6, by="score")
    assert found.items == [one.decode() for one in expected["similar"]["items"][0]]
    np.testing.assert_allclose(found.scores, expected["similar"]["scores"][0], rtol=1e-5)
    assert (found.item, found.by, found.known, found.k) == ("i2", "score", True, 6)
    assert found.counted_items is None
    unknown = client.similar("no such item")
    assert (unknown.items, unknown.scores, unknown.known) == ([], [], False)
    reranking = {"per_category": 3, "popularity_penalty": 0.5, "diversity": 0.25}
    found = client.recommend(HISTORY, k=4, allow_category=["A", "no such category"], **reranking)
    assert found.items == [one.decode() for one in expected["diverse"]["items"][0] if one]
    assert len(found.items) == 3 and all(int(one[1:]) % 3 == 0 for one in found.items)
    assert found.unknown_categories == ["no such category"]
    described = client.describe(["i50", "no such item", "i3"])
    assert described == [{"colour": "red", "category": "C"}, {}, {"category": "A"}]


def test_a_served_model_answers_the_asynchronous_client(server, expected):
    async def ask():
        async with AsyncGrpcClient(
            f"127.0.0.1:{server.grpc_port}", "sasrec", label="stable", timeout=20
        ) as client:
            return await asyncio.gather(
                client.recommend(HISTORY, k=4, exclude=["i5"]),
                client.embed(HISTORY),
                client.similar("i2", 6, by="score"),
                client.describe(["i50"]),
            )

    recommended, query, similar, described = asyncio.run(ask())
    assert similar.items == [one.decode() for one in expected["similar"]["items"][0]]
    assert described == [{"colour": "red", "category": "C"}]
    assert recommended.items == [one.decode() for one in expected["recommend"]["items"][0]]
    np.testing.assert_allclose(query, expected["embed"]["query"][0], rtol=1e-5, atol=1e-6)


def test_an_unknown_model_is_said_in_one_sentence(client):
    client = type(client)(client.where, "other", timeout=20)
    with client, pytest.raises(ClientError) as caught:
        client.recommend(["a"])
    assert caught.value.status == "NOT_FOUND"
    assert (
        str(caught.value)
        == f"{client.where} answered NOT_FOUND: Servable not found for request: Latest(other)."
    )


def test_histories_longer_than_the_model_takes(client):
    history = [f"i{place % 30}" for place in range(1000)]
    assert client.embed(history) == pytest.approx(client.embed(history[-10:]), abs=1e-6)
    assert len(client.explain(history, "i2").contribution) == 200


@pytest.mark.parametrize(
    "details",
    [
        'Serving signature key "similar" not found.',
        'Serving signature name: "similar" not found in signature def',
    ],
)
def test_a_model_without_the_signature(details):
    error = client_error("FAILED_PRECONDITION", details, "here:1", 5)
    assert str(error).startswith("The model at here:1 does not have what was asked for (Serving")
    assert str(error).endswith("recommend_diverse data.items or --diverse.")
