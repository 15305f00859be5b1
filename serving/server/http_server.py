"""An HTTP/1.1 server on uvicorn: one thread reads the requests, many threads process them."""

import asyncio
import contextlib
import dataclasses
import functools
import logging
import socket
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from ..protocol.rest_json import error_body
from ..protocol.statuses import StatusError
from .graceful_stop import InFlight
from .http_checks import LOOPBACK, HttpError, Limits, check_headers, too_large
from .http_connection import Connection

_BACKLOG = 128
_LINGER = 2.0
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Response:
    """A response.

    Attributes:
        status: HTTP status.
        body: Body in bytes.
        kind: Content-Type of the body (default: "application/json").
        headers: (name, value) pairs of further headers.
    """

    status: int
    body: bytes
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Respond = Callable[[str, str, bytes], Response]


class HttpServer:
    """Serves the responses of a function, over persistent connections.

    Args:
        host: Address to listen on.
        port: Port. 0 takes a free one.
        respond: Function from (method, path without query, body) to a `Response`. Many threads call
            it. An exception becomes the status 500.
        limits: Limits on clients. None (default): `Limits()`.
        allowed_hosts: Host names that requests may have, besides those of loopback and `host`.

    Attributes:
        port: Port of the server.

    Raises:
        OSError: If the port is in use or the address is not of this machine.
    """

    def __init__(
        self,
        host: str,
        port: int,
        respond: Respond,
        limits: Limits | None = None,
        allowed_hosts: Collection[str] = (),
    ):
        self._respond, self._limits = respond, limits or Limits()
        self._hosts = _names(host, allowed_hosts)
        self._socket = _listening(host, port)
        self.port = self._socket.getsockname()[1]
        self._in_flight = InFlight()
        self._pool = ThreadPoolExecutor(self._limits.connections, thread_name_prefix="http")
        config = uvicorn.Config(
            self._handle,
            http=functools.partial(Connection, {}, self._limits),
            loop="asyncio",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=self._limits.idle_seconds,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts to accept requests, in another thread."""
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="http", daemon=True
        )
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            time.sleep(0.001)

    def stop(self, grace: float = 5.0) -> bool:
        """Completes the requests in flight, rejects new requests with 503, and stops.

        Args:
            grace: Most seconds to wait for the requests in flight (default: 5).

        Returns:
            Whether all requests in flight were completed in this time.
        """
        self._in_flight.close()
        answered = self._in_flight.wait(grace)
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._socket.close()
        self._pool.shutdown(wait=False)
        return answered

    async def _serve(self) -> None:
        await self._server.serve(sockets=[self._socket])
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    async def _handle(self, scope, receive, send) -> None:
        """The ASGI application."""
        try:
            self._in_flight.enter()
        except StatusError as error:
            await _refuse(HttpError(error.http, error.message), receive, send)
            return
        try:
            await self._answer(scope, receive, send)
        finally:
            self._in_flight.leave()

    async def _answer(self, scope, receive, send) -> None:
        limit = self._limits.body
        try:
            check_headers(scope["headers"], scope["http_version"], limit, self._hosts)
            body = await _read(receive, limit)
        except HttpError as error:
            await _refuse(error, receive, send)
            return
        if body is not None:
            path = scope["raw_path"].decode("ascii")
            run = asyncio.get_running_loop().run_in_executor
            response = await run(self._pool, self._run, scope["method"], path, body)
            await send(_start(response))
            await send({"type": "http.response.body", "body": response.body})

    def _run(self, method: str, path: str, body: bytes) -> Response:
        try:
            return self._respond(method, path, body)
        except Exception:
            _log.exception("A request could not be answered.")
            return Response(500, error_body("The server failed to answer; its log says why."))


async def _read(receive, limit: int) -> bytes | None:
    """The body of a request; None if the client has disconnected.

    Raises:
        HttpError: 413 if the body is too large.
    """
    body = bytearray()
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if len(body) > limit:
            raise too_large(limit)
        if not message["more_body"]:
            return bytes(body)
    return None


async def _refuse(error: HttpError, receive, send) -> None:
    """Sends an error as the last response of a connection, to a request whose body is not read.

    Closing a connection with unread bytes resets it, so that the client may not see the response.
    So the server keeps reading for `_LINGER` seconds.
    """
    response = Response(error.status, error_body(error.message), headers=(("Connection", "close"),))
    await send(_start(response))
    await send({"type": "http.response.body", "body": response.body, "more_body": True})

    async def discard():
        more = True
        while more:
            message = await receive()
            more = message["type"] == "http.request" and message["more_body"]

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(discard(), _LINGER)
    await send({"type": "http.response.body"})


def _start(response: Response) -> dict:
    headers = [
        (b"content-type", response.kind.encode()),
        (b"content-length", str(len(response.body)).encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    headers += [(name.encode(), value.encode()) for name, value in response.headers]
    return {"type": "http.response.start", "status": response.status, "headers": headers}


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError:
        raise OSError(
            f"{host}:{port} cannot be listened on: it is in use or not of this machine; "
            "choose another."
        ) from None


def _names(host: str, allowed: Collection[str]) -> frozenset[str]:
    own = f"[{host}]" if ":" in host else host
    # 0.0.0.0 and :: stand for all addresses and are not host names.
    mine = () if own in ("0.0.0.0", "[::]") else (own,)  # noqa: S104
    return LOOPBACK | {name.lower() for name in (*mine, *allowed)}
