"""Warm-up files: read with the messages of TF Serving, and answered by the models that they are for."""

import contextlib
import types

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from export.replay import COLUMNS
from export.session import ServableError
from export.warmup import FILE, write_warmup
from tfrec_attn import models

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
    """Histories without padding, which must be on the left and at least one column."""
    rows = [[one.decode() for one in row] for row in array]
    for row in rows:
        assert row[0] == "" and "" not in row[row.count("") :]
    return [[one for one in row if one] for row in rows]


@pytest.fixture(scope="module")
def events(make_model):
    """Twelve events with histories of 1 to 12 items of a tiny model, in no order of length."""
    model = make_model("attrec")
    items, users = model.item_vocabulary.ids(), model.user_vocabulary.ids()
    lengths = np.random.default_rng(0).permutation(12) + 1
    return [(users[row % 6], items[:length], items[row % 12]) for row, length in enumerate(lengths)]


@pytest.fixture(scope="module")
def warmed(served, events, tmp_path_factory):
    """Name of a model -> (its session, number of requests, requests)."""
    folder = tmp_path_factory.mktemp("run")
    pl.DataFrame(events, schema=COLUMNS, orient="row").write_parquet(folder / "test.parquet")
    result = {}
    for name in models.names():
        session = served(name)[2]
        number = write_warmup(session.path, folder, name="shop", max_length=LENGTH, max_k=MAX_K)
        result[name] = session, number, read(session.path)
    return result


@pytest.mark.parametrize("name", models.names())
def test_the_model_answers_every_request(warmed, name):
    session, number, requests = warmed[name]
    assert set(requests) == set(session.signatures)
    assert sum(map(len, requests.values())) == number <= 60
    for signature, each in requests.items():
        for arrays in each:
            assert {key: array.dtype for key, array in arrays.items()} == {
                key: tensor.dtype.as_numpy_dtype for key, tensor in session.signatures[signature][0].items()
            }
            for values in session.run(signature, **arrays).values():
                assert len(values) == len(next(iter(arrays.values())))


@pytest.mark.parametrize("name", models.names())
def test_histories_of_every_length(warmed, events, name):
    known = [(user, items) for user, items, _ in events]
    for signature, each in warmed[name][2].items():
        if signature == "embed_items":
            assert sorted(len(arrays["item"]) for arrays in each) == [1, 1, 8]
            continue
        lengths, batches = set(), set()
        for arrays in each:
            assert arrays["history"].shape[1] == LENGTH + 1
            batches.add(len(arrays["user_id"]))
            for user, row in zip(arrays["user_id"], lists(arrays["history"]), strict=True):
                lengths.add(len(row))
                # The latest items of a real history; the stranger has no name.
                assert any((user.decode(), row) == (one, items[-len(row) :]) for one, items in known) or (user, row) == (b"", [])
        assert {0, 1, LENGTH} <= lengths
        assert batches == {1, 8}


@pytest.mark.parametrize("name", models.names())
def test_recommend_is_asked_for_several_k_and_for_some_items_only(warmed, name):
    requests = warmed[name][2]["recommend"]
    assert {k for arrays in requests for k in arrays["k"]} == {1, MAX_K}
    assert sum(bool(arrays["allow"].any()) for arrays in requests) == 1
    assert all(arrays["exclude"].all() for arrays in requests)


def test_lengths_and_k_of_a_larger_model(tmp_path, monkeypatch):
    rows = [("u", [f"i{item}" for item in range(length)], "i0") for length in (3, 70, 8)]
    pl.DataFrame(rows, schema=COLUMNS, orient="row").write_parquet(tmp_path / "test.parquet")
    inputs = {"k": types.SimpleNamespace(dtype=tf.int32), "history": types.SimpleNamespace(dtype=tf.string)}
    asked = []

    def record(signature, k, history):
        asked.append((len(k), int(k[0]), [len(row) for row in lists(history.astype("S"))]))

    session = types.SimpleNamespace(signatures={"recommend": (inputs, {})}, run=record)
    monkeypatch.setattr("export.warmup.Session", lambda path: contextlib.nullcontext(session))
    assert write_warmup(tmp_path, tmp_path, name="shop", max_length=60, max_k=100) == len(asked) == 17
    alone = [(k, lengths[0]) for batch, k, lengths in asked if batch == 1]
    assert alone == [*((k, length) for length in (1, 5, 20, 50, 60) for k in (1, 10, 100)), (100, 0)]
    assert (3, 100, [3, 60, 8]) in asked


def test_a_request_that_fails_leaves_no_file(events, tmp_path):
    class Failing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def serve(self, item):
            with tf.control_dependencies([tf.debugging.assert_equal(tf.size(item), 1, message="one item only")]):
                return {"item": tf.identity(item)}

    module = Failing()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.serve})
    pl.DataFrame(events, schema=COLUMNS, orient="row").write_parquet(tmp_path / "test.parquet")
    with pytest.raises(tf.errors.InvalidArgumentError, match="one item only"):
        write_warmup(tmp_path / "1", tmp_path, name="shop", max_length=LENGTH, max_k=MAX_K)
    assert not (tmp_path / "1" / FILE).exists()


def test_a_run_without_its_events(served, tmp_path):
    with pytest.raises(ServableError, match=r"has no test\.parquet"):
        write_warmup(served("attrec")[2].path, tmp_path, name="shop", max_length=LENGTH, max_k=MAX_K)
