"""Serves exported models, for development, tests and small installations."""

import argparse
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Sequence
from concurrent import futures

from tfrec_attn.cli.terminal import fail
from tfrec_attn.errors import ConfigError, TfrecError

from .cli.packages import importing
from .cli.server_options import check_bounds, option_parser, read_models

_EPILOG = (
    "This server is for development, tests and small installations. "
    "In production use TensorFlow Serving, whose protocol it speaks."
)
_REQUEST_BYTES = 4 << 20
# Large, because the model limits the number of ids in a response, but not their lengths.
_RESPONSE_BYTES = 64 << 20
_STATUS_WORKERS = 32
_SIGNAL_SECONDS = 0.5
# Services of the health protocol; "" is the whole server. The names are literals, because
# model_service_pb2 of tensorflow-serving-api 2.16 cannot be imported with its protobuf.
_SERVICES = ("", "tensorflow.serving.ModelService", "tensorflow.serving.PredictionService")


class LocalServer:
    """Serves the models of a store over gRPC and HTTP.

    Args:
        store: A `ModelStore`. The server starts and stops it.
        host: Address to listen on (default: 127.0.0.1).
        port: Port of gRPC (default: 8500). 0 takes a free one.
        rest_port: Port of HTTP (default: 8501). 0 takes a free one, None disables HTTP.
        workers: Most concurrent gRPC calls (default: 384). More calls fail with RESOURCE_EXHAUSTED.
        allowed_hosts: Host names that HTTP requests may have, besides those of loopback and `host`.
        users: A `UserLog` whose histories the page can show, or None (default).

    Attributes:
        grpc_port, rest_port: Ports of the server after `start`.
    """

    def __init__(
        self,
        store,
        *,
        host: str = "127.0.0.1",
        port: int = 8500,
        rest_port: int | None = 8501,
        workers: int = 384,
        allowed_hosts: Collection[str] = (),
        users=None,
    ):
        self.store, self._host, self._workers = store, host, workers
        self._allowed_hosts, self._users = allowed_hosts, users
        self.grpc_port, self.rest_port = port, rest_port
        self._grpc = self._rest = self._health = None
        self._in_flight = None

    def start(self) -> None:
        """Loads the models, then accepts requests.

        Raises:
            OSError: If a port is in use or the address is not of this machine.
        """
        self._bind()
        self.store.start()
        try:
            self._start_rest()
        except BaseException:
            self.stop(0)
            raise
        self._grpc.start()
        self._show_health()
        self.store.on_change(self._show_health)

    def stop(self, grace: float = 10.0) -> bool:
        """Rejects new requests, completes those in flight, and closes the models.

        New gRPC calls fail with UNAVAILABLE, which clients retry, and new HTTP requests with 503.

        Args:
            grace: Most seconds to wait for the requests in flight (default: 10).

        Returns:
            Whether all requests in flight were completed in this time.
        """
        if self._grpc is None:
            return True
        from .server.graceful_stop import end_connections

        server, self._grpc = self._grpc, None
        end, answered = time.monotonic() + grace, True
        self._health.enter_graceful_shutdown()
        self._in_flight.close()
        if self._rest is not None:
            answered = self._rest.stop(grace)
        answered &= self._in_flight.wait(max(end - time.monotonic(), 0))
        end_connections(self.grpc_port)
        server.stop(None)
        self.store.stop()
        return answered

    def _bind(self) -> None:
        import grpc
        from grpc_health.v1 import health, health_pb2_grpc

        from .server.graceful_stop import InFlight
        from .server.grpc_service import add_services

        options = [
            ("grpc.max_receive_message_length", _REQUEST_BYTES),
            ("grpc.max_send_message_length", _RESPONSE_BYTES),
            # Otherwise two servers can listen on one port and share its clients.
            ("grpc.so_reuseport", 0),
        ]
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(self._workers, thread_name_prefix="grpc"),
            options=options,
            maximum_concurrent_rpcs=self._workers,
        )
        self._health = health.HealthServicer(
            experimental_non_blocking=True,
            experimental_thread_pool=futures.ThreadPoolExecutor(1, thread_name_prefix="health"),
        )
        self._in_flight = InFlight()
        add_services(self._grpc, self.store, self._in_flight)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        try:
            port = self._grpc.add_insecure_port(f"{self._host}:{self.grpc_port}")
        except RuntimeError:
            port = 0
        if not port:
            self._grpc = None
            raise OSError(
                f"{self._host}:{self.grpc_port} cannot be listened on: "
                "it is in use or not of this machine; choose another."
            )
        self.grpc_port = port

    def _start_rest(self) -> None:
        if self.rest_port is None:
            return
        from .server.http_server import HttpServer
        from .server.page_service import PageService, page_files
        from .server.rest_service import RestService

        page = PageService(self.store, page_files(), self._users)
        service = RestService(self.store, page, self.store.metrics.render)
        self._rest = HttpServer(
            self._host, self.rest_port, service.respond, allowed_hosts=self._allowed_hosts
        )
        self._rest.start()
        self.rest_port = self._rest.port

    def _show_health(self) -> None:
        from grpc_health.v1 import health_pb2

        states = health_pb2.HealthCheckResponse
        for name in _SERVICES:
            self._health.set(name, states.SERVING if self.store.ready() else states.NOT_SERVING)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        Exit status: 0 after SIGTERM or SIGINT, 1 if the file of histories cannot be read to its
        end, 2 if options are invalid or a model cannot be served.
    """
    parsed = option_parser(f"python -m {__package__}.local_server", _EPILOG).parse_args(arguments)
    # Otherwise gRPC logs a line when `LocalServer.stop` shuts down its listening socket.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        server = _server(parsed)
    except (TfrecError, ValueError) as error:
        return fail(error)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        server.start()
    except OSError as error:
        return fail(error)
    problem = _problem(server.store)
    if problem:
        server.stop(0)
        return fail(ConfigError(problem))
    # Garbage collection of all objects of TensorFlow takes as long as 100 requests.
    gc.collect()
    gc.freeze()
    sys.stdout.write(_listening(server, parsed.host))
    sys.stdout.flush()
    # The kernel can deliver a signal to another thread, which does not wake this one.
    while not ended.wait(_SIGNAL_SECONDS):
        pass
    if not server.stop(parsed.grace):
        # A regular exit would wait for threads that still run a request.
        os._exit(0)
    return 0


def _server(parsed: argparse.Namespace) -> LocalServer:
    check_bounds(parsed)
    with importing():
        import grpc_health.v1.health  # noqa: F401

        from .server import grpc_service, rest_service  # noqa: F401
        from .server.batching import BatchOptions
        from .server.model_store import ModelStore

    batching = None
    if parsed.batch_size:
        batching = BatchOptions(parsed.batch_size, parsed.batch_timeout, parsed.queue, parsed.pad)
    models = read_models(parsed)
    return LocalServer(
        ModelStore(models, batching=batching, poll=parsed.poll, threads=parsed.threads),
        host=parsed.host,
        port=parsed.port,
        rest_port=parsed.rest_port,
        workers=parsed.batch_size * (parsed.queue + 1) + _STATUS_WORKERS,
        allowed_hosts=parsed.allowed_host,
        users=_users(parsed.histories, models[0].folder),
    )


def _users(path: str | None, servable: str):
    if path is None:
        return None
    from .server.user_log import read_user_log

    return read_user_log(path, servable)


def _problem(store) -> str | None:
    """A sentence about a model without a served version or a label without one, or None."""
    for name in store.names():
        served = store.available(name)
        if not served:
            return store.problem(name) or (
                f"model {name} has no version in its folder; "
                "give one that python -m tfrec_attn.export has written."
            )
        for label, version in store.labels(name).items():
            if version not in served:
                return (
                    f"--labels {name}:{label}={version} names a version that is not served "
                    f"(served: {', '.join(map(str, served))}); "
                    "name one that is, or serve it with --versions."
                )
    return None


def _listening(server: LocalServer, host: str) -> str:
    versions = {name: server.store.available(name) for name in server.store.names()}
    lines = [f"{name}: version {', '.join(map(str, some))}" for name, some in versions.items()]
    lines.append(f"gRPC on {host}:{server.grpc_port}")
    lines.append(f"HTTP on http://{host}:{server.rest_port}/")
    return "\n".join([*lines, _EPILOG, ""])


if __name__ == "__main__":
    sys.exit(main())
