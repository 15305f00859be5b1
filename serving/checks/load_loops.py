"""Requests one after the other, or at a rate, and how long each took."""

import dataclasses
import itertools
import math
import threading
import time
from collections.abc import Callable

OK, LOST = "OK", "LOST"
# (number of the request, what to call with its status when it has ended) sends and does not wait.
Send = Callable[[int, Callable[[str], None]], None]


@dataclasses.dataclass(frozen=True)
class Limits:
    """When a load ends: after `seconds`, or after `requests`, whatever comes first; last answers
    are waited for `grace` seconds more.
    """

    seconds: float
    requests: int
    grace: float = 10.0


@dataclasses.dataclass(frozen=True)
class Sample:
    """One request: seconds after the start `at` which it was due, the `seconds` until its end, and
    its `status`, LOST where none came.
    """

    at: float
    seconds: float
    status: str


def closed_loop(send: Send, clients: int, limits: Limits) -> list[Sample]:
    """Clients of which each asks again as soon as it has an answer; the limits are those of all
    together.
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
        return [
            *samples,
            *(Sample(begin - start, now - begin, LOST) for begin in open_since.values()),
        ]


def open_loop(send: Send, rate: float, limits: Limits) -> list[Sample]:
    """Requests that are sent when they are due, `rate` a second, whether or not earlier ones have
    ended; their time counts from then.
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
