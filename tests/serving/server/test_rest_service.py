import contextlib
import http.client
import json
import re
import socket
import threading
import time
import types

import grpc
import numpy as np
import pytest
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.protocol.statuses import StatusError, not_found
from serving.server.http_checks import Limits
from serving.server.http_server import HttpServer, Response
from serving.server.page_service import PageService
from serving.server.rest_service import RestService
from serving.server.served_model import status_of

INT32, STRING = 3, 7
BODY = {"signature_name": "echo", "instances": [{"item": "a", "k": 2}, {"item": "é", "k": 3}]}


class Store:
    """Models `m` (versions 1 and 2, label `old` = 1) and `a b`, with a signature echo.

    It returns item, and k + version.
    """

    def __init__(self):
        self.waiting, self.released = threading.Event(), threading.Event()

    def names(self):
        return ["m", "a b"]

    def available(self, name):
        return [1, 2]

    def labels(self, name):
        return {"old": 1}

    def _version(self, name, version, label):
        if name not in self.names() or version not in (None, 1, 2):
            raise not_found(
                "Servable not found for request: "
                f"{f'Latest({name})' if version is None else f'Specific({name}, {version})'}"
            )
        if label not in (None, "old"):
            raise StatusError(
                grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}"
            )
        return 1 if label else version or 2

    @contextlib.contextmanager
    def using(self, name, version=None, label=None):
        definitions = get_model_metadata_pb2.SignatureDefMap()
        for key in ("echo", "serving_default"):
            signature = definitions.signature_def[key]
            signature.inputs["item"].CopyFrom(
                meta_graph_pb2.TensorInfo(name="item:0", dtype=STRING)
            )
            signature.inputs["k"].CopyFrom(meta_graph_pb2.TensorInfo(name="k:0", dtype=INT32))
        model = types.SimpleNamespace(definitions=definitions, signatures={})
        yield types.SimpleNamespace(number=self._version(name, version, label), model=model)

    def predict(self, name, signature, inputs, version=None, label=None, outputs=()):
        found = self._version(name, version, label)
        if inputs["k"].flat[0] == 13:
            raise ValueError("secret of the server")
        if inputs["k"].flat[0] == 14:
            raise StatusError(grpc.StatusCode.UNAVAILABLE, "too many wait.")
        if inputs["k"].flat[0] == 15:
            self.waiting.set()
            self.released.wait(10)
        return (
            found,
            signature or "serving_default",
            {"item": inputs["item"], "k": inputs["k"] + found},
        )

    def status(self, name, version=None, label=None):
        found = [self._version(name, version, label)] if version or label else [2, 1]
        self._version(name, version, label)
        return [status_of(one, ModelVersionStatus.AVAILABLE) for one in found]


def start(page=b"<title>page</title>", **limits):
    store = Store()
    files = {"/": Response(200, page, "text/html; charset=utf-8")}
    service = RestService(store, PageService(store, files), lambda: b"serving_requests_total 3\n")
    hosts = ["models.example"]
    server = HttpServer("127.0.0.1", 0, service.respond, Limits(**limits), allowed_hosts=hosts)
    server.store = store
    server.start()
    return server


@pytest.fixture(scope="module")
def service():
    service = start(body=1 << 16)
    yield service
    service.stop(grace=1)


@pytest.fixture
def connection(service):
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    ) as connection:
        yield connection


def ask(connection, method, path, body=None, headers=None):
    connection.request(
        method, path, json.dumps(body) if isinstance(body, dict) else body, headers or {}
    )
    response = connection.getresponse()
    return response, response.read()


def predict(connection, path="/v1/models/m:predict", body=BODY):
    response, data = ask(connection, "POST", path, body)
    return response.status, json.loads(data)


def is_served(connection):
    assert predict(connection) == (
        200,
        {"predictions": [{"item": "a", "k": 4}, {"item": "é", "k": 5}]},
    )


def test_predict_on_one_connection(connection):
    is_served(connection)
    kept = connection.sock
    assert predict(connection, body={"inputs": {"item": ["x"], "k": [1]}}) == (
        200,
        {"outputs": {"item": ["x"], "k": [3]}},
    )
    assert connection.sock is kept


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/v1/models/m:predict", 2),
        ("/v1/models/m/versions/1:predict", 1),
        ("/v1/models/m/labels/old:predict", 1),
        ("/v1/models/a%20b:predict", 2),
        ("/V1/Models/m:Predict?alt=json", 2),
        ("http://127.0.0.1/v1/models/m:predict", 2),
    ],
)
def test_which_version_answers(connection, path, version):
    assert predict(connection, path)[1]["predictions"][0]["k"] == 2 + version


