import contextlib
import http.server
import json
import socket
import ssl
import subprocess
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.clients import rest_client
from serving.clients.responses import ClientError, Explanation, Recommendations
from serving.clients.rest_client import RestClient
from serving.protocol.statuses import StatusError

RECOMMENDED = {
    "items": ["b", "日本語", ""],
    "scores": [2, 1.5, -3.4028235e38],
    "source": "model",
    "k": 3,
    "separator": "\t",
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends the responses that a test sets, and records the requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        fake = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fake.asked.append((self.path, body, dict(self.headers), self.client_address))
        fake.before()
        status = fake.statuses.pop(0) if fake.statuses else 200
        answer = fake.answer(body) if callable(fake.answer) else fake.answer
        data = (
            answer if isinstance(answer, bytes) else json.dumps({"predictions": [answer]}).encode()
        )
        data = data if status == 200 else json.dumps({"error": "not now"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) + fake.promised))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = fake.closes

    def log_message(self, *_):
        pass


class Fake(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass

    def reset(self, answer, statuses=(), before=lambda: None, closes=False, promised=0):
        self.answer, self.statuses, self.before, self.closes, self.promised = (
            answer,
            list(statuses),
            before,
            closes,
            promised,
        )
        self.asked = []


@contextlib.contextmanager
def serving(context=None):
    with Fake(("127.0.0.1", 0), Handler) as server:
        server.reset(RECOMMENDED)
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def started():
    with serving() as server:
        yield server


@pytest.fixture
def fake(started):
    started.reset(RECOMMENDED)
    return started


@pytest.fixture
def url(fake):
    return f"http://127.0.0.1:{fake.server_port}"


@pytest.fixture
def client(url):
    with RestClient(url, "m", timeout=20) as one:
        yield one


def test_the_request_is_what_the_signature_takes(fake, client):
    client.recommend(["a", "日本語"], "u1", 7, exclude=["e"], allow=["f", "g"])
    ((path, body, headers, _),) = fake.asked
    assert path == "/v1/models/m:predict"
    assert headers["Content-Type"] == "application/json"
    assert body == {
        "signature_name": "recommend_joined",
        "instances": [
            {"user_id": "u1", "history": "a\t日本語", "exclude": "e", "allow": "f\tg", "k": 7}
        ],
    }


@pytest.mark.parametrize(
    ("prefix", "model", "options", "path"),
    [
        ("", "m", {"version": 3}, "/v1/models/m/versions/3:predict"),
        ("", "m", {"label": "canary"}, "/v1/models/m/labels/canary:predict"),
        ("", "a/b c", {"label": "é"}, "/v1/models/a%2Fb%20c/labels/%C3%A9:predict"),
        ("/behind/it/", "m", {}, "/behind/it/v1/models/m:predict"),
    ],
)
def test_the_path_names_the_model(fake, url, prefix, model, options, path):
    with RestClient(url + prefix, model, timeout=20, **options) as client:
        client.recommend(["a"])
    assert fake.asked[0][0] == path


def test_answers_are_plain(fake, client):
    assert client.recommend(["a"], k=3) == Recommendations(["b", "日本語"], [2, 1.5], "model", 3)
    fake.reset({"scores": [1.5, -3.4e38, 0], "known": [True, False, False], "separator": "\t"})
    assert client.score(["a"], ["x", "y"]) == [1.5, None]
    fake.reset({"query": [0.5, -1.0], "separator": "\t"})
    assert client.embed(["a"]) == [0.5, -1.0]
    fake.reset({"contribution": [0.5, -1.0, 0], "known": False, "separator": "\t"})
    assert client.explain(["a", "b"], "x") == Explanation("x", ["a", "b"], [0.5, -1.0], None, False)


@pytest.mark.parametrize(
    ("statuses", "retries", "calls"),
    [([503, 503], 3, 3), ([503, 503], 2, 3), ([], 0, 1), ([503] * 4, 4, 5), ([502], 1, 2)],
)
def test_unavailable_is_tried_again(fake, url, statuses, retries, calls):
    fake.reset(RECOMMENDED, statuses)
    with RestClient(url, "m", timeout=20, retries=retries) as client:
        assert client.recommend(["a"]).items == ["b", "日本語"]
    assert len(fake.asked) == calls


def test_predict_tries_again_and_takes_a_single_output(fake, client):
    fake.reset(json.dumps({"outputs": [[0.5, -1.0]]}).encode(), [503])
    found = client.predict("embed", user_id=np.array([""], object))
    assert {name: one.tolist() for name, one in found.items()} == {"outputs": [[0.5, -1.0]]}
    assert len(fake.asked) == 2
    assert fake.asked[1][1] == {"signature_name": "embed", "inputs": {"user_id": [""]}}
    fake.reset(json.dumps({"outputs": {"items": [["a"]], "k": [1]}}).encode())
    found = client.predict("recommend", k=np.array([1]))
    assert {name: one.tolist() for name, one in found.items()} == {"items": [["a"]], "k": [1]}


@pytest.mark.parametrize(
    ("code", "retries", "calls"),
    [
        (grpc.StatusCode.UNAVAILABLE, 0, 1),
        (grpc.StatusCode.UNAVAILABLE, 2, 3),
        (grpc.StatusCode.INVALID_ARGUMENT, 3, 1),
        (grpc.StatusCode.NOT_FOUND, 3, 1),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 3, 1),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 3, 1),
        (grpc.StatusCode.UNIMPLEMENTED, 3, 1),
        (grpc.StatusCode.INTERNAL, 3, 1),
    ],
)
def test_a_call_that_fails_in_the_end(fake, url, code, retries, calls):
    fake.reset(RECOMMENDED, [StatusError(code, "").http] * 9)
    with (
        RestClient(url, "m", timeout=20, retries=retries) as client,
        pytest.raises(ClientError, match="not now") as caught,
    ):
        client.recommend(["a"])
    assert caught.value.status == code.name
    assert len(fake.asked) == calls


