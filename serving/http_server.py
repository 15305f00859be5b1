"""HTTP/1.1 on threads, bounded in all that a client can ask for."""

import contextlib
import dataclasses
import io
import json
import logging
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from serving.http_body import BodyError, DeadlineReader, check_headers, read_body

_LONGEST_LINE = 65536
_LINGER = 2.0
_ABSOLUTE = re.compile(r"^https?://[^/]*", re.IGNORECASE)
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one client may take.

    Args:
      body: most bytes of a request's body.
      connections: at once; further ones take the place of one that is idle, or are refused with 503.
      request_seconds: in which a request has to come, from its first byte, and its answer has to go.
      idle_seconds: after which a connection without requests is closed.
    """

    body: int = 16 << 20
    connections: int = 64
    request_seconds: float = 10.0
    idle_seconds: float = 60.0


@dataclasses.dataclass(frozen=True)
class Response:
    """What a client gets: the HTTP status, the body, its Content-Type, and further headers."""

    status: int
    body: bytes
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class HttpServer:
    """Answers requests with one function, connections kept open between them.

    Args:
      host: address to listen on.
      port: 0 takes a free one.
      respond: (method, path without query, body) -> `Response`; called on many threads. What it raises becomes a 500.
      limits: on clients.

    Attributes:
      port: that it listens on.

    Errors: OSError where the port is taken.
    """

    def __init__(self, host: str, port: int, respond: Callable[[str, str, bytes], Response], limits: Limits | None = None):
        try:
            self._server = _Server((host, port), _Handler, respond, limits or Limits())
        except OSError:
            raise OSError(f"{host}:{port} cannot be listened on: it is in use or not of this machine; choose another.") from None
        self._thread = None
        self.port = self._server.server_address[1]

    def start(self) -> None:
        """Begins to answer."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="http-accept", daemon=True)
        self._thread.start()

    def stop(self, grace: float = 5.0) -> None:
        """Takes no more connections, closes idle ones, and waits up to `grace` seconds for requests that are being answered."""
        if self._thread:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()
        self._server.connections.finish(grace)


class _Connections:
    """The open connections, and which of them wait for a request."""

    def __init__(self, most):
        self._most, self._changed = most, threading.Condition()
        self._open, self._idle = set(), {}
        self.stopping = False

    def enter(self, connection):
        """Whether there is room, be it by closing the connection that is idle for longest."""
        with self._changed:
            if len(self._open) >= self._most and self._idle:
                _shut(next(iter(self._idle)), socket.SHUT_RD)
                self._changed.wait_for(lambda: len(self._open) < self._most, timeout=1)
            if len(self._open) >= self._most:
                return False
            self._open.add(connection)
            return True

    def leave(self, connection):
        with self._changed:
            self._open.discard(connection)
            self._idle.pop(connection, None)
            self._changed.notify_all()

    @contextlib.contextmanager
    def idle(self, connection):
        with self._changed:
            self._idle[connection] = None
            if self.stopping:
                _shut(connection, socket.SHUT_RD)
        try:
            yield
        finally:
            with self._changed:
                self._idle.pop(connection, None)

    def finish(self, grace):
        with self._changed:
            self.stopping = True
            for connection in self._idle:
                _shut(connection, socket.SHUT_RD)
            if not self._changed.wait_for(lambda: not self._open, timeout=grace):
                for connection in self._open:
                    _shut(connection, socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address, handler, respond, limits):
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.respond, self.limits, self.connections = respond, limits, _Connections(limits.connections)
        super().__init__(address, handler)

    def server_bind(self):
        # Not that of HTTPServer, which asks for the name of the host.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request, client_address):
        if self.connections.enter(request):
            return super().process_request(request, client_address)
        body = _error("The server has as many connections as it takes; try again later.")
        with contextlib.suppress(OSError):
            request.settimeout(1.0)
            request.sendall(_BUSY % (len(body), body))
        return self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.leave(request)

    def handle_error(self, request, client_address):
        _log.debug("A connection ended in an error.", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self):
        super().setup()
        self.rfile.close()
        self._reader = DeadlineReader(self.connection)
        self.rfile = io.BufferedReader(self._reader)

    def finish(self):
        with contextlib.suppress(OSError):
            super().finish()

    def handle_one_request(self):
        if not self._request_comes():
            self.close_connection = True
            return
        try:
            self._reader.expire_in(self.server.limits.request_seconds)
            self.raw_requestline = self.rfile.readline(_LONGEST_LINE + 1)
            if len(self.raw_requestline) > _LONGEST_LINE:
                raise BodyError(414, f"A path may have at most {_LONGEST_LINE} bytes.")
            if self.parse_request():
                self._answer_request()
        except TimeoutError:
            self._end(408, f"A request must come within {self.server.limits.request_seconds:g} seconds; send it again.")
        except BodyError as error:
            self._end(error.status, error.message)
        except OSError:
            self.close_connection = True

    def handle_expect_100(self):
        check_headers(self.headers, self.server.limits.body)
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def send_error(self, code, message=None, explain=None):
        """What http.server finds wrong with the first line or the headers."""
        texts = {505: "Only HTTP/1.0 and HTTP/1.1 are spoken.", 431: "The headers are too large."}
        raise BodyError(code, texts.get(code, "The first line of the request is not that of HTTP."))

    def _request_comes(self):
        self._reader.expire_in(self.server.limits.idle_seconds)
        with self.server.connections.idle(self.connection), contextlib.suppress(OSError):
            return bool(self.rfile.peek(1))
        return False

    def _answer_request(self):
        limit = self.server.limits.body
        check_headers(self.headers, limit)
        body = read_body(self.rfile, self.headers, limit)
        path = _ABSOLUTE.sub("", self.path.partition("?")[0].partition("#")[0]) or "/"
        try:
            response = self.server.respond(self.command, path, body)
        except Exception:
            _log.exception("A request could not be answered.")
            response = Response(500, _error("The server failed to answer; its log says why."))
        try:
            self._send(response)
        except TimeoutError:
            self.close_connection = True

    def _send(self, response):
        self.close_connection |= self.server.connections.stopping
        # The deadline was that of reading.
        self.connection.settimeout(self.server.limits.request_seconds)
        self.send_response_only(response.status)
        self.send_header("Date", self.date_time_string())
        self.send_header("Content-Type", response.kind)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in response.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    def _end(self, status, message):
        """Answers a request that could not be read to its end, which is the last of its connection."""
        self.close_connection = True
        self.command, self.request_version = None, self.protocol_version
        with contextlib.suppress(OSError):
            self._send(Response(status, _error(message)))
            # Closed at once, with bytes unread, the connection would be reset before the client has read the answer.
            _shut(self.connection, socket.SHUT_WR)
            self._reader.expire_in(_LINGER)
            buffer = bytearray(_LONGEST_LINE)
            end = time.monotonic() + _LINGER
            while time.monotonic() < end and self._reader.readinto(buffer):
                pass


def _shut(connection, how):
    with contextlib.suppress(OSError):
        connection.shutdown(how)


def _error(message):
    return json.dumps({"error": message}).encode("ascii")