def test_status(connection):
    expected = {
        "version": "2",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    for path, versions in (("", "21"), ("/versions/1", "1"), ("/labels/old", "1")):
        response, data = ask(connection, "GET", f"/v1/models/m{path}")
        assert response.status == 200 and response.headers["Content-Type"] == "application/json"
        assert json.loads(data) == {
            "model_version_status": [{**expected, "version": one} for one in versions]
        }


def test_metadata(connection):
    response, data = ask(connection, "GET", "/v1/models/m/versions/1/metadata")
    found = json.loads(data)
    assert response.status == 200 and found["model_spec"] == {
        "name": "m",
        "signature_name": "",
        "version": "1",
    }
    # As TF Serving prints it, with default values, and with the word twice.
    tensor = found["metadata"]["signature_def"]["signature_def"]["echo"]["inputs"]["k"]
    assert tensor["dtype"] == "DT_INT32" and tensor["name"] == "k:0"
    assert found["metadata"]["signature_def"]["signature_def"]["echo"]["method_name"] == ""


def test_metrics_page_and_models(connection):
    response, data = ask(connection, "GET", "/monitoring/prometheus/metrics")
    assert data == b"serving_requests_total 3\n" and response.headers["Content-Type"].startswith(
        "text/plain; version=0.0.4"
    )
    response, data = ask(connection, "GET", "/?history=a")
    assert (
        data == b"<title>page</title>"
        and response.headers["Content-Type"] == "text/html; charset=utf-8"
    )
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    models = json.loads(ask(connection, "GET", "/page/models")[1])["models"]
    assert [one["name"] for one in models] == ["m", "a b"]
    about = {"name": "m", "versions": [1, 2], "labels": {"old": 1}, "described": []}
    assert models[0] == about


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("POST", "/v1/models/x:predict", 404, "Latest(x)"),
        ("POST", "/v1/models/m/versions/7:predict", 404, "Specific(m, 7)"),
        ("POST", "/v1/models/m/labels/new:predict", 400, "new"),
        ("POST", f"/v1/models/m/versions/{2**63}:predict", 400, "numeric"),
        ("POST", f"/v1/models/m/versions/{'9' * 5000}:predict", 400, "numeric"),
        ("POST", "/v1/models/m/versions/-1:predict", 400, "Malformed request: POST"),
        ("POST", "/v1/models/m:classify", 501, "predict"),
        ("POST", "/v1/models/m", 400, "Malformed request: POST"),
        ("GET", "/v1/models/x", 404, "Latest(x)"),
        ("GET", "/v1/models/x/metadata", 404, "Latest(x)"),
        ("GET", "/v1/models", 400, "Missing model name"),
        ("GET", "/v1/models/m:predict", 400, "Malformed request: GET"),
        ("PUT", "/v1/models/m:predict", 400, "Malformed request: PUT"),
        ("DELETE", "/v1/models/m", 400, "Malformed request: DELETE"),
        ("PATCH", "/v1/models/m", 400, "Malformed request: PATCH"),
        ("OPTIONS", "/v1/models/m", 400, "Malformed request: OPTIONS"),
        ("BREW", "/v1/models/m", 400, "HTTP/1.1"),
        ("TRACE", "/", 405, "GET"),
        ("POST", "/", 405, "GET"),
        ("DELETE", "/monitoring/prometheus/metrics", 405, "GET"),
        ("GET", "/nothing", 404, "nothing under this path"),
        ("POST", "/v2/models/m:predict", 404, "nothing under this path"),
        ("GET", "/../../../etc/passwd", 404, "nothing under this path"),
        ("GET", "/page/../../etc/passwd", 404, "nothing under this path"),
        ("GET", "//etc/passwd", 404, "nothing under this path"),
        ("GET", "/v1/models/../../etc/passwd", 400, "Malformed request"),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404, "Latest(../../etc/passwd)"),
        ("GET", "/v1/models/%2fetc%2fpasswd/metadata", 404, "Latest(/etc/passwd)"),
        ("POST", "/v1/models/%00:predict", 404, "Latest"),
        ("POST", "/v1/models/%ff:predict", 404, "Latest"),
    ],
)
def test_other_paths_and_methods(connection, method, path, status, words):
    response, data = ask(
        connection, method, path, BODY if method in ("POST", "PUT", "PATCH", "BREW") else None
    )
    assert response.status == status and response.headers["Content-Type"] == "application/json"
    assert words in json.loads(data)["error"]
    assert (
        ("GET" in response.headers["Allow"]) if status == 405 else "Allow" not in response.headers
    )
    is_served(connection)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("", 400, "the document is empty"),
        (None, 400, "the document is empty"),
        ('{"inputs": ', 400, "offset: 11"),
        ({"signature_name": "x", "inputs": 1}, 400, 'Serving signature name: "x" not found'),
        ({"inputs": {"item": ["a"], "k": ["b"]}}, 400, "key: k"),
        ({"instances": [{"item": "a", "k": 1}, {"item": ["a"], "k": 1}]}, 400, "key: item"),
        ({"instances": [{"item": "a", "k": 14}]}, 503, "too many wait"),
        ({"instances": [{"item": "a", "k": 13}]}, 500, "its log says why"),
    ],
)
def test_other_bodies(connection, body, status, words):
    found, answer = predict(connection, body=body)
    assert found == status and words in answer["error"] and "secret" not in answer["error"]
    kept = connection.sock
    is_served(connection)
    assert connection.sock is kept


