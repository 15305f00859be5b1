"""Clients for gRPC, based on the stubs of tensorflow-serving-api.

The stubs import TensorFlow, which takes some seconds and about 300 MB. `RestClient` does not import
it.
"""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfrec_attn.errors import shown

from ..protocol.statuses import StatusError
from ..protocol.tensors import fill, to_array
from .base_client import BaseClient
from .requests import SEPARATOR, Request
from .responses import ClientError, SeparatorChanged, client_error

_FIRST_PAUSE, _LONGEST_PAUSE = "0.05s", "1s"


class _Grpc(BaseClient):
    """Base class of both gRPC clients. `_module` is `grpc` or `grpc.aio`."""

    _module, _unreadable = grpc, (StatusError,)

    def __init__(
        self,
        target: str,
        model: str,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 1.0,
        retries: int = 3,
        tls: bool | str | Path | grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        max_history: int = 200,
    ):
        super().__init__(target, model, version, label, timeout, retries, max_history)
        self._metadata = tuple([(key.lower(), value) for key, value in metadata])
        self._channel = open_channel(target, tls=tls, retries=retries, aio=self._module)
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self._channel).Predict

    def _request(self, request: Request, separator: str) -> predict_pb2.PredictRequest:
        return predict_request(request, self.model, self.version, self.label, separator)

    def _call(self, message: predict_pb2.PredictRequest):
        return self._predict(message, timeout=self.timeout, metadata=self._metadata)

    def _read(self, request: Request, separator: str, response: predict_pb2.PredictResponse):
        return self._result(request.signature, lambda: read_response(request, response, separator))


