import asyncio
import contextlib
import socket
import threading
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.clients.grpc_client import AsyncGrpcClient, GrpcClient
from serving.clients.responses import ClientError, Explanation, Recommendations

FLOOR = np.finfo(np.float32).min
JOINED = {"separator": ["\t"]}
RECOMMENDED = {
    "items": [["b", "日本語", ""]],
    "scores": np.array([[2, 1, FLOOR]], np.float32),
    "source": ["model"],
    "k": np.array([3], np.int32),
    **JOINED,
}


class Fake(prediction_service_pb2_grpc.PredictionServiceServicer):
    """A server with responses that a test sets, which records its requests."""

    def __init__(self):
        self.reset(RECOMMENDED)

    def reset(self, outputs, failures=(), before=lambda request, context: None):
        self.outputs, self.failures, self.before = outputs, list(failures), before
        self.requests, self.contexts, self.left = [], [], []

    def Predict(self, request, context):
        self.requests.append(request)
        self.contexts.append(context)
        self.left.append(context.time_remaining())
        self.before(request, context)
        if self.failures:
            context.abort(self.failures.pop(0), "not now")
        response = predict_pb2.PredictResponse()
        for name, value in (
            self.outputs(request) if callable(self.outputs) else self.outputs
        ).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


@contextlib.contextmanager
def serving(servicer, port=0, credentials=None):
    server = grpc.server(futures.ThreadPoolExecutor(12))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    address = f"127.0.0.1:{port}"
    port = (
        server.add_secure_port(address, credentials)
        if credentials
        else server.add_insecure_port(address)
    )
    server.start()
    yield port
    server.stop(None).wait()


@pytest.fixture(scope="module")
def started():
    servicer = Fake()
    with serving(servicer) as port:
        yield servicer, f"127.0.0.1:{port}"


@pytest.fixture
def fake(started):
    started[0].reset(RECOMMENDED)
    return started[0]


@pytest.fixture
def client(started):
    with GrpcClient(started[1], "m", timeout=20) as one:
        yield one


def inputs_of(request):
    return {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}


def test_the_request_is_what_the_signature_takes(fake, client):
    client.recommend(["a", "日本語"], "u1", 7, exclude=["e"], allow=["f", "g"])
    (request,) = fake.requests
    assert (request.model_spec.name, request.model_spec.signature_name) == ("m", "recommend_joined")
    assert request.model_spec.WhichOneof("version_choice") is None
    inputs = inputs_of(request)
    assert sorted(inputs) == ["allow", "exclude", "history", "k", "user_id"]
    assert inputs["user_id"].tolist() == [b"u1"]
    assert inputs["history"].tolist() == ["a\t日本語".encode()]
    assert inputs["exclude"].tolist() == [b"e"]
    assert inputs["allow"].tolist() == [b"f\tg"]
    assert inputs["k"].dtype == np.int32
    assert inputs["k"].tolist() == [7]


@pytest.mark.parametrize(
    ("options", "number", "label"), [({"version": 3}, 3, ""), ({"label": "canary"}, 0, "canary")]
)
def test_a_version_is_chosen_by_number_or_by_label(fake, started, options, number, label):
    with GrpcClient(started[1], "m", timeout=20, **options) as client:
        client.recommend(["a"])
    spec = fake.requests[0].model_spec
    assert (spec.version.value, spec.version_label) == (number, label)


def test_answers_are_plain(fake, client):
    assert client.recommend(["a"], k=3) == Recommendations(["b", "日本語"], [2.0, 1.0], "model", 3)
    fake.reset(
        {
            "scores": np.array([[1.5, FLOOR, 0]], np.float32),
            "known": [[True, False, False]],
            **JOINED,
        }
    )
    assert client.score(["a"], ["x", "y"]) == [1.5, None]
    fake.reset({"query": np.array([[0.5, -1.0]], np.float32), **JOINED})
    assert client.embed(["a"]) == [0.5, -1.0]
    row = np.array([[0.5, -1.0, 0]], np.float32)
    fake.reset({"contribution": row, "attention": 2 * row, "known": [True], **JOINED})
    expected = Explanation("x", ["a", "b"], [0.5, -1.0], [1.0, -2.0], True)
    assert client.explain(["a", "b"], "x") == expected
    assert [inputs_of(one)["item"].tolist() for one in fake.requests] == [[b"x"]]


@pytest.mark.parametrize(
    ("failures", "retries", "calls"), [(2, 3, 3), (2, 2, 3), (0, 0, 1), (4, 4, 5)]
)
def test_unavailable_is_tried_again(fake, started, failures, retries, calls):
    fake.reset(RECOMMENDED, [grpc.StatusCode.UNAVAILABLE] * failures)
    with GrpcClient(started[1], "m", timeout=20, retries=retries) as client:
        assert client.recommend(["a"]).items == ["b", "日本語"]
    assert len(fake.requests) == calls


