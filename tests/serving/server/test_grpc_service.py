"""Valid and invalid requests over gRPC, each followed by a valid one."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.local_server import LocalServer
from serving.server.model_config import ModelConfig
from serving.server.model_store import ModelStore

SECONDS = 60


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def toy_server(toy, tmp_path):
    """A server of a folder of its own, without HTTP, which looks for versions on demand."""
    shutil.copytree(toy / "1", tmp_path / "toy" / "1")
    store = ModelStore([ModelConfig("toy", tmp_path / "toy", labels={"stable": 1})], poll=3600)
    server = LocalServer(store, port=0, rest_port=None)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield server, channel, tmp_path / "toy"
    server.stop(0)


def ask(name="sasrec", signature="", version=None, label=None, outputs=(), **inputs):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name, request.model_spec.signature_name = name, signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def good(**spec):
    return ask(**spec, user_id=["u1"], history=[["", "i3", "i5"]])


def refused(call):
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code().name, raised.value.details()


def answer(stub, request):
    response = stub.Predict(request, timeout=SECONDS)
    return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}


def test_predict(stub, servable):
    response = stub.Predict(good(), timeout=SECONDS)
    expected = tf.saved_model.load(str(servable / "1")).signatures["serving_default"](
        user_id=tf.constant(["u1"]), history=tf.constant([["", "i3", "i5"]])
    )
    assert response.model_spec.name == "sasrec" and response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs["items"].string_val) == expected["items"].numpy()[0].tolist()
    np.testing.assert_allclose(
        list(response.outputs["scores"].float_val), expected["scores"].numpy()[0], rtol=1e-5
    )


@pytest.mark.parametrize(
    "spec", [{"version": 1}, {"label": "stable"}, {"signature": "serving_default"}]
)
def test_predict_names_a_version(stub, spec):
    assert answer(stub, good(**spec))["items"].tolist() == answer(stub, good())["items"].tolist()


def test_an_output_filter(stub):
    assert list(answer(stub, good(outputs=["scores"]))) == ["scores"]


BAD = [
    (good(name="x"), "NOT_FOUND", "Servable not found for request: Latest(x)"),
    (good(name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    (good(version=7), "NOT_FOUND", "Servable not found for request: Specific(sasrec, 7)"),
    (good(label="nope"), "INVALID_ARGUMENT", "Unrecognized servable version label: nope"),
    (good(signature="nope"), "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
    (ask(history=[["a"]]), "INVALID_ARGUMENT", "Missing but required: {{user_id}}"),
    (ask(user_id=["u"], history=[["a"]], more=[1]), "INVALID_ARGUMENT", "Sent extra: {{more}}"),
    (ask(user_id=["u"], history=[[1]]), "INVALID_ARGUMENT",
    "input history of signature {} must be DT_STRING, but is DT_INT32."),
    (ask(user_id=["u"], history=["a"]), "INVALID_ARGUMENT",
    "input history of signature {} must be of the shape [?, ?], but is [1]"),
    (ask(user_id="u", history=[["a"]]), "INVALID_ARGUMENT",
    "input user_id of signature {} must be of the shape [?], but is []"),
    (ask(user_id=["u"], history=[["a"], ["b"]]), "INVALID_ARGUMENT",
    "but there are 2 rows of history, 1 rows of user_id."),
    (ask(user_id=["u"], history=[[1j]]), "INVALID_ARGUMENT", "history has the type DT_COMPLEX128"),
    (ask(user_id=["u"], history=[["a"] * 100_000]), "INVALID_ARGUMENT",
    "history must have at most 65536 elements"),
    (ask(user_id=["u"], history=np.empty((1 << 30, 0), object)), "INVALID_ARGUMENT",
    "history must have at most 65536 elements"),
    (ask(user_id=["u"], history=["a"], **{f"x{number}": 1 for number in range(70)}),
    "INVALID_ARGUMENT", "at most 64 inputs"),
    (ask(name="x" * 100_000, user_id=["u"], history=[["a"]]), "NOT_FOUND", "xxx..."),
    (good(outputs=["scores"] * 100), "INVALID_ARGUMENT", "at most 64 names of outputs"),
    (ask(user_id=["u"] * 33, history=[["a"]] * 33), "INVALID_ARGUMENT",
    "Task size 33 is larger than maximum input batch size 32"),
    (ask(user_id=["x" * (17 << 20)], history=[["a"]]), "RESOURCE_EXHAUSTED", ""),
    (good(outputs=["nope"]), "INVALID_ARGUMENT",
    "output tensor alias not found in signature: nope"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "code", "message"), BAD, ids=range(len(BAD)))
def test_a_bad_request_and_the_next_good_one(stub, request_, code, message):
    came = refused(lambda: stub.Predict(request_, timeout=SECONDS))
    assert came[0] == code and message.format("serving_default") in came[1]
    assert len(answer(stub, good())["items"][0]) == 5


def test_a_truncated_tensor(stub):
    request = good()
    del request.inputs["history"].string_val[1:]
    request.inputs["history"].string_val.append(b"i3")
    code, message = refused(lambda: stub.Predict(request, timeout=SECONDS))
    assert code == "INVALID_ARGUMENT" and message.startswith(
        "tensor parsing error: history has the shape [1, 3] and 2 values"
    )


def test_a_truncated_message(channel, stub):
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    whole = good().SerializeToString()
    refusal = ("INVALID_ARGUMENT", "The message is not a PredictRequest; send one.")
    assert refused(lambda: raw(whole[:-3], timeout=SECONDS)) == refusal
    assert (
        predict_pb2.PredictResponse.FromString(raw(whole, timeout=SECONDS))
        .outputs["items"]
        .string_val
    )


def test_ids_of_a_megabyte(stub):
    known = answer(stub, good())
    long = answer(stub, ask(user_id=["u" * (1 << 20)], history=[["", "i3", "i5", "x" * (1 << 20)]]))
    assert long["items"].tolist() == known["items"].tolist(), "unknown ids are passed over"


def test_a_long_history_within_the_limit(stub):
    long = answer(stub, ask(user_id=["u1"], history=[["", *(["nobody"] * 65_000), "i3", "i5"]]))
    assert long["items"].tolist() == answer(stub, good())["items"].tolist()


@pytest.mark.parametrize("method", ["Classify", "Regress", "MultiInference"])
def test_what_is_not_served(channel, method):
    raw = channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
    assert refused(lambda: raw(b"", timeout=SECONDS))[0] == "UNIMPLEMENTED"


def test_mixed_requests_at_once_get_the_answers_they_get_alone(stub):
    """Batches mix short, long, unknown, empty and invalid histories."""
    requests = []
    for number in range(120):
        history = [""] * (1 + number % 4) + [
            f"i{(number * 7 + place) % 60}" for place in range(number % 6)
        ]
        requests.append(
            ask(
                signature="recommend",
                user_id=["u"],
                history=[history],
                exclude=[["i1"]],
                allow=[[""]],
                k=[1 + number % 5],
            )
        )
        requests.append(ask(user_id=["u"], history=["wrong"]) if number % 10 == 0 else good())

    def items(request):
        try:
            found = answer(stub, request)["items"][0].tolist()
            return found[: request.inputs["k"].int_val[0]] if "k" in request.inputs else found
        except grpc.RpcError as error:
            return error.code().name

    alone = [items(request) for request in requests]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(items, requests)) == alone
    assert alone.count("INVALID_ARGUMENT") == 12


def test_metadata(stub):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "sasrec"
    response = stub.GetModelMetadata(request, timeout=SECONDS)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert (
        response.metadata["signature_def"].Unpack(signatures)
        and response.model_spec.version.value == 1
    )
    assert {"serving_default", "recommend", "score", "embed", "embed_items", "explain"} <= set(
        signatures.signature_def
    )
    assert set(signatures.signature_def["recommend"].inputs) == {
        "user_id",
        "history",
        "exclude",
        "allow",
        "k",
    }
    request.metadata_field[:] = []
    assert refused(lambda: stub.GetModelMetadata(request)) == (
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    request.metadata_field[:] = ["x"]
    assert refused(lambda: stub.GetModelMetadata(request)) == (
        "INVALID_ARGUMENT",
        "Metadata field x is not supported",
    )
    request.metadata_field[:], request.model_spec.name = ["signature_def"], "x"
    assert refused(lambda: stub.GetModelMetadata(request))[0] == "NOT_FOUND"


def status(channel, **spec):
    request = get_model_status_pb2.GetModelStatusRequest()
    text_format.Parse(
        " ".join(f"{key}: {value}" for key, value in spec.items()), request.model_spec
    )
    response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
        request, timeout=SECONDS
    )
    return {
        one.version: (one.State.Name(one.state), one.status.error_code)
        for one in response.model_version_status
    }


def test_status(channel):
    assert status(channel, name='"sasrec"') == {1: ("AVAILABLE", 0)}
    assert status(channel, name='"sasrec"', version="{value: 1}") == {1: ("AVAILABLE", 0)}
    assert refused(lambda: status(channel, name='"x"')) == (
        "NOT_FOUND",
        "Could not find any versions of model x",
    )
    assert refused(lambda: status(channel, name='"sasrec"', version="{value: 9}")) == (
        "NOT_FOUND",
        "Could not find version 9 of model sasrec",
    )
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    assert refused(lambda: stub.GetModelStatus(get_model_status_pb2.GetModelStatusRequest())) == (
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    )


def test_the_status_of_a_corrupt_version(toy_server):
    server, channel, folder = toy_server
    (folder / "2").mkdir()
    (folder / "2" / "saved_model.pb").write_bytes(b"\xff")
    server.store.poll()
    assert status(channel, name='"toy"') == {2: ("END", 3), 1: ("AVAILABLE", 0)}
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    assert (
        stub.Predict(ask(name="toy", text=[["a"]]), timeout=SECONDS).model_spec.version.value == 1
    )


def reload(channel, text):
    request = text_format.Parse(text, model_management_pb2.ReloadConfigRequest())
    return model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(
        request, timeout=SECONDS
    )


def test_reload(toy_server):
    _, channel, folder = toy_server
    shutil.copytree(folder / "1", folder / "2")
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    policy = "model_version_policy { specific { versions: 1 versions: 2 } }"
    labels = "version_labels { key: 'stable' value: 1 }"
    model = f"name: 'toy' base_path: '{folder}' {policy} %s"
    config = f"config {{ model_config_list {{ config {{ {model} }} }} }}"
    assert reload(channel, config % labels).status.error_code == 0
    assert stub.Predict(ask(name="toy", label="stable", text=[["a"]])).model_spec.version.value == 1
    reload(channel, config % f"{labels} version_labels {{ key: 'canary' value: 2 }}")
    assert stub.Predict(ask(name="toy", label="canary", text=[["a"]])).model_spec.version.value == 2
    assert (
        refused(lambda: reload(channel, config % "version_labels { key: 'stable' value: 3 }"))[0]
        == "FAILED_PRECONDITION"
    )
    assert stub.Predict(ask(name="toy", label="stable", text=[["a"]])).model_spec.version.value == 1


@pytest.mark.parametrize(
    ("policy", "available"),
    [
        ("all {}", [1, 2, 3]),
        ("latest { num_versions: 2 }", [2, 3]),
        ("latest {}", [3]),
        ("specific { versions: 2 }", [2]),
    ],
)
def test_reload_understands_every_policy(toy_server, policy, available):
    server, channel, folder = toy_server
    for number in "23":
        shutil.copytree(folder / "1", folder / number)
    reload(
        channel,
        f"config {{ model_config_list {{ config {{ name: 'toy' "
        f"model_version_policy {{ {policy} }} }} }} }}",
    )
    assert server.store.available("toy") == available


def test_reload_that_is_refused(toy_server):
    _, channel, _ = toy_server
    assert refused(lambda: reload(channel, ""))[0] == "INVALID_ARGUMENT"
    elsewhere = "config { model_config_list { config { name: 'toy' base_path: '/etc' } } }"
    assert refused(lambda: reload(channel, elsewhere))[1].startswith(
        "The base_path of model toy cannot be changed"
    )
    assert status(channel, name='"toy"') == {1: ("AVAILABLE", 0)}


def health(channel, service=""):
    response = health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(service=service), timeout=SECONDS
    )
    return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)


def test_health(toy_server):
    server, channel, folder = toy_server
    assert health(channel) == health(channel, "tensorflow.serving.PredictionService") == "SERVING"
    assert refused(lambda: health(channel, "nope"))[0] == "NOT_FOUND"
    shutil.rmtree(folder / "1")
    server.store.poll()
    assert health(channel) == "NOT_SERVING"
    assert health(channel, "tensorflow.serving.ModelService") == "NOT_SERVING"


def test_counts_requests(toy_server):
    server, channel, _ = toy_server
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    for _ in range(2):
        stub.Predict(ask(name="toy", text=[["a"]]))
    damaged = ask(name="toy", text=[["a"]])
    damaged.inputs["text"].string_val.append(b"b")
    for request in (damaged, ask(name="toy", text=["a"]), ask(name="x")):
        refused(lambda request=request: stub.Predict(request))
    text = server.store.metrics.render().decode()
    assert [line for line in text.splitlines() if line.startswith("serving_requests_total{")] == [
        'serving_requests_total{model="toy",signature="serving_default",status="OK"} 2.0',
        'serving_requests_total{model="toy",signature="",status="INVALID_ARGUMENT"} 1.0',
        'serving_requests_total{model="toy",signature="serving_default",'
        'status="INVALID_ARGUMENT"} 1.0',
        'serving_requests_total{model="",signature="",status="NOT_FOUND"} 1.0',
    ]