def test_head(connection):
    response, data = ask(connection, "HEAD", "/")
    assert response.status == 200 and data == b"" and response.headers["Content-Length"] == "19"
    # As in TF Serving, only GET and POST are known below /v1/.
    assert ask(connection, "HEAD", "/v1/models/m")[0].status == 400
    is_served(connection)


def exchange(service, *parts, end=False):
    """Sends bytes in parts, and returns (status, body) of the response."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as raw:
        for part in parts:
            raw.sendall(part)
        if end:
            raw.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(raw)
        response.begin()
        body = response.read()
        assert response.headers["Connection"] != "close" or raw.recv(1) == b""
        return response.status, json.loads(body)


def head(*lines, path="/v1/models/m:predict", method="POST"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


DATA = json.dumps(BODY).encode()


def test_chunks(service):
    chunks = b"%x\r\n%b\r\n%x;name=value\r\n%b\r\n0\r\ntrailer: 1\r\n\r\n" % (
        10,
        DATA[:10],
        len(DATA) - 10,
        DATA[10:],
    )
    status, answer = exchange(service, head("Transfer-Encoding: chunked"), chunks)
    assert status == 200 and answer["predictions"][1] == {"item": "é", "k": 5}


@pytest.mark.parametrize(
    ("parts", "status", "words"),
    [
        ([head()], 400, "the document is empty"),
        ([head("Content-Length: 70000")], 413, "at most 65536 bytes"),
        ([head("Content-Length: 70000"), b"x" * 70000], 413, "at most 65536 bytes"),
        ([head("Content-Length: 70000", "Expect: 100-continue")], 413, "at most 65536 bytes"),
        ([head("Transfer-Encoding: chunked"), b"11170\r\n", b"x" * 70000], 413, "at most 65536"),
        ([head("Content-Length: -1")], 400, "HTTP/1.1"),
        ([head("Content-Length: 1_0")], 400, "HTTP/1.1"),
        ([head("Content-Length: ²")], 400, "HTTP/1.1"),
        ([head("Content-Length: " + "9" * 30)], 400, "HTTP/1.1"),
        ([head("Content-Encoding: gzip", "Content-Length: 5")], 415, "Content-Encoding"),
        ([head("Transfer-Encoding: gzip, chunked")], 501, "chunked"),
        ([head("Transfer-Encoding: chunked"), b"zz\r\n"], 400, "HTTP/1.1"),
        ([head("Transfer-Encoding: chunked"), b"2\r\nabcd\r\n"], 400, "HTTP/1.1"),
        ([b"nonsense\r\n\r\n"], 400, "HTTP/1.1"),
        ([b"GET / HTTP/3.0\r\n\r\n"], 400, "HTTP/1.1"),
        ([b"GET /" + b"x" * 400_000], 431, "65536"),
        ([head()[:-2] + b"x: y\r\n" * 60_000], 431, "65536"),
    ],
)
def test_what_is_not_http_as_it_should_be(service, connection, parts, status, words):
    found, answer = exchange(service, *parts)
    assert found == status and words in answer["error"] and answer["error"].endswith(".")
    is_served(connection)


def answers(service, data):
    """Sends bytes, and returns the statuses of all responses."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as raw:
        raw.sendall(data)
        raw.shutdown(socket.SHUT_WR)
        found = b""
        while part := raw.recv(65536):
            found += part
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", found)]


