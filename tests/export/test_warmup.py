"""Tests of warm-up files, read with the messages of TF Serving and run by their models."""

import contextlib
import types

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from export.warmup import FILE, write_warmup
from tests.models.contract import EXPORTED
from tfrec_attn.errors import ConfigError
from tfrec_attn.runtime.saved_model import Tensor

LENGTH, MAX_K = 4, 9


def read(folder):
    """Signature -> arrays of each of its requests."""
    requests = {}
    for record in tf.data.TFRecordDataset(str(folder / FILE)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "shop"
        assert not request.model_spec.HasField("version")
        arrays = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        requests.setdefault(request.model_spec.signature_name, []).append(arrays)
    return requests


def lists(array):
    """Histories without padding; it must be on the left, in one column or more."""
    if array.ndim == 1:
        rows = [text.decode().split("\t") if text else [] for text in array]
        assert not any("" in row for row in rows)
        return rows
    rows = [[one.decode() for one in row] for row in array]
    for row in rows:
        assert row[0] == "" and "" not in row[row.count("") :]
    return [[one for one in row if one] for row in rows]


@pytest.fixture(scope="module")
def warmed(served):
    """Name of a model -> (its runner, number of requests, requests)."""
    result = {}
    for name in EXPORTED:
        runner = served(name)[2]
        number = write_warmup(runner.path, name="shop", max_length=LENGTH, max_k=MAX_K)
        result[name] = runner, number, read(runner.path)
    return result


@pytest.mark.parametrize("name", EXPORTED)
def test_the_model_answers_every_request(warmed, name):
    runner, number, requests = warmed[name]
    assert set(requests) == set(runner.signatures)
    assert sum(map(len, requests.values())) == number <= 150
    for signature, each in requests.items():
        for arrays in each:
            assert {key: array.dtype for key, array in arrays.items()} == {
                key: tensor.dtype.as_numpy_dtype
                for key, tensor in runner.signatures[signature][0].items()
            }
            for values in runner.run(signature, **arrays).values():
                assert len(values) == len(next(iter(arrays.values())))


@pytest.mark.parametrize("name", EXPORTED)
def test_histories_of_every_length(warmed, served, name):
    # Of 12 items the last is the most popular; max_k is 8.
    popular = served(name)[0].item_vocabulary.ids()[:3:-1]
    for signature, each in warmed[name][2].items():
        if signature in ("embed_items", "similar"):
            counts = {len(arrays["item"]) for arrays in each}
            assert counts == {1, 8}
            continue
        lengths, batches = set(), set()
        for arrays in each:
            if not signature.endswith("_joined"):
                assert arrays["history"].shape[1] == LENGTH + 1
            batches.add(len(arrays["user_id"]))
            assert set(arrays["user_id"]) == {b""}
            for row in lists(arrays["history"]):
                lengths.add(len(row))
                assert row == popular[: len(row)]
        assert {0, 1, LENGTH} <= lengths
        assert batches == {1, 8}


@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.parametrize("signature", ["recommend", "recommend_joined"])
def test_requests_of_recommend_have_several_k_and_an_allow_list(warmed, name, signature):
    requests = warmed[name][2][signature]
    assert {k for arrays in requests for k in arrays["k"]} == {1, MAX_K}
    assert sum(bool(arrays["allow"].any()) for arrays in requests) == 1
    assert all(arrays["exclude"].all() for arrays in requests)


def test_lengths_and_k_of_a_larger_model(tmp_path, monkeypatch):
    inputs = {
        "k": Tensor(tf.int32, (None,)),
        "history": Tensor(tf.string, (None, None)),
    }
    asked = []

    def record(signature, k, history):
        asked.append((len(k), int(k[0]), [len(row) for row in lists(history.astype("S"))]))

    runner = types.SimpleNamespace(signatures={"recommend": (inputs, {})}, run=record)
    monkeypatch.setattr("export.warmup.Runner", lambda *_, **__: contextlib.nullcontext(runner))
    monkeypatch.setattr(
        "export.warmup.popular_items",
        lambda runner, count: ([f"i{item}" for item in range(count)], "\t"),
    )
    assert write_warmup(tmp_path, name="shop", max_length=60, max_k=100) == len(asked) == 17
    alone = [(k, lengths[0]) for batch, k, lengths in asked if batch == 1]
    assert alone == [
        *((k, length) for length in (1, 5, 20, 50, 60) for k in (1, 10, 100)),
        (100, 0),
    ]
    assert (8, 100, [1, 8, 16, 23, 31, 38, 46, 53]) in asked


def test_a_request_that_fails_leaves_no_file(tmp_path, monkeypatch):
    class Failing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def serve(self, item):
            with tf.control_dependencies(
                [tf.debugging.assert_equal(tf.size(item), 1, message="one item only")]
            ):
                return {"item": tf.identity(item)}

    module = Failing()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.serve})
    monkeypatch.setattr("export.warmup.popular_items", lambda runner, count: (["i1", "i2"], "\t"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="one item only"):
        write_warmup(tmp_path / "1", name="shop", max_length=LENGTH, max_k=MAX_K)
    assert not (tmp_path / "1" / FILE).exists()


def test_folder_without_a_servable(tmp_path):
    with pytest.raises(ConfigError, match="is not a SavedModel"):
        write_warmup(tmp_path, name="shop", max_length=LENGTH, max_k=MAX_K)
