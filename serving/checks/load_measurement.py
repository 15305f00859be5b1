"""The loops of a load test, and figures of their samples."""

import collections
import dataclasses
import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence

OK, LOST = "OK", "LOST"
_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
# Function of (number of the request, callback for its status), which returns before the response.
Send = Callable[[int, Callable[[str], None]], None]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a load, which ends at the first of `seconds` and `requests`.

    Attributes:
        seconds: Most seconds of the load.
        requests: Most requests.
        grace: Most seconds to wait for the last responses after the end (default: 10).
    """

    seconds: float
    requests: int
    grace: float = 10.0


@dataclasses.dataclass(frozen=True)
class Sample:
    """The measurement of one request.

    Attributes:
        at: Seconds from the start of the load to the time at which the request was due.
        seconds: Latency in seconds.
        status: Name of the gRPC status; LOST if there was no response.
    """

    at: float
    seconds: float
    status: str


def closed_loop(send: Send, clients: int, limits: Limits) -> list[Sample]:
    """Runs clients that each send the next request after the response to the last one.

    The limits apply to all clients together.
    """
    samples, numbers, open_since = [], itertools.count(), {}
    start, ended = time.perf_counter(), threading.Condition()

    def ask(client):
        begin = time.perf_counter()
        with ended:
            open_since[client] = begin
            if begin - start >= limits.seconds or (number := next(numbers)) >= limits.requests:
                del open_since[client]
                ended.notify()
                return
        send(number, lambda status: done(client, begin, status))

    def done(client, begin, status):
        samples.append(Sample(begin - start, time.perf_counter() - begin, status))
        ask(client)

    for client in range(clients):
        ask(client)
    with ended:
        ended.wait_for(lambda: not open_since, timeout=limits.seconds + limits.grace)
        now = time.perf_counter()
        lost = [Sample(begin - start, now - begin, LOST) for begin in open_since.values()]
        return [*samples, *lost]


def open_loop(send: Send, rate: float, limits: Limits) -> list[Sample]:
    """Sends `rate` requests a second, without waiting for responses.

    The latency of a request counts from the time at which it was due.
    """
    samples, start, ended = {}, time.perf_counter(), threading.Condition()
    count = min(limits.requests, math.ceil(limits.seconds * rate))

    def done(number, status):
        sample = Sample(number / rate, time.perf_counter() - start - number / rate, status)
        with ended:
            samples[number] = sample
            if len(samples) == count:
                ended.notify()

    for number in range(count):
        while (left := start + number / rate - time.perf_counter()) > 0:
            time.sleep(left)
        send(number, lambda status, number=number: done(number, status))
    with ended:
        ended.wait_for(lambda: len(samples) == count, timeout=limits.grace)
        lost = [number / rate for number in range(count) if number not in samples]
        return [
            *samples.values(),
            *(Sample(due, time.perf_counter() - start - due, LOST) for due in lost),
        ]


def summary(samples: Sequence[Sample]) -> dict:
    """Computes the figures of a load.

    Returns:
        A dictionary with "seconds" from the start to the last response, the number of "requests"
        and of "answered" requests, "errors" (the count of each status), "per_second", the number of
        answered requests a second, and "latency_ms" of answered requests: p50, p95, p99, max and
        mean, or None if no request was answered.
    """
    answered = sorted(1e3 * sample.seconds for sample in samples if sample.status == OK)
    seconds = max((sample.at + sample.seconds for sample in samples), default=0.0)
    errors = collections.Counter(sample.status for sample in samples if sample.status != OK)
    latency = None
    if answered:
        latency = {
            name: answered[math.ceil(share * len(answered)) - 1]
            for name, share in _PERCENTILES.items()
        }
        latency["mean"] = sum(answered) / len(answered)
    return {
        "seconds": seconds,
        "requests": len(samples),
        "answered": len(answered),
        "errors": dict(sorted(errors.items())),
        "per_second": len(answered) / seconds if seconds else 0.0,
        "latency_ms": latency,
    }


def table(report: dict) -> str:
    """Formats the figures of `summary` as text."""
    errors = ", ".join(f"{count} {status}" for status, count in report["errors"].items()) or "none"
    lines = [
        f"{report['requests']} requests in {report['seconds']:.1f} s, "
        f"{report['answered']} answered, {report['per_second']:.1f} a second",
        f"errors: {errors}",
    ]
    if latency := report["latency_ms"]:
        figures = ", ".join(f"{name} {value:.2f}" for name, value in latency.items())
        lines.append(f"latency: {figures} ms")
    return "\n".join(lines)