@pytest.mark.parametrize(
    ("code", "retries", "calls"),
    [
        (grpc.StatusCode.UNAVAILABLE, 0, 1),
        (grpc.StatusCode.UNAVAILABLE, 2, 3),
        (grpc.StatusCode.INTERNAL, 3, 1),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 3, 1),
    ],
)
def test_a_call_that_fails_in_the_end(fake, started, code, retries, calls):
    fake.reset(RECOMMENDED, [code] * 9)
    with (
        GrpcClient(started[1], "m", timeout=20, retries=retries) as client,
        pytest.raises(ClientError, match="not now") as caught,
    ):
        client.recommend(["a"])
    assert caught.value.status == code.name
    assert len(fake.requests) == calls


def test_retries_share_one_deadline(fake, started):
    def hold_the_first(request, context):
        while len(fake.left) == 1 and context.time_remaining() > 1.5:
            never.wait(0.01)

    never = threading.Event()
    fake.reset(RECOMMENDED, [grpc.StatusCode.UNAVAILABLE], before=hold_the_first)
    with (
        GrpcClient(started[1], "m", timeout=2, retries=2) as client,
        contextlib.suppress(ClientError),
    ):
        client.recommend(["a"])
    # gRPC rounds the remaining time up.
    assert fake.left[0] > 1.5
    assert all(left < 1.6 for left in fake.left[1:])


def test_a_deadline_that_passes(fake, started):
    over = threading.Event()
    fake.reset(RECOMMENDED, before=lambda request, context: over.wait(20))
    with GrpcClient(started[1], "m", timeout=0.05) as client, pytest.raises(ClientError) as caught:
        client.recommend(["a"])
    over.set()
    assert caught.value.status == "DEADLINE_EXCEEDED"
    assert str(caught.value).startswith(f"{started[1]} did not answer within 0.05 s (")
    assert str(caught.value).endswith("); give it more time, or ask for less.")


def test_metadata_goes_with_every_call(fake, started):
    with GrpcClient(
        started[1], "m", timeout=20, metadata=[("Authorization", "Bearer x"), ("tenant", "t")]
    ) as client:
        client.recommend(["a"])
        client.recommend(["a"])
    for context in fake.contexts:
        assert {("authorization", "Bearer x"), ("tenant", "t")} <= {
            tuple(pair) for pair in context.invocation_metadata()
        }


def test_one_connection_serves_all_calls(fake, client):
    for _ in range(5):
        client.recommend(["a"])
    assert len({context.peer() for context in fake.contexts}) == 1


def of_user(request):
    return {**RECOMMENDED, "source": [request.inputs["user_id"].string_val[0]]}


def test_threads_share_a_client(fake, client):
    fake.reset(of_user)
    with futures.ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda number: client.recommend(["a"], f"u{number}").source, range(60))
        )
    assert answers == [f"u{number}" for number in range(60)]


def test_the_asynchronous_client_waits_for_many_at_once(fake, started):
    together = threading.Barrier(6)
    fake.reset(of_user, before=lambda request, context: together.wait(20))

    async def ask():
        async with AsyncGrpcClient(
            started[1], "m", timeout=20, metadata=[("tenant", "t")]
        ) as client:
            return await asyncio.gather(
                *(client.recommend(["a"], f"u{number}") for number in range(6))
            )

    assert [answer.source for answer in asyncio.run(ask())] == [f"u{number}" for number in range(6)]
    assert all(
        ("tenant", "t") in [tuple(pair) for pair in context.invocation_metadata()]
        for context in fake.contexts
    )


@pytest.mark.parametrize(("failures", "calls"), [(2, 3), (9, 4)])
def test_the_asynchronous_client_tries_again(fake, started, failures, calls):
    fake.reset(RECOMMENDED, [grpc.StatusCode.UNAVAILABLE] * failures)

    async def ask():
        async with AsyncGrpcClient(started[1], "m", timeout=20, retries=3) as client:
            return await client.recommend(["a"])

    if failures < calls:
        assert asyncio.run(ask()).items == ["b", "日本語"]
    else:
        with pytest.raises(ClientError, match="not now") as caught:
            asyncio.run(ask())
        assert caught.value.status == "UNAVAILABLE"
    assert len(fake.requests) == calls


def by(separator):
    """A model that joins ids by this separator, and returns what it was sent."""
    return lambda request: {
        **RECOMMENDED,
        "separator": [separator],
        "source": request.inputs["history"].string_val[:],
    }


