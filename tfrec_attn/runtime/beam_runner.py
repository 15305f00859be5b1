"""Runs Apache Beam pipelines, and reports failures of an engine in one sentence."""

import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tfrec_attn.errors import ConfigError, DataError, TfrecError
from tfrec_attn.runtime.beam_failures import failure, without_step

if TYPE_CHECKING:
    import apache_beam as beam

HOW_TO_GET_IT = "Apache Beam is not installed: install the extra beam, or run make venv"
_WAIT = 5  # seconds
_JAVA_RUNNERS = ("FlinkRunner", "SparkRunner")
# The job server runs for one command, which is too short for Java's second compiler to pay off.
_JVM_OPTION = "job_server_jvm_properties"
_SHORT_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
# Options with the address of an engine, and their values that start an engine instead.
_ADDRESSES = {"job_endpoint": ("embed",), "flink_master": ("[auto]", "[local]")}


def require_beam() -> None:
    """Checks that Apache Beam is installed.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import apache_beam  # noqa: F401
    except ImportError:
        raise ConfigError(f"{HOW_TO_GET_IT}.") from None


def package_version() -> str:
    """Returns the version of this package."""
    return sys.modules["tfrec_attn"].__version__


def require_version(version: str) -> None:
    """Checks in a worker that it has the same version as the process that started the pipeline.

    Args:
        version: Version of this package in the process that started the pipeline.

    Raises:
        ConfigError: If the worker has another version.
    """
    own = package_version()
    if version != own:
        raise ConfigError(
            f"the workers have tfrec-attn {own}, but this process has {version}: install "
            "the same version in both."
        )


def check_engine(options: Sequence[str]) -> object:
    """Returns Beam's runner, after a check of its engine.

    Args:
        options: Options of Beam.

    Raises:
        ConfigError: If Beam does not know the runner, an address does not respond, or Java or a
            file that the engine needs is missing.
    """
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.runners.runner import create_runner

    parsed = PipelineOptions(list(options))
    runner = parsed.view_as(StandardOptions).runner or "DirectRunner"
    values = parsed.get_all_options()
    try:
        result = create_runner(runner)
    except (ValueError, ImportError, AttributeError):
        raise ConfigError(
            f"--runner {runner} is no runner of this Beam, or needs a package that is not here: "
            "give DirectRunner, FlinkRunner, SparkRunner, PrismRunner, PortableRunner or "
            "DataflowRunner."
        ) from None
    if values.get("environment_type") == "EXTERNAL":
        _require_answer("environment_config", str(values.get("environment_config")))
    name = runner.rpartition(".")[2]
    for option, own in _ADDRESSES.items():
        address = values.get(option)
        if address and address not in own:
            _require_answer(option, address)
    started = not values.get("job_endpoint")
    if name == "PortableRunner" and started:
        raise ConfigError("--runner PortableRunner needs --job_endpoint HOST:PORT of a job server.")
    if name in _JAVA_RUNNERS and started and not shutil.which(_java()):
        raise ConfigError(
            f"--runner {name} starts a job server and needs Java, but there is no {_java()}: "
            "install a Java runtime (17), or give --job_endpoint of a job server that runs."
        )
    for option in ("flink_job_server_jar", "spark_job_server_jar", "prism_location"):
        path = values.get(option)
        if path and "://" not in path and not os.path.isfile(path):
            raise ConfigError(f"--{option} {path} does not exist: run make engines, or correct it.")
    return result


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    return os.path.join(home, "bin", "java") if home else "java"


def _jvm_options(runner: str, options: Sequence[str]) -> list[str]:
    """Options of Java for a job server that Beam starts; none if the user gives options."""
    given = any("job_server_jvm_prop" in one for one in options)
    if given or runner not in _JAVA_RUNNERS:
        return []
    return [f"--{_JVM_OPTION}={one}" for one in _SHORT_JVM]


def _require_answer(option: str, address: str) -> None:
    host, _, port = re.sub(r"^[a-z]+://", "", address).rstrip("/").rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--{option} must be HOST:PORT, got {address}.")
    try:
        socket.create_connection((host, int(port)), _WAIT).close()
    except OSError as error:
        raise ConfigError(
            f"--{option} {address} does not answer ({error.strerror or error}): start the engine "
            "or the workers there, or correct the address."
        ) from None


class Engine:
    """An engine of Apache Beam, which runs pipelines.

    If Beam starts a job server, all pipelines use it. It stops at the end of the context.

    >>> with Engine(["--runner=FlinkRunner"]) as engine, engine.pipeline() as p:
    ...     p | beam.Create([1, 2]) | beam.Map(print)

    Args:
        options: Options of Beam.

    Raises:
        ConfigError: As for `check_engine`.
    """

    def __init__(self, options: Sequence[str]):
        self._runner, self._server = check_engine(options), None
        self._options = [*options, *_jvm_options(type(self._runner).__name__, options)]
        if hasattr(self._runner, "default_job_server"):
            self._start = self._runner.default_job_server
            self._runner.default_job_server = self._job_server

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *error: object) -> None:
        if self._server is not None:
            self._server.stop()

    @contextmanager
    def pipeline(self) -> Iterator["beam.Pipeline"]:
        """Provides a pipeline, and runs it at the end of the context.

        Raises:
            ConfigError: If the workers cannot run the pipeline.
            DataError: If the pipeline fails.
        """
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        made = beam.Pipeline(runner=self._runner, options=PipelineOptions(self._options))
        yield made
        try:
            state = made.run().wait_until_finish()
        except TfrecError as error:
            raise type(error)(without_step(str(error))) from error
        except Exception as error:
            raise failure(str(error) or type(error).__name__) from error
        if state not in (None, "DONE"):
            raise DataError(f"the pipeline ended in state {state}: the log of the engine says why.")

    def _job_server(self, options: object) -> object:
        if self._server is None:
            self._server = self._start(options)
        return self._server
