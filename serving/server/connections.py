"""Ends the TCP connections of a port of this process."""

import contextlib
import os
import socket


def end_connections(port: int) -> None:
    """Takes no more connections on a port of this process, and shuts down those it has accepted.

    A gRPC server that stops cancels the calls that reach it before its clients know, and they end
    CANCELLED, which clients do not try again. On a connection that ends they end UNAVAILABLE, and
    so they do where there is none. What has been written to it still arrives.

    Args:
        port: Of TCP.
    """
    for listening in (True, False):
        for name in os.listdir("/dev/fd"):
            with contextlib.suppress(OSError), _socket(int(name)) as one:
                address = one.getsockname()
                listens = bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
                if isinstance(address, tuple) and address[1:2] == (port,) and listens == listening:
                    one.shutdown(socket.SHUT_RDWR)


def _socket(number: int) -> socket.socket:
    """A second handle, so that the number cannot come to mean another file meanwhile."""
    handle = os.dup(number)
    try:
        return socket.socket(fileno=handle)
    except OSError:
        os.close(handle)
        raise
