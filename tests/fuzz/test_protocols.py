"""Invalid requests over gRPC and HTTP to a server of a small servable.

Each request gets a status that blames the client, never the server. A valid request after each of
them gets the right response, and the memory of the server does not grow. TFREC_FUZZ multiplies the
number of requests.
"""

import http.client
import json
import os
import random
import re
import resource
import socket

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

FACTOR = float(os.environ.get("TFREC_FUZZ", "1"))
COUNT = max(int(150 * FACTOR), 1)
SECONDS = 20
ITEMS, LENGTH = 40, 6
GROWTH_KB = 400 << 10
AT_FAULT = {"UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "CANCELLED", "DATA_LOSS", "UNAVAILABLE"}
PREDICT = "tensorflow.serving.PredictionService/Predict"
METADATA = "tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "tensorflow.serving.ModelService/GetModelStatus"
RELOAD = "tensorflow.serving.ModelService/HandleReloadConfigRequest"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A `LocalServer` of an untrained SASRec, as model `m`."""
    from export.saved_model import save
    from export.servable import Servable
    from serving.local_server import LocalServer
    from serving.server.model_config import ModelConfig
    from serving.server.model_store import ModelStore
    from serving.server.user_log import UserLog
    from tfrec_attn.data.sequences.vocabulary import Vocabulary
    from tfrec_attn.lists.user_histories import UserBatch
    from tfrec_attn.models import SASRec

    model = SASRec(1, ITEMS, LENGTH, dim=4)
    model.user_vocabulary = Vocabulary(["u"])
    model.item_vocabulary = Vocabulary([f"i{item}" for item in range(ITEMS)])
    folder = tmp_path_factory.mktemp("fuzz") / "m"
    save(Servable(model, np.ones(ITEMS)), folder / "1")
    store = ModelStore([ModelConfig("m", folder, labels={"stable": 1})], poll=3600)
    users = UserLog([UserBatch.of(["u"], [["i1", "i2"]])])
    local = LocalServer(store, port=0, rest_port=0, users=users)
    local.start()
    yield local
    local.stop(5)


@pytest.fixture(scope="module")
def ask(server):
    """A function (method, bytes) -> (name of the status, details or bytes)."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:

        def call(method, data):
            try:
                return "OK", channel.unary_unary(f"/{method}")(data, timeout=SECONDS)
            except grpc.RpcError as error:
                return error.code().name, error.details()

        yield call


def tensor(value):
    return tf.make_tensor_proto(value)


def good_request():
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["user_id"].CopyFrom(tensor(["u"]))
    request.inputs["history"].CopyFrom(tensor([["", "i3", "i5"]]))
    return request


@pytest.fixture
def healthy(ask):
    """A function that sends a valid request, and fails without the right response."""
    good = good_request().SerializeToString()
    expected = predict_pb2.PredictResponse.FromString(ask(PREDICT, good)[1]).outputs["items"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def check(what):
        status, answer = ask(PREDICT, good)
        assert status == "OK", (what, status, answer)
        items = predict_pb2.PredictResponse.FromString(answer).outputs["items"]
        assert items.string_val == expected.string_val, what
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < GROWTH_KB, what

    return check


SIZES = [
    0,
    1,
    1,
    1,
    2,
    3,
    7,
    33,
    1025,
    65536,
    65537,
    1 << 24,
    1 << 31,
    1 << 62,
    2**63 - 1,
    -1,
    -(2**63),
]
FIELDS = [
    "float_val",
    "double_val",
    "int_val",
    "string_val",
    "int64_val",
    "bool_val",
    "uint32_val",
    "uint64_val",
]
NAMES = [
    "user_id",
    "history",
    "exclude",
    "allow",
    "k",
    "candidates",
    "item",
    "x",
    "",
    "\0",
    "é" * 50,
]
SIGNATURES = [
    "",
    "serving_default",
    "recommend",
    "score",
    "embed",
    "embed_items",
    "explain",
    "x",
    "y" * 5000,
]


def nasty_tensor(draw):
    """A TensorProto whose parts may contradict each other."""
    proto = tensor(
        draw.choice([["i1"], [["i1", ""]], [[""]], [5], ["u"], 1, [], [[b"\xff\0" * 9]]])
    )
    for _ in range(draw.randint(0, 2)):
        kind = draw.randrange(7)
        if kind == 0:
            proto.dtype = draw.choice([0, 1, 2, 3, 7, 7, 9, 10, 18, 20, 23, 101, 999])
        elif kind == 1:
            del proto.tensor_shape.dim[:]
            for _ in range(draw.choice([0, 1, 1, 2, 2, 2, 3, 8, 9, 65, 300])):
                proto.tensor_shape.dim.add(size=draw.choice(SIZES))
        elif kind == 2:
            proto.tensor_shape.unknown_rank = True
        elif kind == 3:
            field = draw.choice(FIELDS)
            value = {"string_val": b"i1", "bool_val": True}.get(field, draw.choice([0, 1, 5]))
            getattr(proto, field).extend([value] * draw.choice([1, 2, 33, 5000]))
        elif kind == 4:
            proto.tensor_content = bytes(
                draw.randrange(256) for _ in range(draw.choice([1, 4, 8, 33]))
            )
        elif kind == 5:
            proto.int_val.extend([draw.choice([-1, 0, 2**31 - 1, -(2**31)])])
        else:
            proto.ClearField(draw.choice(["string_val", "tensor_shape", "dtype"]))
    return proto


def nasty_request(draw):
    request = good_request()
    request.model_spec.signature_name = draw.choice(SIGNATURES)
    if draw.random() < 0.7:
        request.inputs.clear()
        for name in draw.sample(NAMES, draw.randint(0, 6)):
            request.inputs[name].CopyFrom(nasty_tensor(draw))
    else:
        request.inputs[draw.choice(NAMES)].CopyFrom(nasty_tensor(draw))
    if draw.random() < 0.1:
        request.model_spec.version.value = draw.choice([1, 0, -1, 2**63 - 1])
    if draw.random() < 0.1:
        request.model_spec.version_label = draw.choice(["stable", "x", "\0", "z" * 9000])
    if draw.random() < 0.1:
        request.output_filter.extend(draw.choice([["items"], ["x"], ["items"] * 2, ["items"] * 99]))
    return request


def test_tensors_that_lie(ask, healthy):
    draw = random.Random(1)
    for number in range(COUNT):
        request = nasty_request(draw)
        status, answer = ask(PREDICT, request.SerializeToString())
        assert status not in AT_FAULT, (number, status, answer, str(request)[:2000])
        assert status == "OK" or len(answer) < 1000
        healthy(number)


def mutated(data, draw):
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        place = draw.randrange(len(data) + 1)
        kind = draw.choice([0, 0, 0, 0, 1, 2, 3, 4])
        if kind == 0 and place < len(data):
            data[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[place:place] = bytes(draw.randrange(256) for _ in range(draw.randint(1, 9)))
        elif kind == 2:
            del data[place : place + draw.randint(1, 9)]
        elif kind == 3:
            del data[place:]
        else:
            data[place:place] = data[: draw.randrange(len(data) + 1)]
    return bytes(data)


def messages():
    about = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    about.model_spec.name = "m"
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name, status.model_spec.version_label = "m", "stable"
    recommend = good_request()
    recommend.model_spec.signature_name = "recommend"
    for name, value in (("exclude", [["i1"]]), ("allow", [["", "i2"]]), ("k", np.int32([3]))):
        recommend.inputs[name].CopyFrom(tensor(value))
    return [(PREDICT, good_request()), (PREDICT, recommend), (METADATA, about), (STATUS, status)]


def test_messages_with_other_bytes(ask, healthy):
    draw, known = random.Random(2), [(name, one.SerializeToString()) for name, one in messages()]
    for number in range(COUNT):
        method, data = draw.choice(known)
        data = mutated(data, draw)
        status, answer = ask(method, data)
        assert status not in AT_FAULT, (number, method, status, answer, data)
        healthy(data)


def test_configurations_with_other_bytes(ask, healthy):
    draw, request = random.Random(3), model_management_pb2.ReloadConfigRequest()
    model = request.config.model_config_list.config.add(name="m")
    model.model_version_policy.specific.versions.extend([1])
    model.version_labels["stable"] = 1
    good = request.SerializeToString()
    for number in range(COUNT // 5 + 1):
        data = mutated(good, draw)
        status, answer = ask(RELOAD, data)
        assert status not in AT_FAULT, (number, status, answer, data)
        # A readable configuration may have changed what is served.
        assert ask(RELOAD, good)[0] == "OK"
        until_served(ask)
        healthy(data)


def until_served(ask):
    for _ in range(200):
        if ask(PREDICT, good_request().SerializeToString())[0] == "OK":
            return


GOOD = {"signature_name": "recommend", "instances": [
    {"user_id": "u", "history": ["", "i3"], "exclude": ["i1"], "allow": [""], "k": 3}]}  # fmt: skip
VALUES = [
    None, True, 0, -1, 2**31, 2**64, 10**400, 1.5, 1e308, float("nan"), float("inf"), "", "i1",
    "\ud800", "\0", "é" * 300,
    [], [[]], [[], []], {}, {"b64": "AA=="}, {"b64": "!"}, {"b64": 1}, [None], [1, "a"], [["i1"],
    ["i2", "i3"]], [[[[[[[[[["x"]]]]]]]]]],
    ["i1"] * 5000, [["i1"] * 50] * 40,
]  # fmt: skip


def nasty_json(draw):
    document = json.loads(json.dumps(GOOD))
    for _ in range(draw.randint(1, 3)):
        where = draw.choice([document, document.get("instances"), draw.choice([document])])
        if isinstance(where, list) and where and isinstance(where[0], dict):
            where = where[0]
        if isinstance(where, dict):
            key = draw.choice([*where, "inputs", "instances", "history", "k", "x"])
            where[key] = draw.choice(VALUES)
    return json.dumps(document).encode()


def nasty_body(draw):
    kind = draw.randrange(6)
    if kind == 0:
        return mutated(json.dumps(GOOD).encode(), draw)
    if kind == 5:
        return mutated(draw.choice([b'{"text": "i1 i2"}', b'{"user": "u"}']), draw)
    if kind == 1:
        opening = draw.choice([b"[", b'{"a":', b'{"inputs":', b"[[],"])
        return opening * draw.choice([10, 1000, 100_000])
    if kind == 2:
        return (
            b'{"inputs": '
            + draw.choice(
                [b"9" * 5000, b"1e999", b"-0", b"NaN", b'"\xff"', b"[" + b"0," * 9000 + b"0]"]
            )
            + b"}"
        )
    return nasty_json(draw)


PATHS = [
    "/v1/models/m:predict", "/v1/models/m:predict", "/v1/models/m/versions/1:predict",
    "/v1/models/m/labels/stable:predict",
    "/v1/models/m", "/v1/models/m/metadata", "/", "/page/models", "/openapi.json",
    "/monitoring/prometheus/metrics", "/v1/models", "/page/models/m:search", "/page/history",
]  # fmt: skip


def nasty_path(draw):
    path = draw.choice(PATHS)
    while draw.random() < 0.3:
        place = draw.randrange(len(path) + 1)
        path = (
            path[:place]
            + draw.choice(["%", "%2f", "%00", "%ff", "..", "//", ":", "?", "#", "é", "9" * 99])
            + path[place:]
        )
    return path


def served(path, server):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def statuses(server, data):
    """The statuses of all responses to bytes, until the server closes the connection."""
    found = b""
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=SECONDS) as raw:
        try:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            while part := raw.recv(1 << 16):
                found += part
        except ConnectionError:
            pass
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d\d\d) ", found)]


def request_bytes(method, path, body, *headers):
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_http_requests(server, healthy):
    draw = random.Random(4)
    for number in range(COUNT):
        method = draw.choice(
            ["POST", "POST", "POST", "GET", "HEAD", "PUT", "OPTIONS", "CONNECT", "PRI", "x"]
        )
        body = nasty_body(draw)
        data = request_bytes(method, nasty_path(draw), body)
        found = statuses(server, data)
        assert len(found) == 1 and (found[0] < 500 or found[0] == 501), (number, found, data[:2000])
        healthy(data[:2000])


def test_bytes_that_are_hardly_http(server, healthy):
    draw = random.Random(5)
    good = request_bytes("POST", PATHS[0], json.dumps(GOOD).encode(), "Accept: */*")
    for number in range(COUNT):
        data = mutated(good, draw)
        found = statuses(server, data)
        assert all(status < 500 or status in (501, 505) for status in found), (number, found, data)
        healthy(data)


def described(server):
    return json.loads(served("/openapi.json", server)[1])


def test_every_path_that_is_described(server):
    """Valid parameters get the described kind of response, others an error."""
    document = described(server)
    right = {"model": "m", "version": "1", "label": "stable", "file": "page.js"}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method == "parameters":
                continue
            good = {"search": {"text": "i1"}, "/page/history": {}}.get(path.split(":")[-1], GOOD)
            body = json.dumps(good) if method == "post" else None
            for values in (right, dict.fromkeys(right, "nothing")):
                connection = http.client.HTTPConnection(
                    "127.0.0.1", server.rest_port, timeout=SECONDS
                )
                connection.request(method.upper(), path.format(**values), body)
                response = connection.getresponse()
                content = response.read()
                connection.close()
                kind = response.headers["Content-Type"].partition(";")[0]
                if response.status == 200:
                    assert kind in operation["responses"]["200"]["content"]
                else:
                    assert values is not right and kind == "application/json", path
                    assert list(json.loads(content)) == ["error"]


def test_every_path_that_is_served_is_described(server):
    paths = set(described(server)["paths"])
    assert {"/", "/openapi.json", "/monitoring/prometheus/metrics"} <= paths
    assert {"/page/models", "/page/history", "/page/{file}"} <= paths
    for which in ("", "/versions/{version}", "/labels/{label}"):
        for what in ("", "/metadata", ":predict"):
            assert f"/v1/models/{{model}}{which}{what}" in paths
        assert f"/page/models/{{model}}{which}:search" in paths


def test_the_fuzzer_makes_messages_that_can_be_read():
    """Otherwise the fuzzer only tests the parser of protobuf."""
    draw, readable = random.Random(6), 0
    for _ in range(100):
        try:
            predict_pb2.PredictRequest.FromString(mutated(good_request().SerializeToString(), draw))
            readable += 1
        except DecodeError:
            pass
    assert 3 < readable < 97
