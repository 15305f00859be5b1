"""A version of a SavedModel: its outputs, what it refuses, and its warm-up file."""

import shutil

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.protocol.statuses import StatusError
from serving.server.loaded_model import WARMUP, LoadedModel


def texts(*rows):
    return np.array(rows, object).reshape(len(rows), -1)


@pytest.fixture(scope="module")
def model(toy):
    loaded = LoadedModel(toy / "1")
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def recommender(servable):
    loaded = LoadedModel(servable / "1")
    yield loaded
    loaded.close()


def refused(call):
    with pytest.raises(StatusError) as raised:
        call()
    return raised.value.code.name, raised.value.message


def test_answers(model):
    answer = model.run("", {"text": texts([b"a", b"b"], [b"", "é".encode()])})
    assert answer["joined"].tolist() == [b"a,b", ",é".encode()] and answer["version"].tolist() == [
        1,
        1,
    ]
    assert model.run("scalar", {"x": np.float32(2)})["y"] == 3


def test_answers_what_tensorflow_answers(recommender, servable):
    function = tf.saved_model.load(str(servable / "1")).signatures["recommend"]
    inputs = {
        "user_id": np.array([b"", b"u1"], object),
        "history": texts([b"", b"i3", b"i5"], [b"", b"", b"i7"]),
        "exclude": texts([b"i1"], [b""]),
        "allow": texts([b""], [b""]),
        "k": np.array([3, 5], np.int32),
    }
    expected = function(
        **{
            name: tf.constant(array.tolist(), tf.int32 if name == "k" else tf.string)
            for name, array in inputs.items()
        }
    )
    answer = recommender.run("recommend", inputs)
    assert answer["items"].tolist() == expected["items"].numpy().tolist()
    np.testing.assert_allclose(answer["scores"], expected["scores"].numpy(), rtol=1e-5)


def test_knows_its_signatures(model, servable):
    assert list(model.signatures) == ["scalar", "serving_default", "strict"]
    text = model.signatures["serving_default"].inputs["text"]
    assert (text.dtype, text.shape) == (np.dtype(object), (None, None))
    assert set(model.definitions.signature_def) >= set(model.signatures)


def test_only_the_outputs_that_are_asked_for(model):
    assert list(model.run("", {"text": texts([b"a"])}, ["version"])) == ["version"]


