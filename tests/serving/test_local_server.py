"""The server as a whole: its command, its ports, and its stop."""

import contextlib
import gc
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving import local_server
from serving.cli.server_options import option_parser
from serving.local_server import LocalServer
from serving.server.batching import BatchOptions
from serving.server.model_config import ModelConfig
from serving.server.model_store import ModelStore

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 90


def ask(text, **spec):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto([[text]]))
    return request


def stub_of(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def until(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def test_one_server_over_grpc_and_http(server):
    assert server.grpc_port != server.rest_port and server.grpc_port > 0
    with urlopen(
        f"http://127.0.0.1:{server.rest_port}/v1/models/sasrec", timeout=SECONDS
    ) as response:
        assert b'"AVAILABLE"' in response.read()
    with urlopen(
        f"http://127.0.0.1:{server.rest_port}/monitoring/prometheus/metrics", timeout=SECONDS
    ) as response:
        assert b'serving_loaded_version{model="sasrec",version="1"} 1.0' in response.read()


def test_stop_answers_what_is_in_flight_and_refuses_the_rest(toy):
    # With this timeout a request is in flight until another one comes. The first request must not
    # wait for it.
    batching = BatchOptions(max_batch_size=2, batch_timeout=2.0)
    store = ModelStore([ModelConfig("toy", toy)], batching=batching, poll=3600)
    server = LocalServer(store, port=0, rest_port=None)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        future = stub_of(channel).Predict.future(ask("a"), timeout=SECONDS)
        until(lambda: store._models["toy"]._latest.users)
        stopping = threading.Thread(target=server.stop, args=(SECONDS,))
        stopping.start()
        assert future.result().outputs["joined"].string_val[0] == b"a"
        stopping.join(SECONDS)
        with pytest.raises(grpc.RpcError) as raised:
            stub_of(channel).Predict(ask("b"), timeout=5)
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    server.stop()


def test_stop_under_load_cancels_no_call(toy):
    """Every call is answered, or ends with UNAVAILABLE, which clients retry."""
    store = ModelStore([ModelConfig("toy", toy)], poll=3600)
    server = LocalServer(store, port=0, rest_port=None)
    server.start()
    statuses, stopped = [], threading.Event()

    def ask_again(stub):
        while not stopped.is_set():
            try:
                stub.Predict(ask("a"), timeout=SECONDS)
                statuses.append("OK")
            except grpc.RpcError as error:
                statuses.append(error.code().name)

    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options) for _ in range(4)]
    clients = [
        threading.Thread(target=ask_again, args=(stub_of(channels[n % 4]),)) for n in range(16)
    ]
    for client in clients:
        client.start()
    until(lambda: len(statuses) > 100)
    server.stop(SECONDS)
    stopped.set()
    for thing in clients:
        thing.join(SECONDS)
    for channel in channels:
        channel.close()
    assert set(statuses) == {"OK", "UNAVAILABLE"}


def test_a_port_that_is_taken(toy, server):
    other = LocalServer(
        ModelStore([ModelConfig("toy", toy)]), port=server.grpc_port, rest_port=None
    )
    with pytest.raises(
        OSError, match=rf"^127.0.0.1:{server.grpc_port} cannot be listened on: .* choose another\.$"
    ):
        other.start()
    other.stop()


def test_an_http_port_that_is_taken(toy, server):
    other = LocalServer(ModelStore([ModelConfig("toy", toy)]), port=0, rest_port=server.rest_port)
    with pytest.raises(OSError, match=str(server.rest_port)):
        other.start()


def test_more_calls_than_workers_are_refused(toy):
    store = ModelStore(
        [ModelConfig("toy", toy)],
        batching=BatchOptions(max_batch_size=2, batch_timeout=60.0),
        poll=3600,
    )
    server = LocalServer(store, port=0, rest_port=None, workers=1)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        future = stub_of(channel).Predict.future(ask("a"), timeout=SECONDS)
        until(lambda: store._models["toy"]._latest.users)
        with pytest.raises(grpc.RpcError) as raised:
            stub_of(channel).Predict(ask("b"), timeout=SECONDS)
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        future.cancel()
        threading.Thread(
            target=lambda: store.predict(
                "toy", "", {"text": tf.make_ndarray(ask("c").inputs["text"])}
            ),
            daemon=True,
        ).start()
        server.stop(SECONDS)


def test_help_says_what_production_is(capsys):
    with pytest.raises(SystemExit) as raised:
        local_server.main(["--help"])
    assert raised.value.code == 0
    assert "In production use TensorFlow Serving" in " ".join(capsys.readouterr().out.split())


