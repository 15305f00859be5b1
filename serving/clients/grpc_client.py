"""Clients for gRPC, on the stock stubs of tensorflow-serving-api.

The stubs import all of TensorFlow, which takes some seconds and 300 MB or so; where that is too
much, `RestClient` asks the same.
"""

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from ..cli.arguments import shown
from ..protocol.statuses import StatusError
from ..protocol.tensors import fill, fill_texts, to_array
from .base_client import BaseClient
from .requests import SEPARATOR, Request
from .responses import ClientError, SeparatorChanged, client_error

_FIRST_PAUSE, _LONGEST_PAUSE = "0.05s", "1s"


class _Grpc(BaseClient):
    """What the two clients share; `_module` opens their channels."""

    _module = grpc

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

    def _call(self, query: Request, separator: str):
        request = predict_request(query, self.model, self.version, self.label, separator)
        return self._predict(request, timeout=self.timeout, metadata=self._metadata)

    def _error(self, error: grpc.RpcError) -> ClientError:
        return client_error(error.code().name, error.details() or "", self.where, self.timeout)

    def _read(self, query: Request, separator: str, response: predict_pb2.PredictResponse):
        try:
            return read_response(query, response, separator)
        except SeparatorChanged as error:
            self.separator = error.separator
            raise
        except (KeyError, IndexError, ValueError, TypeError, StatusError):
            raise ClientError(
                "INTERNAL",
                f"{self.where} answered {query.signature} with something else; serve a model that python -m tfrec_attn.export has written.",
            ) from None


class GrpcClient(_Grpc):
    """Asks a server over gRPC; threads may share one.

    >>> with GrpcClient("127.0.0.1:8500", "attrec") as client:
    ...     client.recommend(["i3", "i7"], k=5).items

    Args:
        target: HOST:PORT, or another address that gRPC knows.
        model, version, label, timeout, retries, max_history: As `BaseClient` says.
        tls: None for plain text, True for TLS by the roots of gRPC, a path of other roots in PEM,
            or `grpc.ChannelCredentials`.
        metadata: (key, value) pairs that go with every call, such as ("authorization", "Bearer
            ...").

    Raises:
        FIXME as `BaseClient`
        ValueError: Also for a file of roots that cannot be read.
    """

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> "GrpcClient":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _ask(self, query: Request):
        with contextlib.suppress(SeparatorChanged):
            return self._ask_once(query, self.separator)
        return self._ask_once(query, self.separator)

    def _ask_once(self, query: Request, separator: str):
        try:
            response = self._call(query, separator)
        except grpc.RpcError as error:
            raise self._error(error) from None
        return self._read(query, separator, response)


class AsyncGrpcClient(_Grpc):
    """Asks a server over gRPC from asyncio: `await client.recommend(...)`; made and closed in one
    running event loop.

    Args:
        Those of `GrpcClient`.

    Raises:
        FIXME those of `GrpcClient`; of an argument of a call at once, of the call when it is
            awaited.
    """

    _module = grpc.aio

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def __aenter__(self) -> "AsyncGrpcClient":
        return self

    async def __aexit__(self, *_) -> None:
        await self.close()

    async def _ask(self, query: Request):
        with contextlib.suppress(SeparatorChanged):
            return await self._ask_once(query, self.separator)
        return await self._ask_once(query, self.separator)

    async def _ask_once(self, query: Request, separator: str):
        try:
            response = await self._call(query, separator)
        except grpc.RpcError as error:
            raise self._error(error) from None
        return self._read(query, separator, response)


def open_channel(
    target: str, *, tls=None, retries: int = 0, aio=grpc, own_connection: bool = False
):
    """A channel, of which gRPC itself repeats calls that end UNAVAILABLE.

    Args:
        target, tls: As of `GrpcClient`.
        retries: Of a call.
        aio: The module `grpc` or `grpc.aio`.
        own_connection: Shared with no other channel of the process.

    Raises:
        ValueError: If the target is no address, or the file of roots cannot be read.
    """
    # gRPC writes pages about what is no address to the standard error output.
    if not isinstance(target, str) or not re.fullmatch(
        r"(?!https?:)[\w.:/\[\]%@~+,-]{1,1000}", target, re.ASCII
    ):
        raise ValueError(
            f"target must be HOST:PORT, but is {shown(target)}; RestClient takes a URL."
        )
    # Without the first, a channel that was refused once fails every call of the next second without
    # trying.
    options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 5000)]
    options += (
        [("grpc.service_config", _service_config(retries))]
        if retries
        else [("grpc.enable_retries", 0)]
    )
    options += [("grpc.use_local_subchannel_pool", 1)] if own_connection else []
    if tls is None or tls is False:
        return aio.insecure_channel(target, options=options)
    return aio.secure_channel(target, _credentials(tls), options=options)


def predict_request(
    query: Request,
    model: str,
    version: int | None = None,
    label: str | None = None,
    separator: str = SEPARATOR,
) -> predict_pb2.PredictRequest:
    """The request of one row.

    Raises:
        ValueError: An id has the separator.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, query.signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for name, value in query.row(separator).items():
        if isinstance(value, int):
            fill(request.inputs[name], np.array([value], np.int32))
        else:
            fill_texts(request.inputs[name], [value], [1])
    return request


def read_response(
    query: Request, response: predict_pb2.PredictResponse, separator: str = SEPARATOR
):
    """What a query makes of a response to ids joined by a separator.

    Raises:
        SeparatorChanged: The model joins ids by another.
        KeyError: It is not a response to this query; so also IndexError, ValueError, TypeError and
            StatusError.
    """
    return query.answer(
        {name: _value(proto, name) for name, proto in response.outputs.items()}, separator
    )


def _value(proto, name):
    value = to_array(proto, name).tolist()[0]
    if isinstance(value, bytes):
        return value.decode()
    return (
        [one.decode() for one in value]
        if isinstance(value, list) and value and isinstance(value[0], bytes)
        else value
    )


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
