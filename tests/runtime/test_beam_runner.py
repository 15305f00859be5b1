"""Engines of Apache Beam that cannot be used, and what they report: one sentence each."""

import socket

import pytest

from tfrec_attn import __version__
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.runtime import beam_runner
from tfrec_attn.runtime.beam_failures import failure, without_step
from tfrec_attn.runtime.beam_runner import HOW_TO_GET_IT, Engine, check_engine, require_version

# Texts that Flink 1.19, Prism 2.77 and Beam's own workers gave, shortened.
_WORKER = """Pipeline failed in state FAILED: java.lang.RuntimeException: Error received from SDK
Traceback (most recent call last):
  File "sdk_worker.py", line 313, in _execute
{}
\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient"""
REPORTS = [
    (
        _WORKER.format("ModuleNotFoundError: No module named 'tfrec_attn'"),
        ConfigError,
        "the workers have no tfrec_attn: give them an environment with this package",
    ),
    (
        _WORKER.format("AttributeError: Can't get attribute 'FilterUsers' on <module 'tfrec'>"),
        ConfigError,
        "the workers have another version of a package",
    ),
    (
        _WORKER.format("tfrec_attn.errors.DataError: a.tsv is odd. [while running 'Map(f)']"),
        DataError,
        "a.tsv is odd.",
    ),
    (
        _WORKER.format("OSError: [Errno 28] No space left on device [while running 'Map(f)']"),
        DataError,
        "a worker has no space left on its disk",
    ),
    (
        "Pipeline failed in state FAILED: StatusRuntimeException: CANCELLED: client cancelled",
        DataError,
        "a worker ended in the middle",
    ),
    (
        "bundle inst003 failed:SDK worker disconnected: worker[job-002], 1 active instructions",
        DataError,
        "a worker ended in the middle",
    ),
    (
        "Unable to fetch remote job server jar at https://example.org/a.jar: HTTP Error 404",
        ConfigError,
        "Beam cannot download this engine: run make engines",
    ),
    (
        _WORKER.format("ValueError: odd"),
        DataError,
        "the pipeline failed, and nothing was written: ValueError: odd; the log",
    ),
]


@pytest.mark.parametrize(("text", "kind", "sentence"), REPORTS)
def test_what_engines_report(text, kind, sentence):
    error = failure(text)
    assert type(error) is kind
    assert str(error).startswith(sentence) and str(error).endswith(".")
    assert "\n" not in str(error)


def test_the_step_of_a_pipeline_is_left_out():
    assert without_step("It is odd. [while running 'Map(f)-ptransform-3']") == "It is odd."


def test_workers_with_another_version():
    require_version(__version__)
    with pytest.raises(ConfigError, match=rf"^the workers have tfrec-attn {__version__}, but .*"):
        require_version("0.0.1")


@pytest.fixture(scope="module")
def beam():
    return pytest.importorskip("apache_beam", reason=HOW_TO_GET_IT)


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--runner=Abacus"], "--runner Abacus is no runner of this Beam"),
        (["--runner=PortableRunner"], "--runner PortableRunner needs --job_endpoint HOST:PORT"),
        (
            ["--runner=PortableRunner", "--job_endpoint=localhost:PORT"],
            "--job_endpoint localhost:PORT does not answer (Connection refused): start the engine",
        ),
        (
            ["--runner=FlinkRunner", "--flink_master=http://localhost:PORT"],
            "--flink_master http://localhost:PORT does not answer",
        ),
        (
            [
                "--runner=PortableRunner",
                "--environment_type=EXTERNAL",
                "--environment_config=localhost:PORT",
            ],
            "--environment_config localhost:PORT does not answer",
        ),
        (
            ["--runner=FlinkRunner", "--flink_master=flink"],
            "--flink_master must be HOST:PORT, got flink.",
        ),
        (
            ["--runner=FlinkRunner"],
            "--runner FlinkRunner starts a job server and needs Java, but there is no java:",
        ),
        (
            ["--runner=PrismRunner", "--prism_location=nowhere"],
            "--prism_location nowhere does not exist: run make engines",
        ),
    ],
)
def test_engines_that_cannot_be_used(beam, monkeypatch, options, sentence):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    port = str(free_port())
    with pytest.raises(ConfigError) as caught:
        check_engine([one.replace(":PORT", f":{port}") for one in options if one])
    assert str(caught.value).startswith(sentence.replace("localhost:PORT", f"localhost:{port}"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [[], ["--runner=DirectRunner"]])
def test_the_default_runner(beam, options):
    check_engine(options)


def test_java_options_of_a_job_server_that_beam_starts(beam, monkeypatch):
    monkeypatch.setattr(beam_runner.shutil, "which", lambda name: name)
    names = ("FlinkRunner", "SparkRunner", "DirectRunner")
    options = [Engine([f"--runner={name}"])._options[1:] for name in names]
    short = [f"--job_server_jvm_properties={one}" for one in beam_runner._SHORT_JVM]
    assert options == [short, short, []]
    own = ["--runner=FlinkRunner", "--job_server_jvm_property=-Xmx1g"]
    assert Engine(own)._options == own
