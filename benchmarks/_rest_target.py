"""A REST target for the loops of the load test."""

import http.client
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

OK = "OK"


class RestTarget:
    """Sends POST requests over persistent connections, one for each thread.

    Args:
        where: HOST:PORT of the server.
        path: Path of the requests.
        bodies: JSON bodies of the requests, sent in turn.
        threads: Most concurrent requests.
    """

    def __init__(self, where: str, path: str, bodies: Sequence[bytes], threads: int):
        self._where, self._path, self._bodies = where, path, bodies
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(threads)

    def connect(self) -> None:
        """Sends one request, and checks that the response has items."""
        status, answer = self._ask(0)
        if status != OK or not json.loads(answer)["predictions"][0]["items"]:
            raise SystemExit(f"error: {self._where} answered {status}: {answer[:200]!r}")

    def send(self, number: int, done: Callable[[str], None]) -> None:
        """Sends a request in a thread, which calls `done` with the status."""
        self._pool.submit(lambda: done(self._ask(number)[0]))

    def _ask(self, number: int) -> tuple[str, bytes]:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = http.client.HTTPConnection(self._where)
        body = self._bodies[number % len(self._bodies)]
        connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        return (OK if response.status == 200 else f"HTTP {response.status}"), answer

    def __enter__(self) -> "RestTarget":
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown()
