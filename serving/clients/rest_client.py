"""A client for REST, without TensorFlow and gRPC."""

import contextlib
import http.client
import json
import random
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3

from tfrec_attn.errors import shown

from .base_client import BaseClient
from .requests import Request
from .responses import ClientError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_CONNECTIONS = 256  # that stay open
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_random = random.SystemRandom()


class RestClient(BaseClient, contextlib.AbstractContextManager):
    """A client for REST that threads can share. It imports neither TensorFlow nor gRPC.

    >>> with RestClient("http://127.0.0.1:8501", "attrec") as client:
    ...     client.recommend(["i3", "i7"], k=5).items

    Args:
        url: http://HOST:PORT or https://HOST:PORT, followed by a path if a proxy needs one.
        model, version, label, timeout, retries, max_history: As in `BaseClient`. Defaults are a
            timeout of 1 s, 3 retries and 200 events.
        tls: For https: None (default) for the root certificates of the system, the path of a PEM
            file with other root certificates, or an `ssl.SSLContext`.
        metadata: (name, value) pairs, the HTTP headers of each call.

    Raises:
        ValueError: If an argument is invalid, or the root certificates cannot be read.
    """

    def __init__(
        self,
        url: str,
        model: str,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 1.0,
        retries: int = 3,
        tls: str | Path | ssl.SSLContext | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        max_history: int = 200,
    ):
        super().__init__(url, model, version, label, timeout, retries, max_history)
        parts = _parse(url)
        secure = {"ssl_context": _ssl_context(tls)} if parts.scheme == "https" else {}
        self._pool = urllib3.connection_from_url(url, maxsize=_CONNECTIONS, **secure)
        self._path = f"{(parts.path or '').rstrip('/')}/v1/models/{quote(model, safe='')}"
        if version is not None:
            self._path += f"/versions/{version}"
        elif label is not None:
            self._path += f"/labels/{quote(label, safe='')}"
        self._path += ":predict"
        self._headers = {**dict(metadata), "Content-Type": "application/json"}

    def predict(self, signature: str, **inputs: Any) -> dict[str, Any]:
        """Runs a signature on a batch.

        Args:
            signature: Name of the signature.
            **inputs: An array for each of its inputs. Texts are str in arrays of objects.

        Returns:
            An array for each output. Texts are str. A single output, which the REST API does not
            name, is called "outputs".
        """
        import numpy as np

        columns = {name: array.tolist() for name, array in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": columns}).encode()
        response = self._sent(body)

        def read():
            outputs = json.loads(response)["outputs"]
            outputs = outputs if isinstance(outputs, dict) else {"outputs": outputs}
            arrays = {name: np.array(values) for name, values in outputs.items()}
            return {
                name: one.astype(object) if one.dtype.kind == "U" else one
                for name, one in arrays.items()
            }

        return self._result(signature, read)

    def close(self) -> None:
        """Closes the connections."""
        self._pool.close()

    def __exit__(self, *_) -> None:
        self.close()

    def _ask_once(self, request: Request, separator: str):
        document = {"signature_name": request.signature, "instances": [request.row(separator)]}
        response = self._sent(json.dumps(document, ensure_ascii=False).encode())

        def read():
            return request.response({**json.loads(response)["predictions"][0]}, separator)

        return self._result(request.signature, read)

    def _sent(self, body: bytes) -> bytes:
        """Sends a request, again while the server is unavailable, and returns the response."""
        deadline = time.monotonic() + self.timeout
        # urllib3 can retry too, but without a deadline for all attempts.
        pauses = [
            min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE) * _random.uniform(0.8, 1.2)
            for attempt in range(self.retries)
        ]
        while True:
            try:
                return self._answer(body, deadline)
            except ClientError as error:
                if (
                    error.status != "UNAVAILABLE"
                    or not pauses
                    or time.monotonic() + pauses[0] >= deadline
                ):
                    raise
            time.sleep(pauses.pop(0))

    def _answer(self, body: bytes, deadline: float) -> bytes:
        try:
            status, answer = self._exchange(body, deadline)
        except urllib3.exceptions.HTTPError as error:
            raise self._error(*_status_of(error)) from None
        if status == 200:
            return answer
        raise self._error(_STATUSES.get(status, "UNKNOWN"), _message(answer) or f"HTTP {status}")

    def _exchange(self, body: bytes, deadline: float) -> tuple[int, bytes]:
        """Sends a request, again if an idle connection was closed: (status, body)."""
        while True:
            opened = self._pool.num_connections
            try:
                return self._send(body, deadline)
            except urllib3.exceptions.ProtocolError:
                # The server can close an idle connection at the moment of its next use.
                if self._pool.num_connections > opened:
                    raise

    def _send(self, body: bytes, deadline: float) -> tuple[int, bytes]:
        response = self._pool.urlopen(
            "POST",
            self._path,
            body,
            self._headers,
            retries=False,
            redirect=False,
            timeout=urllib3.Timeout(total=_left(deadline)),
            preload_content=False,
        )
        try:
            parts = []
            # urllib3 applies its timeout to each read, not to the whole body.
            while part := response.read1(1 << 16):
                parts.append(part)
                _left(deadline)
        except BaseException:
            response.close()
            raise
        return response.status, b"".join(parts)


def _parse(url) -> urllib3.util.Url:
    try:
        parts = urllib3.util.parse_url(url)
    except (ValueError, AttributeError, TypeError):
        parts = urllib3.util.Url()
    if not parts.host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ValueError(f"url must be http://HOST:PORT or https://HOST:PORT, but is {shown(url)}.")
    return parts


def _ssl_context(tls):
    if isinstance(tls, ssl.SSLContext):
        return tls
    try:
        return ssl.create_default_context(cafile=tls)
    except OSError as error:
        raise ValueError(
            f"tls must be a file of root certificates, but {tls} cannot be used: "
            f"{error.strerror or error}."
        ) from None


def _left(deadline):
    left = deadline - time.monotonic()
    if left <= 0:
        raise urllib3.exceptions.TimeoutError
    return left


def _status_of(error: urllib3.exceptions.HTTPError) -> tuple[str, str]:
    """(gRPC status, description) of an error of urllib3."""
    cause = error.__cause__ or (error.args or [error])[-1]
    new = isinstance(error, urllib3.exceptions.NewConnectionError)
    if isinstance(error, urllib3.exceptions.TimeoutError) and not new:
        return "DEADLINE_EXCEEDED", "time is up"
    if isinstance(cause, http.client.IncompleteRead):
        return "UNAVAILABLE", "the response was cut off"
    if isinstance(cause, http.client.HTTPException) and not isinstance(cause, OSError):
        return "INTERNAL", f"no HTTP, {type(cause).__name__}"
    return "UNAVAILABLE", getattr(cause, "strerror", None) or str(cause)


def _message(body):
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return ""
