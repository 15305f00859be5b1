"""Makes the requests of a load test, and sends them over connections to a server."""

import contextlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc

from ..clients.grpc_client import open_channel, predict_request, rpc_error
from ..clients.requests import SEPARATOR, recommend
from .load_measurement import OK

_METHOD = "/tensorflow.serving.PredictionService/Predict"
_MAX_HISTORY = 200


def read_histories(path: str | Path, count: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Reads random histories from a request log, such as test.parquet of a run.

    Args:
        path: A file that `read_request_log` reads, .jsonl or .parquet.
        count: Most histories.
        seed: Seed of the random choice (default: 0).

    Returns:
        (user id, history) pairs.

    Raises:
        ValueError: If the file has another format.
        DataError: If the file cannot be read.
    """
    from tfrec_attn.replay.request_log import read_request_log

    table = read_request_log(Path(path))
    if table is None:
        raise ValueError(
            f"--histories {path} must be .jsonl with one request a line, or .parquet with a column "
            "history; name test.parquet of a run."
        )
    table = table.select("user_id", "history")
    return table.sample(min(count, len(table)), shuffle=True, seed=seed).rows()


def make_histories(path: str | Path, count: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Makes random histories of 1 to 50 items for unknown users.

    Args:
        path: Text file with one item a line, such as assets/items.txt of a servable.
        count: Number of histories.
        seed: Seed of the random choice (default: 0).

    Returns:
        (user id, history) pairs. The user id is "".

    Raises:
        ValueError: If the file cannot be read or has no items.
    """
    try:
        items = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ValueError(f"--items {path} cannot be read ({reason}).") from None
    if not items[0]:
        raise ValueError(f"--items {path} has no items; name assets/items.txt of a servable.")
    draw = random.Random(seed)  # noqa: S311
    return [("", draw.choices(items, k=draw.randint(1, 50))) for _ in range(count)]


def requests_of(
    histories: Sequence[tuple[str, Sequence[str]]],
    model: str,
    version: int | None,
    label: str | None,
    k: int,
    separator: str = SEPARATOR,
) -> list:
    """Makes `recommend` requests for (user id, history) pairs.

    Raises:
        ValueError: If an id contains the separator.
    """
    return [
        predict_request(
            recommend(history, user, k, (), (), _MAX_HISTORY), model, version, label, separator
        )
        for user, history in histories
    ]


class LoadTarget(contextlib.AbstractContextManager):
    """A server under load.

    It serializes the requests in advance and does not parse responses, so that a load test measures
    the server and not the client.

    Args:
        target: HOST:PORT of the gRPC server.
        requests: `PredictRequest` messages, sent in turn.
        timeout: Seconds until a request fails. Requests are not retried.
        connections: Number of connections, used in turn (default: 1).
        check: Function of the number of a request and the bytes of its `PredictResponse`. It
            returns a status, "OK" for a correct response. If it raises an exception, the status is
            the name of the exception. None (default) checks nothing.
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
        """Sends one request over each connection.

        Raises:
            ClientError: If a request fails.
        """
        for call in self._calls:
            try:
                call(self._requests[0], timeout=max(self._timeout, 5.0))
            except grpc.RpcError as error:
                raise rpc_error(error, self._where, self._timeout) from None

    def send(self, number: int, done: Callable[[str], None]) -> None:
        """Sends a request, and calls `done` with its status, usually in another thread."""
        # A future takes half of the client time that a waiting thread takes.
        future = self._calls[number % len(self._calls)].future(
            self._requests[number % len(self._requests)], timeout=self._timeout
        )
        future.add_done_callback(lambda ended: done(self._status(ended, number)))

    def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            channel.close()

    def __exit__(self, *_) -> None:
        self.close()

    def _status(self, ended, number):
        if ended.code() is not grpc.StatusCode.OK:
            return ended.code().name
        try:
            return OK if self._check is None else self._check(number, ended.result())
        except Exception as error:
            return type(error).__name__