INNER = b"GET /page/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["no colon", f"Content-Length: {len(INNER)}"], INNER),
        ([": no name", f"Content-Length: {len(INNER)}"], INNER),
        ([f"Content-Length : {len(INNER)}"], INNER),
        ([f"X: y\r\n folded: z\r\nContent-Length: {len(INNER)}"], INNER),
        ([f"X: y\rContent-Length: {len(INNER)}"], INNER),
        ([f"X: y\nContent-Length: {len(INNER)}"], INNER),
        ([f"X: \0\r\nContent-Length: {len(INNER)}"], INNER),
        (["Transfer-Encoding: chunked", f"Content-Length: {len(INNER)}"], b"0\r\n\r\n" + INNER),
        ([f"Content-Length: {len(INNER)}", "Transfer-Encoding: chunked"], b"0\r\n\r\n" + INNER),
        (["Content-Length: 0", f"Content-Length: {len(INNER)}"], INNER),
        ([f"Content-Length: {len(INNER)}", f"Content-Length: {len(INNER)}"], INNER),
        ([f"Content-Length: 0, {len(INNER)}"], INNER),
        ([f"Content-Length: +{len(INNER)}"], INNER),
        ([f"Content-Length: 0x{len(INNER):x}"], INNER),
        (["Transfer-Encoding: identity", f"Content-Length: {len(INNER)}"], INNER),
        (["Transfer-Encoding: identity, chunked"], b"0\r\n\r\n" + INNER),
        (["Transfer-Encoding: identity", "Transfer-Encoding: chunked"], b"0\r\n\r\n" + INNER),
        (["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n" + INNER),
        (["Transfer-Encoding: xchunked"], b"0\r\n\r\n" + INNER),
        (["Transfer-Encoding:\x0bchunked"], b"0\r\n\r\n" + INNER),
        (["Transfer-Encoding: chunked"], b"0\r\nX: y\n\n" + INNER),
        (["Transfer-Encoding: chunked"], b"+0\r\n\r\n" + INNER),
        (["Transfer-Encoding: chunked"], b"0\n\n" + INNER),
        (["Connection: Upgrade", "Upgrade: h2c", f"Content-Length: {len(INNER)}"], INNER),
    ],
)
def test_no_body_becomes_a_request(service, connection, lines, body):
    """If a proxy and a server disagree on the end of a request, its body can become another one."""
    found = answers(service, head(*lines) + body)
    assert 200 not in found and len(found) <= 1
    is_served(connection)


def test_requests_one_behind_the_other(service):
    request = head(f"Content-Length: {len(DATA)}") + DATA
    assert answers(service, 3 * request + INNER + b"GET nonsense") == [200] * 4


HOSTS = {
    "localhost": 200, "LOCALHOST:80": 200, "127.0.0.1": 200, "127.0.0.1:8501": 200,
    "[::1]:8501": 200,
    "models.example": 200, "Models.Example:8501": 200, "evil.example": 403,
    "localhost.evil.example": 403,
    "evil.example:localhost": 403, "127.0.0.1.evil.example": 403, "localhost@evil.example": 403,
    "127.0.0.2": 403,
    "[::2]": 403, "": 403, "evil.example#localhost": 403, "0.0.0.0": 403,
}  # fmt: skip


@pytest.mark.parametrize(("host", "status"), HOSTS.items())
def test_hosts_that_are_answered(service, host, status):
    assert answers(service, b"GET /page/models HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode()) == [
        status
    ]


def test_a_host_is_named_once(service):
    for lines in (b"", b"Host: localhost\r\nHost: localhost\r\n"):
        assert answers(service, b"GET /page/models HTTP/1.1\r\n%b\r\n" % lines) == [400]


ORIGINS = {
    "http://localhost": 200, "http://models.example": 200, "https://models.example:8443": 200,
    "http://localhost:3000": 403, "http://evil.example": 403, "null": 403, "file://localhost": 403,
}  # fmt: skip


@pytest.mark.parametrize(("origin", "status"), ORIGINS.items())
def test_pages_that_are_answered(service, origin, status):
    request = head(f"Content-Length: {len(DATA)}", f"Origin: {origin}") + DATA
    assert answers(service, request) == [status]


