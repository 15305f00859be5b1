"""Requests of many rows, over gRPC and over REST."""

import contextlib
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import grpc
import numpy as np
import urllib3
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfrec_attn.replay.event_ranking import Predict

from ..protocol.tensors import fill, to_array
from .grpc_client import open_channel, rpc_error
from .responses import client_error

TIMEOUT = 60.0


@contextlib.contextmanager
def over_grpc(target: str, model: str) -> Iterator[Predict]:
    """Opens a connection to HOST:PORT, and returns a function that runs signatures of a model.

    The function raises ClientError if a request is not answered.
    """
    channel = open_channel(target)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def predict(signature, **inputs):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        for name, array in inputs.items():
            fill(request.inputs[name], _encoded(array))
        try:
            response = stub.Predict(request, timeout=TIMEOUT)
        except grpc.RpcError as error:
            raise rpc_error(error, target, TIMEOUT) from None
        return {name: to_array(proto, name) for name, proto in response.outputs.items()}

    try:
        yield predict
    finally:
        channel.close()


@contextlib.contextmanager
def over_rest(url: str, model: str) -> Iterator[Predict]:
    """Returns a function that runs signatures of a model at http://HOST:PORT, with columns.

    The function raises ClientError if a request is not answered.

    Raises:
        ValueError: If the URL is invalid.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.netloc:
        raise ValueError(f"--rest must be http://HOST:PORT, but is {url!r}.")
    where = f"{url.rstrip('/')}/v1/models/{quote(model, safe='')}:predict"

    def predict(signature, **inputs):
        columns = {name: array.tolist() for name, array in inputs.items()}
        try:
            response = pool.request(
                "POST", where, json={"signature_name": signature, "inputs": columns}
            )
            found = response.json()
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise client_error("UNAVAILABLE", str(error), url, TIMEOUT) from None
        if response.status != 200:
            raise client_error(f"HTTP {response.status}", str(found.get("error", "")), url, TIMEOUT)
        arrays = {name: np.array(values) for name, values in found["outputs"].items()}
        return {
            name: one.astype(object) if one.dtype.kind == "U" else one
            for name, one in arrays.items()
        }

    with urllib3.PoolManager(timeout=TIMEOUT, retries=False) as pool:
        yield predict


def _encoded(array):
    if array.dtype.kind != "O":
        return array
    texts = [text.encode() for text in array.ravel()]
    return np.array([*texts, None], object)[:-1].reshape(array.shape)
