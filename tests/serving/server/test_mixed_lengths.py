"""Requests of all lengths at the same time: each gets the response that it gets alone."""

import random
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.local_server import LocalServer
from serving.server.batching import BatchOptions
from serving.server.model_config import ModelConfig
from serving.server.model_store import ModelStore
from serving.server.server_metrics import ServerMetrics

SECONDS, REQUESTS, CLIENTS = 60, 288, 24


def histories(run):
    items = (run / "vocabulary" / "items.txt").read_text(encoding="utf-8").split("\n")[:-1]
    draw = random.Random(5)
    return [draw.choices([*items, "unheard of"], k=draw.randint(1, 30)) for _ in range(REQUESTS)]


def inputs_of(history, number, joined):
    """Inputs of one row, without padding."""
    lists = {
        "history": history,
        "exclude": history[:1],
        "allow": history[: number % 3 * 5 + 1] if number % 4 == 0 else [""],
    }
    lists = {name: ["\t".join(ids)] if joined else [ids] for name, ids in lists.items()}
    return {"user_id": [""], **lists, "k": np.array([1 + number % 9], np.int32)}


@pytest.fixture(scope="module")
def observed(servable):
    """(address of a server that batches, signature and rows of its batches)."""
    batches = []
    batching = BatchOptions(max_batch_size=32, batch_timeout=0.005, max_enqueued_batches=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServerMetrics, "batched", lambda _, __, *batch: batches.append(batch))
        store = ModelStore([ModelConfig("sasrec", servable)], batching=batching, poll=3600)
        server = LocalServer(store, port=0, rest_port=None)
        server.start()
        yield f"127.0.0.1:{server.grpc_port}", batches
        server.stop(grace=5)


@pytest.mark.parametrize("signature", ["recommend", "recommend_joined"])
def test_every_answer_under_load_is_that_of_the_request_alone(observed, servable, run, signature):
    from tfrec_attn.runtime.runner import Runner

    target, batches = observed
    asked = [
        inputs_of(history, number, signature == "recommend_joined")
        for number, history in enumerate(histories(run))
    ]
    with Runner(servable) as session:
        expected = [session.run(signature, **inputs) for inputs in asked]
    with grpc.insecure_channel(target) as channel, ThreadPoolExecutor(CLIENTS) as pool:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def ask(inputs):
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = "sasrec", signature
            for name, values in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
            return {
                name: tf.make_ndarray(proto)
                for name, proto in stub.Predict(request, timeout=SECONDS).outputs.items()
            }

        answers = list(pool.map(ask, asked))
    for inputs, answer, alone in zip(asked, answers, expected, strict=True):
        k = alone["items"].shape[1]
        assert answer["items"][0, :k].tolist() == alone["items"][0].tolist(), inputs
        np.testing.assert_allclose(
            answer["scores"][0, :k], alone["scores"][0], rtol=1e-5, atol=1e-6
        )
        assert not answer["items"][0, k:].any()
        assert (answer["k"], answer["source"]) == (alone["k"], alone["source"])
    rows = [count for name, count in batches if name == signature]
    assert sum(rows) == REQUESTS
    # Any two joined requests can share a batch; other requests only if they have the same
    # width.
    assert signature == "recommend" or len(rows) < REQUESTS / 2