def test_a_body_that_waits_to_be_asked_for(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as raw:
        raw.sendall(head(f"Content-Length: {len(DATA)}", "Expect: 100-continue"))
        assert raw.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(DATA)
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert response.status == 200


def test_a_body_that_is_cut_off(service, connection):
    for parts in (
        [head("Content-Length: 100"), b"{"],
        [head("Transfer-Encoding: chunked"), b"5\r\nab"],
    ):
        status, answer = exchange(service, *parts, end=True)
        assert status == 400 and "cut off" in answer["error"]
    is_served(connection)


def test_clients_that_leave(service, connection):
    for parts in (
        [b""],
        [b"POST /v1"],
        [head("Content-Length: 100"), b"{"],
        [head(f"Content-Length: {len(DATA)}"), DATA],
    ):
        with socket.create_connection(("127.0.0.1", service.port), timeout=10) as raw:
            raw.sendall(b"".join(parts))
    is_served(connection)


@pytest.fixture(scope="module")
def impatient():
    service = start(connections=2, request_seconds=0.2, idle_seconds=30)
    yield service
    service.stop(grace=1)


@pytest.mark.parametrize(
    "part",
    [b"P", head("Content-Length: 100")[:-2], head("Content-Length: 100") + b"{"],
    ids=["line", "headers", "body"],
)
def test_slow_requests(impatient, part):
    status, answer = exchange(impatient, part)
    assert status == 408 and "within 0.2 seconds" in answer["error"]


def test_an_idle_connection_makes_room(impatient):
    first, second, third = (
        http.client.HTTPConnection("127.0.0.1", impatient.port, timeout=10) for _ in range(3)
    )
    with contextlib.closing(first), contextlib.closing(second), contextlib.closing(third):
        for connection in (first, second, third):
            is_served(connection)
        assert first.sock.recv(1) == b""
        is_served(second)


def test_with_all_connections_busy_others_are_refused(impatient):
    store, threads, answers = impatient.store, [], []
    store.released.clear()

    def slow():
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", impatient.port, timeout=10)
        ) as connection:
            answers.append(predict(connection, body={"inputs": {"item": ["a"], "k": [15]}})[0])

    for _ in range(2):
        store.waiting.clear()
        threads.append(threading.Thread(target=slow))
        threads[-1].start()
        assert store.waiting.wait(10)
    status, answer = exchange(impatient, b"")
    assert status == 503 and "as many connections" in answer["error"]
    store.released.set()
    for thread in threads:
        thread.join(10)
    assert answers == [200, 200]


def test_stopping_answers_what_is_in_flight_and_then_closes():
    service, answers = start(), []
    idle = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    is_served(idle)

    def slow():
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
        ) as connection:
            body = {"inputs": {"item": ["a"], "k": [15]}}
            answers.append(ask(connection, "POST", "/v1/models/m:predict", body)[0].status)

    thread = threading.Thread(target=slow)
    thread.start()
    assert service.store.waiting.wait(10)
    stopping = threading.Thread(target=service.stop, args=(10,))
    stopping.start()
    while (refused := ask(idle, "GET", "/page/models")[0]).status == 200:
        pass
    assert refused.status == 503 and refused.headers["Connection"] == "close"
    idle.close()
    service.store.released.set()
    stopping.join(10)
    thread.join(10)
    assert answers == [200]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", service.port), timeout=10)


def test_an_answer_that_is_not_read():
    """A response larger than the buffers of the system does not keep its connection open."""
    service = start(b"x" * (1 << 25), request_seconds=0.2)
    connections = service._server.server_state.connections
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as raw:
        raw.sendall(head(path="/", method="GET"))
        assert raw.recv(15) == b"HTTP/1.1 200 OK"
        end = time.monotonic() + 10
        while connections:
            assert time.monotonic() < end
            time.sleep(0.01)
    service.stop(1)


def test_a_port_that_is_taken(service):
    with pytest.raises(
        OSError, match=rf"^127\.0\.0\.1:{service.port} cannot be listened on: .* choose another\.$"
    ):
        HttpServer("127.0.0.1", service.port, print)


