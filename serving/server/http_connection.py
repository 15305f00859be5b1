"""Connections of uvicorn with limits on the time and memory that a client can take."""

import asyncio
import socket

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..protocol.rest_json import error_body
from .http_checks import Limits

_LINGER = 2.0
_ERROR = (
    "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n"
    "Connection: close\r\n\r\n"
)
_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class Connection(HttpToolsProtocol):
    """A connection with deadlines for requests, responses and idle time.

    Args:
        idle: Idle connections of the server, longest idle first. All connections share it.
        limits: Limits on clients.
        **arguments: Arguments of `HttpToolsProtocol`.
    """

    def __init__(self, idle: dict["Connection", None], limits: Limits, **arguments):
        super().__init__(**arguments)
        self._idle, self._limits = idle, limits
        self._timer: asyncio.TimerHandle | None = None
        self._coming = self._in_head = self._ended = False
        self._head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Accepts a connection; if there are too many, replaces an idle one or rejects this one."""
        super().connection_made(transport)
        # A response is two writes. Nagle's algorithm would delay the second one.
        accepted = transport.get_extra_info("socket")
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # With a buffer limit of 0, `pause_writing` is called whenever data waits to be sent.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) <= self._limits.connections:
            self._become_idle()
        elif self._idle:
            next(iter(self._idle)).transport.abort()
            self._become_idle()
        else:
            self._end(503, "The server has as many connections as it takes; try again later.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Removes the connection from the idle ones, and stops its timers."""
        self._idle.pop(self, None)
        self._stop_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Starts the deadline of a request at its first byte, and checks the size of its head."""
        if self._ended:
            return
        if not self._coming:
            self._begin()
        self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > self._limits.head and not self._ended:
            self._end(431, f"The head of a request may have at most {self._limits.head} bytes.")

    def eof_received(self) -> bool:
        """Completes the responses to a client that has closed its side of the connection."""
        if self._answering() and not self.cycle.more_body:
            self.cycle.keep_alive = False
            return True
        if self._coming and not self._ended:
            self._end(400, "The request was cut off; send it whole.")
        return False

    def on_message_begin(self) -> None:
        """Starts the deadline of a request that comes in the same packet as the one before."""
        if not self._coming:
            self._begin()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Marks the end of the head."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stops the deadline of a request."""
        self._coming = False
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Marks the connection as idle, unless there is a next request."""
        super().on_response_complete()
        if not (self._coming or self.pipeline or self.transport.is_closing()):
            self._idle[self] = None

    def pause_writing(self) -> None:
        """Starts the deadline of a response whose data waits for the client."""
        super().pause_writing()
        self._start_timer(self._limits.request_seconds)

    def resume_writing(self) -> None:
        """Stops the deadline of a response whose data is sent."""
        super().resume_writing()
        if not (self._coming or self._ended):
            self._stop_timer()

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection, even if data waits to be sent."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Responds to invalid HTTP, unless an earlier request is in flight."""
        if self._answering() and not self.cycle.more_body:
            self.cycle.keep_alive, self._ended = False, True
        elif self.pipeline:
            self.transport.abort()
        else:
            self._end(400, "This is not a request of HTTP/1.1; send it by a client library.")

    def _become_idle(self):
        self._idle[self] = None
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _begin(self):
        self._idle.pop(self, None)
        self._coming = self._in_head = True
        self._head = 0
        self._start_timer(self._limits.request_seconds)

    def _answering(self):
        return self.cycle is not None and not self.cycle.response_complete

    def _start_timer(self, seconds):
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._expire)

    def _stop_timer(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self):
        self._timer = None
        if self.flow.write_paused:
            self.transport.abort()
        elif self._answering() and (self.pipeline or not self.cycle.more_body):
            # The next request is late, but the response to this one comes first.
            self._start_timer(self._limits.request_seconds)
        elif self._ended:
            self.transport.abort()
        else:
            seconds = self._limits.request_seconds
            self._end(408, f"A request must come within {seconds:g} seconds; send it again.")

    def _end(self, status, message):
        """Sends an error as the last response, to a request whose body is not read to its end.

        Closing a connection with unread bytes resets it, so that the client may not see the
        response. So the server keeps reading for `_LINGER` seconds.
        """
        self._ended = True
        self._idle.pop(self, None)
        self._unset_keepalive_if_required()
        if self._answering():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
                return
        body = error_body(message)
        self.transport.write(_ERROR.format(status, _REASONS[status], len(body)).encode() + body)
        self.transport.write_eof()
        self.flow.resume_reading()
        self._start_timer(_LINGER)