class GrpcClient(_Grpc, contextlib.AbstractContextManager):
    """A client for gRPC that threads can share.

    >>> with GrpcClient("127.0.0.1:8500", "attrec") as client:
    ...     client.recommend(["i3", "i7"], k=5).items

    Args:
        target: HOST:PORT, or another address that gRPC accepts.
        model, version, label, timeout, retries, max_history: As in `BaseClient`. Defaults are a
            timeout of 1 s, 3 retries and 200 events.
        tls: None (default) for plain text, True for TLS with the default root certificates, the
            path of a PEM file with other root certificates, or `grpc.ChannelCredentials`.
        metadata: (key, value) pairs for each call, such as ("authorization", "Bearer ...").

    Raises:
        ValueError: If an argument is invalid, or the root certificates cannot be read.
    """

    def predict(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs a signature on a batch.

        Args:
            signature: Name of the signature.
            **inputs: An array for each of its inputs. Texts are str in arrays of objects.

        Returns:
            An array for each output. Texts are bytes.
        """
        message = _message(signature, inputs, self.model, self.version, self.label)
        outputs = self._sent(message).outputs
        return self._result(
            signature, lambda: {name: to_array(proto, name) for name, proto in outputs.items()}
        )

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __exit__(self, *_) -> None:
        self.close()

    def _ask_once(self, request: Request, separator: str):
        return self._read(request, separator, self._sent(self._request(request, separator)))

    def _sent(self, message: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        try:
            return self._call(message)
        except grpc.RpcError as error:
            raise rpc_error(error, self.where, self.timeout) from None


class AsyncGrpcClient(_Grpc, contextlib.AbstractAsyncContextManager):
    """A client for gRPC and asyncio: `await client.recommend(...)`.

    It takes the arguments of `GrpcClient`. Create and close it in the same running event loop. A
    call with an invalid argument raises ValueError at once. A failed call raises ClientError when
    it is awaited.
    """

    _module = grpc.aio

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def __aexit__(self, *_) -> None:
        await self.close()

    async def _ask(self, request: Request):
        with contextlib.suppress(SeparatorChanged):
            return await self._ask_once(request, self.separator)
        return await self._ask_once(request, self.separator)

    async def _ask_once(self, request: Request, separator: str):
        try:
            response = await self._call(self._request(request, separator))
        except grpc.RpcError as error:
            raise rpc_error(error, self.where, self.timeout) from None
        return self._read(request, separator, response)


def open_channel(
    target: str,
    *,
    tls: bool | str | Path | grpc.ChannelCredentials | None = None,
    retries: int = 0,
    aio=grpc,
    own_connection: bool = False,
):
    """Opens a channel. gRPC retries its calls that fail with UNAVAILABLE.

    Args:
        target, tls: As in `GrpcClient`.
        retries: Most retries of a call (default: 0).
        aio: The module `grpc` (default) or `grpc.aio`.
        own_connection: Whether the channel has a connection of its own (default: False). Otherwise
            it can share one with other channels of the process.

    Raises:
        ValueError: If the target is not an address, or the root certificates cannot be read.
    """
    # Checked here, because gRPC writes many lines to standard error about an invalid address.
    if not isinstance(target, str) or not re.fullmatch(
        r"(?!https?:)[\w.:/\[\]%@~+,-]{1,1000}", target, re.ASCII
    ):
        raise ValueError(
            f"target must be HOST:PORT, but is {shown(target)}; RestClient takes a URL."
        )
    # By default gRPC waits for 1 s after a refused connection, and fails all calls in this time.
    options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 5000)]
    if retries:
        options.append(("grpc.service_config", _service_config(retries)))
    else:
        options.append(("grpc.enable_retries", 0))
    if own_connection:
        options.append(("grpc.use_local_subchannel_pool", 1))
    if tls is None or tls is False:
        return aio.insecure_channel(target, options=options)
    return aio.secure_channel(target, _credentials(tls), options=options)


def rpc_error(error: grpc.RpcError, where: str, timeout: float) -> ClientError:
    """Makes the `ClientError` of a failed call; `where` and `timeout` are as in `client_error`."""
    return client_error(error.code().name, error.details() or "", where, timeout)


def predict_request(
    request: Request,
    model: str,
    version: int | None = None,
    label: str | None = None,
    separator: str = SEPARATOR,
) -> predict_pb2.PredictRequest:
    """Makes the protocol message of a request.

    Raises:
        ValueError: If an id contains the separator.
    """
    inputs = {}
    for name, value in request.row(separator).items():
        number = np.int32 if isinstance(value, int) else np.float32
        inputs[name] = np.array([value], object if isinstance(value, str) else number)
    return _message(request.signature, inputs, model, version, label)


def read_response(
    request: Request, response: predict_pb2.PredictResponse, separator: str = SEPARATOR
):
    """Reads the response to a request, as `Request.response` does.

    Raises:
        SeparatorChanged: If the model joins ids by another separator.
        KeyError, IndexError, ValueError, TypeError, StatusError: If the response does not fit the
            request.
    """
    outputs = {name: _value(proto, name) for name, proto in response.outputs.items()}
    return request.response(outputs, separator)


def _message(
    signature: str,
    inputs: Mapping[str, np.ndarray],
    model: str,
    version: int | None,
    label: str | None,
) -> predict_pb2.PredictRequest:
    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = model, signature
    if version is not None:
        message.model_spec.version.value = version
    if label is not None:
        message.model_spec.version_label = label
    for name, array in inputs.items():
        if array.dtype.hasobject:
            texts = [text.encode() for text in array.ravel()]
            array = np.array(texts, object).reshape(array.shape)
        fill(message.inputs[name], array)
    return message


def _value(proto, name):
    value = to_array(proto, name).tolist()[0]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [one.decode() for one in value]
    return value


def _service_config(retries):
    policy = {
        "maxAttempts": retries + 1,
        "initialBackoff": _FIRST_PAUSE,
        "maxBackoff": _LONGEST_PAUSE,
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})


def _credentials(tls):
    if isinstance(tls, grpc.ChannelCredentials):
        return tls
    if tls is True:
        return grpc.ssl_channel_credentials()
    try:
        return grpc.ssl_channel_credentials(Path(tls).read_bytes())
    except OSError as error:
        raise ValueError(
            f"tls must be a file of root certificates, but {tls} cannot be read: {error.strerror}."
        ) from None
