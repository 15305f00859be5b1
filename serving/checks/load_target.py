"""What a load test asks: requests that are ready to be sent, and the connections that they take."""

from collections.abc import Callable, Sequence

import grpc

from ..clients.answers import client_error
from ..clients.grpc_client import open_channel, predict_request
from ..clients.queries import SEPARATOR, recommend
from .load_loops import OK

_METHOD = "/tensorflow.serving.PredictionService/Predict"
_LONGEST = 200


class LoadTarget:
    """A server under load. The requests are made beforehand and the answers not taken apart, so
    that the server is what is measured.

    Args:
        target: HOST:PORT of gRPC.
        requests: `PredictRequest` messages, which take turns.
        timeout: Seconds of a request; none is tried again.
        connections: Which take turns too.
        check: (number of the request, bytes of the `PredictResponse`) -> status, "OK" where the
            answer is right; None trusts. What it raises is a status too, by its name.
    """

    def __init__(
        self,
        target: str,
        requests: Sequence,
        timeout: float,
        connections: int = 1,
        check: Callable[[int, bytes], str] | None = None,
    ):
        self._where, self._timeout, self._check = target, timeout, check
        self._requests = [request.SerializeToString() for request in requests]
        self._channels = [open_channel(target, own_connection=True) for _ in range(connections)]
        self._calls = [channel.unary_unary(_METHOD) for channel in self._channels]

    def connect(self) -> None:
        """Asks once over every connection.

        Raises:
            ClientError: If this is not answered.
        """
        for call in self._calls:
            try:
                call(self._requests[0], timeout=max(self._timeout, 5.0))
            except grpc.RpcError as error:
                raise client_error(
                    error.code().name, error.details() or "", self._where, self._timeout
                ) from None

    def send(self, number: int, done: Callable[[str], None]) -> None:
        """Sends a request, and calls `done` with its status, on another thread as a rule."""
        # Futures cost a client half of the time that threads do, which wait for their calls.
        future = self._calls[number % len(self._calls)].future(
            self._requests[number % len(self._requests)], timeout=self._timeout
        )
        future.add_done_callback(lambda ended: done(self._status(ended, number)))

    def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> "LoadTarget":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _status(self, ended, number):
        if ended.code() is not grpc.StatusCode.OK:
            return ended.code().name
        try:
            return OK if self._check is None else self._check(number, ended.result())
        except Exception as error:
            return type(error).__name__


def requests_of(
    histories: Sequence[tuple[str, Sequence[str]]],
    model: str,
    version: int | None,
    label: str | None,
    k: int,
    separator: str = SEPARATOR,
) -> list:
    """Requests to recommend for (user_id, history) pairs.

    Raises:
        ValueError: An id has the separator.
    """
    return [
        predict_request(recommend(one, user, k, (), (), _LONGEST), model, version, label, separator)
        for user, one in histories
    ]
