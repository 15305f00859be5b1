"""The requests that a server is answering, which its end waits for."""

import threading

import grpc

from ..protocol.statuses import StatusError


class InFlight:
    """Counts requests from their beginning to their end, and takes none after `close`."""

    def __init__(self):
        self._changed, self._count, self._closed = threading.Condition(), 0, False

    def enter(self) -> None:
        """Counts a request, whose end `leave` tells.

        Raises:
            StatusError: UNAVAILABLE after `close`; clients then try again, or elsewhere.
        """
        with self._changed:
            if self._closed:
                raise StatusError(
                    grpc.StatusCode.UNAVAILABLE,
                    "The server is stopping; ask another one, or again later.",
                )
            self._count += 1

    def leave(self) -> None:
        """Ends a request."""
        with self._changed:
            self._count -= 1
            if self._closed:
                self._changed.notify_all()

    def close(self) -> None:
        """Takes no more requests."""
        with self._changed:
            self._closed = True

    def wait(self, seconds: float) -> bool:
        """Waits for the requests that were taken. Returns whether all have ended in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._count, seconds)