class Clock:
    """A clock that moves only during pauses."""

    def __init__(self):
        self.now, self.pauses = 100.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


def test_pauses_grow_and_end_before_the_deadline(fake, url, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(rest_client, "time", clock)
    monkeypatch.setattr(rest_client, "_FIRST_PAUSE", 10.0)
    monkeypatch.setattr(rest_client, "_LONGEST_PAUSE", 100.0)
    fake.reset(RECOMMENDED, [503] * 9)
    # Pauses of 10, 20, 40 and 80 seconds, plus or minus a fifth. The third ends after 84 seconds at
    # most, the fourth after 120 at least.
    with (
        RestClient(url, "m", timeout=100, retries=4) as client,
        pytest.raises(ClientError) as caught,
    ):
        client.recommend(["a"])
    assert caught.value.status == "UNAVAILABLE"
    assert len(fake.asked) == 4
    assert [
        round(pause / usual) for pause, usual in zip(clock.pauses, (10, 20, 40), strict=True)
    ] == [1, 1, 1]
    assert (
        len(
            {
                round(pause / usual, 9)
                for pause, usual in zip(clock.pauses, (10, 20, 40), strict=True)
            }
        )
        == 3
    )


def test_a_deadline_that_passes(fake, url):
    over = threading.Event()
    fake.reset(RECOMMENDED, before=lambda: over.wait(20))
    with RestClient(url, "m", timeout=0.05) as client, pytest.raises(ClientError) as caught:
        client.recommend(["a"])
    over.set()
    assert caught.value.status == "DEADLINE_EXCEEDED"
    assert (
        str(caught.value)
        == f"{url} did not answer within 0.05 s (time is up); give it more time, or ask for less."
    )


def test_metadata_goes_with_every_call(fake, url):
    with RestClient(url, "m", timeout=20, metadata=[("Authorization", "Bearer x")]) as client:
        client.recommend(["a"])
        client.recommend(["a"])
    assert [headers["Authorization"] for _, _, headers, _ in fake.asked] == ["Bearer x", "Bearer x"]


def test_one_connection_serves_all_calls(fake, client):
    fake.statuses = [200, 404, 200]
    for _ in range(5):
        with contextlib.suppress(ClientError):
            client.recommend(["a"])
    assert len({address for *_, address in fake.asked}) == 1
    assert len(fake.asked) == 5


def test_a_connection_that_the_server_closed_is_replaced(fake, url):
    fake.reset(RECOMMENDED, closes=True)
    with RestClient(url, "m", timeout=20, retries=0) as client:
        for _ in range(3):
            assert client.recommend(["a"]).source == "model"
    assert len({address for *_, address in fake.asked}) == 3


def test_the_separator_of_the_model_is_learned(fake, client):
    fake.reset(
        lambda body: {**RECOMMENDED, "separator": "|", "source": body["instances"][0]["history"]}
    )
    assert client.recommend(["a", "b"]).source == "a|b"
    assert client.recommend(["a", "tab\tc"]).source == "a|tab\tc"
    assert [body["instances"][0]["history"] for _, body, *_ in fake.asked] == [
        "a\tb",
        "a|b",
        "a|tab\tc",
    ]


def test_a_separator_that_changes_all_the_time(fake, client):
    fake.reset(lambda body: {**RECOMMENDED, "separator": f"{len(fake.asked)}"})
    with pytest.raises(
        ClientError,
        match=r"^The model joins ids by '2', and did not when it was last asked; ask again\.$",
    ):
        client.recommend(["a"])
    assert len(fake.asked) == 2


def test_an_answer_that_breaks_off(fake, url):
    fake.reset(RECOMMENDED, closes=True, promised=7)
    with (
        RestClient(url, "m", timeout=20, retries=0) as client,
        pytest.raises(ClientError, match=r"\(the response was cut off\)") as caught,
    ):
        client.recommend(["a"])
    assert caught.value.status == "UNAVAILABLE"


def test_threads_share_a_client(fake, client):
    fake.reset(lambda body: {**RECOMMENDED, "source": body["instances"][0]["user_id"]})
    with futures.ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda number: client.recommend(["a"], f"u{number}").source, range(60))
        )
    assert answers == [f"u{number}" for number in range(60)]
    assert len({address for *_, address in fake.asked}) <= 8


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"predictions": []}',
        b'{"outputs": []}',
        {"items": ["a"]},
        [0.5, -1.0],
        {**RECOMMENDED, "separator": 3},
        {**RECOMMENDED, "items": 3},
        {**RECOMMENDED, "scores": None},
    ],
)
def test_an_answer_of_another_kind(fake, client, answer):
    fake.reset(answer)
    with pytest.raises(
        ClientError,
        match=r"answered recommend_joined with something else; "
        r"serve a model that .* has written\.$",
    ):
        client.recommend(["a"])


