"""Serves exported models, for development, tests and small installations; in production TF Serving
does.
"""

import argparse
import gc
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Collection, Sequence
from concurrent import futures
from pathlib import Path

from .cli.arguments import Arguments, shorten, shown
from .cli.packages import importing
from .server.connections import end_connections

_EPILOG = "This server is for development, tests and small installations. In production use TensorFlow Serving, whose protocol it speaks."
_MESSAGE_BYTES = 4 << 20
# Answers are limited by their values; ids of a catalogue may be long.
_ANSWER_BYTES = 64 << 20
_STATUS_WORKERS = 32
_BOUNDS = {
    "port": (0, 65535),
    "rest_port": (0, 65535),
    "batch_size": (0, 65536),
    "batch_timeout": (0, 3600),
    "queue": (1, 65536),
    "threads": (1, 1024),
    "poll": (0.01, 86400),
    "grace": (0, 86400),
}
# "" is the whole server. By name: model_service_pb2 of tensorflow-serving-api 2.16 does not load
# with a protobuf of its time.
_SERVICES = ("", "tensorflow.serving.ModelService", "tensorflow.serving.PredictionService")


class LocalServer:
    """Serves the models of a store over gRPC and HTTP.

    Args:
        store: Not started; the server starts and stops it.
        host: Address to listen on.
        port: Of gRPC; 0 takes a free one.
        rest_port: Of HTTP; 0 takes a free one, None leaves HTTP out.
        workers: gRPC calls at a time; more are refused with RESOURCE_EXHAUSTED.
        allowed_hosts: Names that HTTP requests may name beside those of loopback and `host`.

    Attributes:
        grpc_port, rest_port: Where it listens, once it has started.
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
    ):
        self.store, self._host, self._workers = store, host, workers
        self._allowed_hosts = allowed_hosts
        self.grpc_port, self.rest_port = port, rest_port
        self._grpc = self._rest = self._health = None
        self._in_flight = None

    def start(self) -> None:
        """Loads the models and listens.

        Raises:
            OSError: If a port is taken.
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
        """Refuses new requests, answers those in flight, and closes the models.

        New calls end with UNAVAILABLE, which clients retry, and new HTTP requests with 503.

        Args:
            grace: Seconds to wait for the requests in flight.

        Returns:
            Whether all requests in flight were answered in this time.
        """
        if self._grpc is None:
            return True
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

        from .server.grpc_service import add_services
        from .server.in_flight import InFlight

        options = [
            ("grpc.max_receive_message_length", _MESSAGE_BYTES),
            ("grpc.max_send_message_length", _ANSWER_BYTES),
            # Two servers on one port would share its clients.
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
                f"{self._host}:{self.grpc_port} cannot be listened on: it is in use or not of this machine; choose another."
            )
        self.grpc_port = port

    def _start_rest(self) -> None:
        if self.rest_port is None:
            return
        from .server.rest_service import RestService

        page = Path(__file__).parent / "server" / "page" / "index.html"
        self._rest = RestService(
            self.store,
            self._host,
            self.rest_port,
            page.read_bytes(),
            self.store.metrics.render,
            allowed_hosts=self._allowed_hosts,
        )
        self._rest.start()
        self.rest_port = self._rest.port

    def _show_health(self) -> None:
        from grpc_health.v1 import health_pb2

        states = health_pb2.HealthCheckResponse
        for name in _SERVICES:
            self._health.set(name, states.SERVING if self.store.ready() else states.NOT_SERVING)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 0 after SIGTERM or SIGINT, 2 for models or options that cannot be
    served.
    """
    parsed = _parser().parse_args(arguments)
    # Its log has a line whenever the listening socket is shut down, which is how this server stops.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        server = _server(parsed)
    except ValueError as error:
        return _fail(str(error))
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        server.start()
    except OSError as error:
        return _fail(str(error))
    broken = _broken(server.store) or _label_of_nothing(server.store)
    if broken:
        server.stop(0)
        return _fail(broken)
    # Else every collection looks at all objects of TensorFlow, for as long as 100 requests take.
    gc.collect()
    gc.freeze()
    sys.stdout.write(_listening(server, parsed.host))
    sys.stdout.flush()
    ended.wait()
    if not server.stop(parsed.grace):
        # Python waits at its exit for threads that still run a request.
        sys.stdout.flush()
        os._exit(0)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog=f"python -m {__package__}.local_server",
        description="Serves exported models over gRPC and HTTP as TensorFlow Serving does.",
        epilog=_EPILOG,
    )
    many = {"action": "append", "default": []}
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME=FOLDER",
        help="a model and the folder of its versions; repeatable",
        **many,
    )
    parser.add_argument(
        "--versions",
        metavar="NAME=WHICH",
        help="latest (default), latest:2, all, or numbers such as 1,4",
        **many,
    )
    parser.add_argument(
        "--labels",
        metavar="NAME:LABEL=VERSION",
        help="a label of a version, such as sasrec:stable=1; repeatable",
        **many,
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, this machine only)",
    )
    parser.add_argument(
        "--allowed-host",
        metavar="NAME",
        help="a name that HTTP requests may be sent to, beside localhost and --host; repeatable",
        **many,
    )
    parser.add_argument(
        "--port", type=int, default=8500, help="of gRPC; 0 takes a free one (default: 8500)"
    )
    parser.add_argument(
        "--rest-port",
        type=int,
        default=8501,
        help="of HTTP and the page; 0 takes a free one (default: 8501)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=32,
        metavar="ROWS",
        help="of a batch; 0: no batches (default: 32)",
    )
    parser.add_argument(
        "--batch-timeout",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="that a batch waits for more (default: 0)",
    )
    parser.add_argument(
        "--pad",
        action="store_true",
        help="join requests of different widths as TF Serving does with padding on",
    )
    parser.add_argument(
        "--queue", type=int, default=10, metavar="BATCHES", help="that may wait (default: 10)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="an operation uses; more for models of many items (default: 1)",
    )
    parser.add_argument(
        "--poll",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="between looks for new versions (default: 2)",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="for requests in flight at the end (default: 10)",
    )
    return parser


def _server(parsed: argparse.Namespace) -> LocalServer:
    """Errors: ValueError, in one sentence, for options that make no sense."""
    for name, (least, most) in _BOUNDS.items():
        option, value = f"--{name.replace('_', '-')}", getattr(parsed, name)
        if not value >= least:
            raise ValueError(f"{option} must be {least} or greater, but is {value}.")
        if value > most:
            raise ValueError(f"{option} must be at most {most}, but is {value}.")
    with importing():
        import grpc_health.v1.health  # noqa: F401

        from .server import grpc_service, rest_service  # noqa: F401
        from .server.batching import BatchOptions
        from .server.model_store import ModelStore

    batching = (
        BatchOptions(parsed.batch_size, parsed.batch_timeout, parsed.queue, parsed.pad)
        if parsed.batch_size
        else None
    )
    store = ModelStore(_models(parsed), batching=batching, poll=parsed.poll, threads=parsed.threads)
    waiting = parsed.batch_size * (parsed.queue + 1)
    return LocalServer(
        store,
        host=parsed.host,
        port=parsed.port,
        rest_port=parsed.rest_port,
        workers=waiting + _STATUS_WORKERS,
        allowed_hosts=parsed.allowed_host,
    )


def _models(parsed: argparse.Namespace) -> list:
    """Errors: ValueError, in one sentence."""
    from .server.model_config import ModelConfig
    from .server.version_policy import parse_policy

    folders = dict(_pair(text, "=", "--model", "NAME=FOLDER") for text in parsed.model)
    policies = {
        name: parse_policy(which)
        for name, which in (
            _pair(text, "=", "--versions", "NAME=WHICH") for text in parsed.versions
        )
    }
    labels = {}
    for text in parsed.labels:
        name, rest = _pair(text, ":", "--labels", "NAME:LABEL=VERSION")
        label, number = _pair(rest, "=", "--labels", "NAME:LABEL=VERSION")
        if not re.fullmatch("[0-9]{1,18}", number):
            raise ValueError(
                f"--labels must be NAME:LABEL=VERSION with a number, but is {shown(text)}."
            )
        labels.setdefault(name, {})[label] = int(number)
    for name, option in [
        *((name, "--versions") for name in policies),
        *((name, "--labels") for name in labels),
    ]:
        if name not in folders:
            raise ValueError(
                f"{option} names the model {name}, which no --model gives; name one of {', '.join(folders)}."
            )
    for name, folder in folders.items():
        if not Path(folder).is_dir():
            raise ValueError(
                f"--model {name}={folder} names no folder; give one that python -m tfrec_attn.export has written."
            )
    given = {name: {"policy": policies[name]} if name in policies else {} for name in folders}
    return [
        ModelConfig(name, folder, labels=labels.get(name, {}), **given[name])
        for name, folder in folders.items()
    ]


def _pair(text: str, separator: str, option: str, form: str) -> tuple[str, str]:
    left, found, right = text.partition(separator)
    if not (left and found and right):
        raise ValueError(f"{option} must be {form}, but is {shown(text)}.")
    return left, right


def _broken(store) -> str | None:
    """Why a model has nothing to serve, or None."""
    from .protocol.statuses import StatusError

    for name in store.names():
        if not store.available(name):
            try:
                return store.status(name)[0].message
            except StatusError:
                return f"model {name} has no version in its folder; give one that python -m tfrec_attn.export has written."
    return None


def _label_of_nothing(store) -> str | None:
    """Which label names a version that is not served, or None."""
    for name in store.names():
        served = store.available(name)
        for label, version in store.labels(name).items():
            if version not in served:
                numbers = ", ".join(map(str, served))
                return (
                    f"--labels {name}:{label}={version} names a version that is not served "
                    f"(served: {numbers}); name one that is, or serve it with --versions."
                )
    return None


def _listening(server: LocalServer, host: str) -> str:
    lines = [
        f"{name}: version {', '.join(map(str, server.store.available(name)))}"
        for name in server.store.names()
    ]
    return "\n".join(
        [
            *lines,
            f"gRPC on {host}:{server.grpc_port}",
            f"HTTP on http://{host}:{server.rest_port}/",
            _EPILOG,
            "",
        ]
    )


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {shorten(message, 1000)}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