WRONG = [
    (["--model", "toy"], "--model must be NAME=FOLDER, but is 'toy'."),
    (
        ["--model", "toy=/nowhere"],
        "--model toy=/nowhere names no folder; "
        "give one that python -m tfrec_attn.export has written.",
    ),
    (["--labels", "toy:stable"], "--labels must be NAME:LABEL=VERSION, but is 'stable'."),
    (["--labels", "stable=1"], "--labels must be NAME:LABEL=VERSION, but is 'stable=1'."),
    (
        ["--labels", "toy:stable=one"],
        "--labels must be NAME:LABEL=VERSION with a number, but is 'toy:stable=one'.",
    ),
    (
        ["--labels", f"toy:stable={10**30}"],
        f"--labels must be NAME:LABEL=VERSION with a number, but is 'toy:stable={10**30}'.",
    ),
    (
        ["--labels", "x:stable=1"],
        "--labels names the model x, which is not among those of --model; name one of toy.",
    ),
    (
        ["--versions", "x=all"],
        "--versions names the model x, which is not among those of --model; name one of toy.",
    ),
    (
        ["--versions", "toy=new"],
        "versions must be latest, latest:2, all or numbers such as 1,4, but are 'new'.",
    ),
    (["--batch-size", "-1"], "--batch-size must be 0 or greater, but is -1."),
    (["--batch-timeout", "-1"], "--batch-timeout must be 0 or greater, but is -1.0."),
    (["--rest-port", "65536"], "--rest-port must be at most 65535, but is 65536."),
    (["--queue", "0"], "--queue must be 1 or greater, but is 0."),
    (
        ["--histories", "/nowhere.csv"],
        "--histories /nowhere.csv does not exist; give a file of histories or a log.",
    ),
    (["--poll", "0"], "--poll must be 0.01 or greater, but is 0.0."),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_options_that_make_no_sense(toy, capsys, options, message):
    given = options if options[0] == "--model" else ["--model", f"toy={toy}", *options]
    assert local_server.main(given) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_rows_are_padded_only_where_it_is_wanted(toy):
    for options, expected in (([], False), (["--pad"], True)):
        parsed = option_parser("", "").parse_args(["--model", f"toy={toy}", *options])
        assert local_server._server(parsed).store._batching.pad_variable_length_inputs == expected


def test_the_histories_of_the_page(servable, tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\nu1,i3,1\nu1,i4,2\n")
    options = ["--model", f"sasrec={servable}", "--histories", str(tmp_path / "log.csv")]
    server = local_server._server(option_parser("", "").parse_args(options))
    assert server._users.find("u1").items == ["i3", "i4"]


@pytest.fixture
def signals():
    """Restores the signal handlers."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_label_of_a_version_that_is_not_served(toy, capsys, signals):
    options = [
        "--labels",
        "toy:stable=1",
        "--labels",
        "toy:next=9",
        "--port",
        "0",
        "--rest-port",
        "0",
    ]
    assert local_server.main(["--model", f"toy={toy}", *options]) == 2
    assert capsys.readouterr().err == (
        "error: --labels toy:next=9 names a version that is not served (served: 1); "
        "name one that is, or serve it with --versions.\n"
    )


def test_a_signal_to_another_thread_ends_the_command(toy, monkeypatch, signals):
    main = threading.get_ident()

    def waits():
        callers = [one.name for one in traceback.extract_stack(sys._current_frames()[main])]
        return callers[-3:] == ["main", "wait", "wait"]

    def kill_oneself():
        until(waits)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    def listening(*_):
        threading.Thread(target=kill_oneself).start()
        return ""

    monkeypatch.setattr(local_server, "_listening", listening)
    assert local_server.main(["--model", f"toy={toy}", "--port", "0", "--rest-port", "0"]) == 0
    gc.unfreeze()


@pytest.mark.parametrize("broken", [False, True], ids=["empty", "corrupt"])
def test_a_model_with_nothing_to_serve(tmp_path, capsys, signals, broken):
    if broken:
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "saved_model.pb").write_bytes(b"\xff")
    assert local_server.main(["--model", f"toy={tmp_path}", "--port", "0", "--rest-port", "0"]) == 2
    error = capsys.readouterr().err
    expected = (
        f"error: {tmp_path}/1 cannot be loaded as a SavedModel ("
        if broken
        else "error: model toy has no version in its folder; "
    )
    assert error.startswith(expected) and error.endswith(".\n") and error.count("\n") == 1


@contextlib.contextmanager
def command(toy, *options):
    """A running command: (process, HOST:PORT of gRPC, URL of the page)."""
    ports = ["--port", "0", "--rest-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.local_server", "--model", f"toy={toy}", *ports, *options],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = [process.stdout.readline() for _ in range(4)]
        assert lines[0] == "toy: version 1\n" and "In production use TensorFlow Serving" in lines[3]
        target = re.fullmatch(r"gRPC on (127\.0\.0\.1:\d+)\n", lines[1])[1]
        yield process, target, re.fullmatch(r"HTTP on (http://127\.0\.0\.1:\d+/)\n", lines[2])[1]
    finally:
        process.kill()
        process.communicate()


def queued(page, rows):
    """Whether this number of rows waits for a batch."""
    line = f'serving_queued_rows{{model="toy",signature="serving_default"}} {rows}.0'
    return line.encode() in urlopen(f"{page}monitoring/prometheus/metrics").read()


def test_the_command_ends_on_sigterm_after_it_has_answered(toy):
    """The first request waits for a full batch, and the second request waits for the first."""
    options = "--labels toy:stable=1 --batch-size 8 --batch-timeout 3 --poll 0.5 --grace 90"
    with (
        command(toy, *options.split()) as (process, target, page),
        grpc.insecure_channel(target) as channel,
    ):
        futures = [stub_of(channel).Predict.future(ask(text), timeout=SECONDS) for text in "ab"]
        until(lambda: queued(page, 1))
        process.send_signal(signal.SIGTERM)
        texts = [future.result().outputs["joined"].string_val[0] for future in futures]
        assert texts == [b"a", b"b"]
        assert process.wait(SECONDS) == 0


def test_the_command_ends_when_its_grace_is_over(toy):
    with (
        command(toy, "--batch-timeout", "3000", "--grace", "0.2") as (process, target, page),
        grpc.insecure_channel(target) as channel,
    ):
        futures = [stub_of(channel).Predict.future(ask(text), timeout=SECONDS) for text in "ab"]
        until(lambda: queued(page, 1))
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert {future.code().name for future in futures} == {"UNAVAILABLE"}