def test_nobody_is_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with (
            RestClient(where, "m", timeout=20, retries=1) as client,
            pytest.raises(ClientError) as caught,
        ):
            client.recommend(["a"])
    assert caught.value.status == "UNAVAILABLE"
    assert (
        str(caught.value)
        == f"No server answers at {where} (Connection refused); start one there, or name another."
    )


def test_something_else_is_there():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            connection.recv(1 << 16)
            connection.sendall(b"220 mail\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        where = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with RestClient(where, "m", timeout=20) as client, pytest.raises(ClientError) as caught:
            client.recommend(["a"])
        thread.join()
    assert str(caught.value) == f"{where} answered INTERNAL: no HTTP, BadStatusLine."


def test_tls(certificate):
    roots, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(roots, key)
    with serving(context) as server:
        url = f"https://127.0.0.1:{server.server_port}"
        for tls in (roots, str(roots), ssl.create_default_context(cafile=roots)):
            with RestClient(url, "m", timeout=20, tls=tls) as client:
                assert client.recommend(["a"]).items == ["b", "日本語"]
        with (
            RestClient(url, "m", timeout=20, retries=0) as client,
            pytest.raises(ClientError, match="certificate") as caught,
        ):
            client.recommend(["a"])
    assert caught.value.status == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"url": "127.0.0.1:8501"},
            "url must be http://HOST:PORT or https://HOST:PORT, but is '127.0.0.1:8501'.",
        ),
        (
            {"url": "ftp://host"},
            "url must be http://HOST:PORT or https://HOST:PORT, but is 'ftp://host'.",
        ),
        (
            {"url": "http://host:x"},
            "url must be http://HOST:PORT or https://HOST:PORT, but is 'http://host:x'.",
        ),
        (
            {"url": "http://host/?a=b"},
            "url must be http://HOST:PORT or https://HOST:PORT, but is 'http://host/?a=b'.",
        ),
        ({"url": None}, "url must be http://HOST:PORT or https://HOST:PORT, but is None."),
        ({"retries": -1}, "retries must be 0 to 4, but is -1."),
        (
            {"url": "https://host", "tls": "/no/such.pem"},
            "tls must be a file of root certificates, "
            "but /no/such.pem cannot be used: No such file or directory.",
        ),
    ],
)
def test_what_is_wrong_with_an_option(options, message):
    with pytest.raises(ValueError) as caught:
        RestClient(**{"url": "http://127.0.0.1:1", "model": "m", **options})
    assert str(caught.value) == message


def test_it_needs_no_tensorflow():
    code = (
        "import sys, serving.clients.rest_client\n"
        "serving.clients.rest_client.RestClient('http://127.0.0.1:1', 'm').close()\n"
        "sys.stdout.write(' '.join(name for name in "
        "('tensorflow', 'tensorflow_serving', 'grpc', 'numpy') if name in sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