WRONG = [
    ("nope", {}, (), "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
    (
        "",
        {},
        (),
        "INVALID_ARGUMENT",
        "input size does not match signature: 0!=1 len({}) != len({text}). Sent extra: {}. "
        "Missing but required: {text}.",
    ),
    (
        "",
        {"text": texts([b"a"]), "more": texts([b"a"])},
        (),
        "INVALID_ARGUMENT",
        "input size does not match signature: 2!=1 len({more,text}) != len({text}). Sent extra: "
        "{more}. Missing but required: {}.",
    ),
    (
        "",
        {"txt": texts([b"a"])},
        (),
        "INVALID_ARGUMENT",
        "input tensor alias not found in signature: txt. Inputs expected to be in the set {text}.",
    ),
    (
        "",
        {"text": np.zeros([1, 1], np.float32)},
        (),
        "INVALID_ARGUMENT",
        "input text of signature serving_default must be DT_STRING, but is DT_FLOAT.",
    ),
    (
        "strict",
        {"number": np.zeros([1], np.int64)},
        (),
        "INVALID_ARGUMENT",
        "input number of signature strict must be DT_INT32, but is DT_INT64.",
    ),
    (
        "",
        {"text": np.array([b"a"], object)},
        (),
        "INVALID_ARGUMENT",
        "input text of signature serving_default must be of the shape [?, ?], but is [1].",
    ),
    (
        "scalar",
        {"x": np.zeros([1], np.float32)},
        (),
        "INVALID_ARGUMENT",
        "input x of signature scalar must be of the shape [], but is [1].",
    ),
    (
        "",
        {"text": np.full([1, 65537], b"", object)},
        (),
        "INVALID_ARGUMENT",
        "input text of signature serving_default must be of at most 65536 elements, but is [1, "
        "65537].",
    ),
    (
        "",
        {"text": texts([b"a"])},
        ("no",),
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: no Outputs expected to be in the set "
        "{joined,version}.",
    ),
    (
        "",
        {"text": texts([b"a"])},
        ("joined", "joined"),
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: joined; name it once.",
    ),
]


@pytest.mark.parametrize(("signature", "inputs", "outputs", "code", "message"), WRONG)
def test_what_it_refuses(model, signature, inputs, outputs, code, message):
    assert refused(lambda: model.run(signature, inputs, outputs)) == (code, message)


def test_what_tensorflow_refuses_keeps_its_code(model):
    code, message = refused(lambda: model.run("strict", {"number": np.array([13], np.int32)}))
    assert code == "INVALID_ARGUMENT"
    assert (
        message.startswith("signature strict failed: assertion failed: [13 is unlucky]")
        and "\n" not in message
        and message.endswith(".")
    )


def test_values_that_are_no_texts(model):
    code, message = refused(lambda: model.run("", {"text": np.array([[None]], object)}))
    assert code == "INTERNAL" and message.startswith("signature serving_default failed: ")


def test_unequal_batches_are_refused_by_the_exported_graph(recommender):
    code, _ = refused(
        lambda: recommender.run(
            "embed", {"user_id": np.array([b"u"], object), "history": np.full([2, 3], b"", object)}
        )
    )
    assert code == "INVALID_ARGUMENT"


TYPES = [tf.float32, tf.float64, tf.int32, tf.int64, tf.int16, tf.int8, tf.uint8, tf.bool]


@pytest.fixture(scope="module")
def identities(tmp_path_factory):
    """A model with a signature for each type, which returns its input, and one with float16."""
    folder = tmp_path_factory.mktemp("identities") / "1"
    functions = {kind.name: (kind, tf.identity) for kind in (*TYPES, tf.string)}
    functions["half"] = tf.float32, lambda x: tf.cast(x, tf.float16)
    signatures = {
        name: tf.function(lambda x, f=f: {"x": tf.identity(x), "y": f(x)}).get_concrete_function(
            tf.TensorSpec(None, kind, name="x")
        )
        for name, (kind, f) in functions.items()
    }
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    loaded = LoadedModel(folder)
    yield loaded
    loaded.close()


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_numbers_and_flags_keep_type_and_shape(identities, kind):
    for array in ([[0, 1, 1], [1, 0, 100]], np.zeros([0, 3]), 1, np.arange(12).reshape(3, 4).T):
        array = np.array(array).astype(kind.as_numpy_dtype)
        came = identities.run(kind.name, {"x": array})["y"]
        assert (came.dtype, came.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(came, array)


def test_texts_are_any_bytes(identities):
    # TensorFlow stores up to 22 bytes in place, and longer texts elsewhere.
    values = [b"", b"a", b"\0", b"a\0b", "é".encode(), b"\xff", b"x" * 22, b"x" * 23, b"y" * 99999]
    for array in (np.array(values, object).reshape(3, 3), np.empty([2, 0], object)):
        came = identities.run("string", {"x": array})["y"]
        assert came.dtype == object and came.shape == array.shape
        assert came.tolist() == array.tolist()
    for value in values:
        array = np.empty([], object)
        array[()] = value
        came = identities.run("string", {"x": array})["y"]
        assert (came.dtype, came.shape, came[()]) == (object, (), value)


def test_an_output_that_cannot_be_sent(identities):
    inputs = {"x": np.ones([1], np.float32)}
    assert refused(lambda: identities.run("half", inputs)) == (
        "INVALID_ARGUMENT",
        "output y has the type DT_HALF, which cannot be sent; ask for others.",
    )
    assert list(identities.run("half", inputs, ["x"])) == ["x"]


def test_a_folder_that_is_no_saved_model(tmp_path):
    code, message = refused(lambda: LoadedModel(tmp_path / "1"))
    assert code == "INVALID_ARGUMENT"
    assert message.startswith(
        f"{tmp_path / '1'} cannot be loaded as a SavedModel ("
    ) and message.endswith("); export it again.")


@pytest.mark.parametrize(
    "file", ["saved_model.pb", "variables/variables.data-00000-of-00001", "assets/items.txt"]
)
def test_a_damaged_saved_model(servable, tmp_path, file):
    folder = shutil.copytree(servable / "1", tmp_path / "1")
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    code, message = refused(lambda: LoadedModel(folder))
    assert (
        code == "INVALID_ARGUMENT"
        and "cannot be loaded as a SavedModel" in message
        and "\n" not in message
    )


def test_replays_its_warm_up_file(recommender, servable):
    expected = sum(1 for _ in tf.data.TFRecordDataset(str(servable / "1" / WARMUP)))
    assert recommender.warm_up() == expected > 10


def test_no_warm_up_file_is_no_error(model):
    assert model.warm_up() == 0


def request_log(**inputs):
    log = prediction_log_pb2.PredictionLog()
    for name, value in inputs.items():
        log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log.SerializeToString()


def with_warm_up(toy, folder, records):
    shutil.copytree(toy / "1", folder)
    (folder / WARMUP).parent.mkdir()
    with tf.io.TFRecordWriter(str(folder / WARMUP)) as writer:
        for record in records:
            writer.write(record)
    return folder


GOOD = request_log(text=[[b"a"]])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [GOOD, request_log(txt=[[b"a"]])],
            "request 2 of {} fails (input tensor alias not found in signature: txt. ",
        ),
        (
            [prediction_log_pb2.PredictionLog(classify_log={}).SerializeToString()],
            "request 1 of {} fails (it is not a Predict request)",
        ),
        ([GOOD[:-3]], "request 1 of {} cannot be read ("),
        ([GOOD] * 1001, "{} has more than 1000 requests; leave some out."),
    ],
    ids=["fails", "kind", "damaged", "many"],
)
def test_a_warm_up_file_that_fails_the_load(toy, tmp_path, records, message):
    model = LoadedModel(with_warm_up(toy, tmp_path / "1", records))
    code, came = refused(model.warm_up)
    assert code == "INVALID_ARGUMENT" and came.startswith(message.format(tmp_path / "1" / WARMUP))
    model.close()


def test_a_warm_up_file_that_is_cut(toy, tmp_path):
    folder = with_warm_up(toy, tmp_path / "1", [GOOD])
    (folder / WARMUP).write_bytes((folder / WARMUP).read_bytes()[:-2])
    model = LoadedModel(folder)
    assert refused(model.warm_up)[1].startswith(f"{folder / WARMUP} cannot be read (")
    model.close()


def test_codes_of_http():
    # https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
    expected = {
        "NOT_FOUND": 404,
        "INVALID_ARGUMENT": 400,
        "RESOURCE_EXHAUSTED": 429,
        "UNAVAILABLE": 503,
        "DEADLINE_EXCEEDED": 504,
    }
    assert {name: StatusError(grpc.StatusCode[name], "").http for name in expected} == expected
    assert all(StatusError(code, "").http >= 200 for code in grpc.StatusCode)