def test_many_at_once(service):
    statuses = []

    def some():
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
        ) as connection:
            statuses.extend(
                predict(connection, body={"inputs": {"item": [str(number)] * 3, "k": [1, 2, 3]}})[
                    1
                ]["outputs"]["item"][0]
                for number in range(20)
            )

    threads = [threading.Thread(target=some) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(statuses) == sorted([str(number) for number in range(20)] * 8)


def test_http_1_0(service):
    status, answer = exchange(
        service,
        b"POST /v1/models/m:predict HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(DATA),
        DATA,
    )
    assert status == 200 and answer["predictions"][0]["k"] == 4


def test_a_body_does_not_wait_until_its_head_is_acknowledged(service, connection):
    is_served(connection)
    (accepted,) = [
        one.transport.get_extra_info("socket")
        for one in service._server.server_state.connections
        if one.client == connection.sock.getsockname()
    ]
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_arrays_reach_the_store_as_the_signature_has_them(connection):
    _, answer = predict(connection, body={"inputs": {"item": [["a", "b"]], "k": [[1, 2]]}})
    assert answer == {"outputs": {"item": [["a", "b"]], "k": (np.array([[1, 2]]) + 2).tolist()}}


@pytest.fixture
def served(server):
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    ) as connection:
        yield connection


def test_a_served_model(served, servable, run):
    """The real store: names of its signatures, and items of the vocabulary of the run."""
    found = json.loads(ask(served, "GET", "/v1/models/sasrec/labels/stable/metadata")[1])
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert found["model_spec"]["version"] == "1"
    assert {
        "serving_default",
        "recommend",
        "score",
        "embed",
        "embed_items",
        "explain",
    } <= signatures.keys()
    history = signatures["recommend"]["inputs"]["history"]
    assert history["dtype"] == "DT_STRING" and [
        one["size"] for one in history["tensor_shape"]["dim"]
    ] == ["-1", "-1"]
    items = (run / "vocabulary" / "items.txt").read_text().split("\n")
    status, answer = predict(
        served,
        "/v1/models/sasrec:predict",
        {"instances": [{"user_id": "", "history": ["", items[0]]}]},
    )
    assert (
        status == 200
        and len(answer["predictions"][0]["items"]) == 5
        and answer["predictions"][0]["source"] == "model"
    )
    assert set(answer["predictions"][0]["items"]) <= set(items) - {items[0]}


def test_inputs_that_can_be_left_out(served):
    """As rows and as columns, joined and as lists of ids."""
    path, texts, ids = "/v1/models/sasrec:predict", "i3\ti7", ["", "i3", "i7"]
    whole = {"user_id": "", "history": texts, "exclude": "", "allow": "", "k": 10}
    _, expected = predict(
        served, path, {"signature_name": "recommend_joined", "instances": [whole]}
    )
    expected = expected["predictions"][0]["items"]
    assert len(expected) == 10
    for name, history in (("recommend_joined", texts), ("recommend", ids)):
        rows = {"signature_name": name, "instances": [{"history": history}]}
        status, answer = predict(served, path, rows)
        assert (status, answer["predictions"][0]["items"]) == (200, expected)
        columns = {"signature_name": name, "inputs": {"history": [history]}}
        status, answer = predict(served, path, columns)
        assert (status, answer["outputs"]["items"]) == (200, [expected])
    status, answer = predict(
        served, path, {"signature_name": "similar", "instances": [{"item": "i3"}]}
    )
    assert status == 200 and answer["predictions"][0]["by"] == "cosine"
    status, answer = predict(
        served, path, {"signature_name": "score", "instances": [{"history": ids}]}
    )
    assert status == 400 and "lacks the input 'candidates'" in answer["error"]


@pytest.mark.parametrize(
    ("history", "statuses"),
    [
        (["x" * (1 << 20)], (200,)),
        (["x"] * 100_000, (400,)),
        ([["x"]], (400,)),
        ([], (200,)),
        (["\u0000", "\U0001f3ac"], (200,)),
    ],
    ids=["long id", "long history", "rank", "nothing", "odd ids"],
)
def test_odd_histories(served, history, statuses):
    for _ in range(2):
        status, answer = predict(
            served,
            "/v1/models/sasrec:predict",
            {"instances": [{"user_id": "", "history": history}]},
        )
        assert status in statuses and (status == 200 or "history" in answer["error"])
    assert (
        predict(
            served, "/v1/models/sasrec:predict", {"instances": [{"user_id": "", "history": ["a"]}]}
        )[0]
        == 200
    )


def test_an_unknown_signature(served):
    status, answer = predict(
        served, "/v1/models/sasrec:predict", {"signature_name": "x", "instances": ["a"]}
    )
    assert (status, answer) == (
        400,
        {"error": 'Serving signature name: "x" not found in signature def.'},
    )
