"""Stops a server without losing requests."""

import contextlib
import os
import socket
import threading

import grpc

from ..protocol.statuses import StatusError


class InFlight:
    """Counts the requests in flight, and rejects new requests after `close`."""

    def __init__(self):
        self._changed, self._count, self._closed = threading.Condition(), 0, False

    def enter(self) -> None:
        """Counts a request until `leave` is called.

        Raises:
            StatusError: UNAVAILABLE after `close`. Clients then retry or use another server.
        """
        with self._changed:
            if self._closed:
                raise StatusError(
                    grpc.StatusCode.UNAVAILABLE,
                    "The server is stopping; ask another one, or again later.",
                )
            self._count += 1

    def leave(self) -> None:
        """Counts the end of a request."""
        with self._changed:
            self._count -= 1
            if self._closed:
                self._changed.notify_all()

    def close(self) -> None:
        """Rejects new requests from now on."""
        with self._changed:
            self._closed = True

    def wait(self, seconds: float) -> bool:
        """Waits for the requests in flight, and returns whether all of them ended in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._count, seconds)


def end_connections(port: int) -> None:
    """Shuts down the listening socket and the accepted connections of a port of this process.

    Without this, a stopping gRPC server cancels calls with CANCELLED, which clients do not retry.
    After a shutdown of the connection, calls fail with UNAVAILABLE, which clients retry. Clients
    still receive data that is already written.
    """
    for listening in (True, False):
        for name in os.listdir("/dev/fd"):
            with contextlib.suppress(OSError), _socket(int(name)) as one:
                address = one.getsockname()
                listens = bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
                if isinstance(address, tuple) and address[1:2] == (port,) and listens == listening:
                    one.shutdown(socket.SHUT_RDWR)


def _socket(number: int) -> socket.socket:
    """A socket with a duplicate descriptor, because another file can take over the number."""
    handle = os.dup(number)
    try:
        return socket.socket(fileno=handle)
    except OSError:
        os.close(handle)
        raise
