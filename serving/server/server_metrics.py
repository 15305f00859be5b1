"""Metrics of a server for Prometheus."""

from collections.abc import Iterable
from functools import cache

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

_SECONDS = (0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class ServerMetrics:
    """Counters of requests, batches and loaded versions, and gauges of versions and queues.

    Args:
        store: The `ModelStore` with the versions and the queues.
    """

    def __init__(self, store):
        self._store, self._registry = store, CollectorRegistry()
        self._registry.register(self)
        one = {"registry": self._registry, "namespace": "serving"}
        self._requests = Counter(
            "requests", "Predict requests by their status.", ["model", "signature", "status"], **one
        )
        self._latency = Histogram(
            "request_seconds",
            "Time of a Predict request.",
            ["model", "signature"],
            buckets=_SECONDS,
            **one,
        )
        self._rows = Histogram(
            "batch_rows", "Rows that ran together.", ["model", "signature"], buckets=_ROWS, **one
        )
        self._swaps = Counter(
            "versions_loaded", "Versions that began to take requests.", ["model"], **one
        )
        # Cached, because finding a counter by its labels takes longer than counting.
        self._request = cache(lambda *labels: self._requests.labels(*labels).inc)
        self._seconds = cache(lambda *labels: self._latency.labels(*labels).observe)
        self._batch = cache(lambda *labels: self._rows.labels(*labels).observe)

    def requested(self, model: str, signature: str, code: grpc.StatusCode, seconds: float) -> None:
        """Counts a request and its seconds. An unknown model or signature is ""."""
        self._request(model, signature, code.name)()
        self._seconds(model, signature)(seconds)

    def batched(self, model: str, signature: str, rows: int) -> None:
        """Counts a batch and its rows."""
        self._batch(model, signature)(rows)

    def swapped(self, model: str, count: int) -> None:
        """Counts versions that were put into service."""
        self._swaps.labels(model).inc(count)

    def render(self) -> bytes:
        """Returns the metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Returns the gauges. The registry calls this method."""
        version = GaugeMetricFamily(
            "serving_loaded_version",
            "1 for each version that takes requests.",
            labels=["model", "version"],
        )
        queue = GaugeMetricFamily(
            "serving_queued_rows", "Rows that wait for a batch.", labels=["model", "signature"]
        )
        for name in self._store.names():
            for number in self._store.available(name):
                version.add_metric([name, str(number)], 1)
            for signature, rows in self._store.queued(name).items():
                queue.add_metric([name, signature], rows)
        return [version, queue]