def test_the_separator_of_the_model_is_learned(fake, client):
    fake.reset(by("|"))
    assert client.recommend(["a", "b"]).source == "a|b"
    assert [list(one.inputs["history"].string_val) for one in fake.requests] == [
        [b"a\tb"],
        [b"a|b"],
    ]
    assert client.recommend(["a", "tab\tc"]).source == "a|tab\tc"
    assert (client.separator, len(fake.requests)) == ("|", 3)
    with pytest.raises(ValueError, match=r"^history must have no id with '\|', which joins"):
        client.recommend(["a|b"])


def test_the_asynchronous_client_learns_it_too(fake, started):
    async def ask():
        async with AsyncGrpcClient(started[1], "m", timeout=20) as client:
            return await asyncio.gather(
                *(client.recommend(["a", f"b{number}"]) for number in range(4))
            )

    fake.reset(by("|"))
    assert [answer.source for answer in asyncio.run(ask())] == [
        f"a|b{number}" for number in range(4)
    ]


def test_a_separator_that_changes_all_the_time(fake, client):
    fake.reset(lambda request: {**RECOMMENDED, "separator": [f"{len(fake.requests)}"]})
    with pytest.raises(
        ClientError,
        match=r"^The model joins ids by '2', and did not when it was last asked; ask again\.$",
    ) as caught:
        client.recommend(["a"])
    assert (caught.value.status, len(fake.requests)) == ("ABORTED", 2)


@pytest.mark.parametrize(
    "outputs",
    [
        {},
        {"items": [["a"]]},
        {**RECOMMENDED, "items": np.zeros([0, 3])},
        {**RECOMMENDED, "scores": 1.0},
        {**RECOMMENDED, "separator": ["ab"]},
        {**RECOMMENDED, "separator": [1]},
    ],
)
def test_an_answer_of_another_kind(fake, client, outputs):
    fake.reset(outputs)
    with pytest.raises(
        ClientError,
        match=r"answered recommend_joined with something else; "
        r"serve a model that .* has written\.$",
    ):
        client.recommend(["a"])


@pytest.fixture(scope="module")
def nowhere():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_nobody_is_there(nowhere):
    with (
        GrpcClient(nowhere, "m", timeout=20, retries=1) as client,
        pytest.raises(ClientError) as caught,
    ):
        client.recommend(["a"])
    assert caught.value.status == "UNAVAILABLE"
    assert str(caught.value).startswith(f"No server answers at {nowhere} (")
    assert str(caught.value).endswith("); start one there, or name another.")
    assert "\n" not in str(caught.value)


def test_a_server_that_comes_later_is_found():
    servicer = Fake()
    with serving(servicer) as port:
        pass
    with GrpcClient(f"127.0.0.1:{port}", "m", timeout=20, retries=4) as client:
        with pytest.raises(ClientError):
            client.recommend(["a"])
        with serving(servicer, port):
            assert client.recommend(["a"]).items == ["b", "日本語"]


def test_tls(certificate):
    roots, key = certificate
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), roots.read_bytes())])
    with serving(Fake(), credentials=credentials) as port:
        for tls in (roots, str(roots), grpc.ssl_channel_credentials(roots.read_bytes())):
            with GrpcClient(f"127.0.0.1:{port}", "m", timeout=20, tls=tls) as client:
                assert client.recommend(["a"]).items == ["b", "日本語"]
        for tls in (None, True):
            with (
                GrpcClient(f"127.0.0.1:{port}", "m", timeout=20, retries=0, tls=tls) as client,
                pytest.raises(ClientError) as caught,
            ):
                client.recommend(["a"])
            assert caught.value.status == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target": "http://127.0.0.1:8501"},
            "target must be HOST:PORT, but is 'http://127.0.0.1:8501'; RestClient takes a URL.",
        ),
        ({"model": ""}, "model must be the name of a model, but is ''."),
        (
            {"version": 1, "label": "stable"},
            "Either version or label chooses, but version is 1 and label 'stable'; leave one out.",
        ),
        ({"timeout": 0}, "timeout must be a number of seconds above 0, but is 0."),
        ({"retries": 5}, "retries must be 0 to 4, but is 5."),
        ({"max_history": 0}, "max_history must be at least 1, but is 0."),
        (
            {"tls": "/no/such.pem"},
            "tls must be a file of root certificates, "
            "but /no/such.pem cannot be read: No such file or directory.",
        ),
    ],
)
def test_what_is_wrong_with_an_option(options, message):
    with pytest.raises(ValueError) as caught:
        GrpcClient(**{"target": "127.0.0.1:1", "model": "m", **options})
    assert str(caught.value) == message
