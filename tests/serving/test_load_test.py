import json
import random
import threading
from concurrent import futures

import grpc
import polars as pl
import pytest
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving import load_test
from serving.checks import load_measurement
from serving.checks.load_measurement import Limits, Sample, closed_loop, open_loop
from serving.checks.load_target import LoadTarget, make_histories, read_histories, requests_of
from tfrec_attn.errors import DataError


class Clock:
    """A clock that moves on demand."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    one = Clock()
    monkeypatch.setattr(load_measurement, "time", one)
    return one


def test_a_client_asks_until_time_is_up(clock):
    def send(number, done):
        clock.sleep(0.25)
        done("OK" if number != 1 else "INTERNAL")

    samples = closed_loop(send, 1, Limits(1.0, 1000))
    assert samples == [
        Sample(0.0, 0.25, "OK"),
        Sample(0.25, 0.25, "INTERNAL"),
        Sample(0.5, 0.25, "OK"),
        Sample(0.75, 0.25, "OK"),
    ]
    assert len(closed_loop(send, 1, Limits(1.0, 3))) == 3


def test_clients_share_the_requests():
    waiting, numbers, most = [], [], []

    def send(number, done):
        numbers.append(number)
        waiting.append(done)
        most.append(len(waiting))
        # The responses come when all four have asked: the 20 are 5 rounds.
        if len(waiting) == 4:
            threading.Thread(target=answer, args=(waiting[:],)).start()

    def answer(some):
        waiting.clear()
        for done in some:
            done("OK")

    samples = closed_loop(send, 4, Limits(60, 20))
    assert numbers == list(range(20))
    assert most == [1, 2, 3, 4] * 5
    assert len(samples) == 20


def test_latency_counts_from_when_a_request_was_due(clock):
    def send(number, done):
        clock.sleep(0.75)
        done("OK")

    # Due at 0, 0.5 and 1; each keeps the sender for 0.75, so that they end at 0.75, 1.5 and 2.25.
    assert open_loop(send, 2.0, Limits(1.5, 100)) == [
        Sample(0.0, 0.75, "OK"),
        Sample(0.5, 1.0, "OK"),
        Sample(1.0, 1.25, "OK"),
    ]


def test_requests_at_a_rate_end_with_time_or_number(clock):
    times = []

    def send(number, done):
        times.append(clock.now - 100)
        done("OK")

    open_loop(send, 4.0, Limits(1.0, 100))
    assert times == [0.0, 0.25, 0.5, 0.75]
    times.clear()
    clock.now = 100.0
    open_loop(send, 4.0, Limits(1.0, 2))
    assert times == [0.0, 0.25]


def never_the_first(number, done):
    if number:
        done("OK")


@pytest.mark.parametrize("loop", [open_loop, closed_loop])
def test_answers_that_never_come_are_counted(loop):
    # 1,000 a second, or 2 clients, of which the first gets no response.
    samples = loop(never_the_first, 1000 if loop is open_loop else 2, Limits(0.05, 3, grace=0.01))
    assert sorted(sample.status for sample in samples) == ["LOST", "OK", "OK"]


def test_figures():
    samples = [Sample(0.01 * number, number / 1000, "OK") for number in range(1, 101)]
    samples += [
        Sample(3.5, 0.5, "UNAVAILABLE"),
        Sample(1.0, 9.0, "INTERNAL"),
        Sample(0.0, 0.5, "UNAVAILABLE"),
    ]
    random.Random(1).shuffle(samples)
    report = load_measurement.summary(samples)
    assert report == {
        "seconds": 10.0,
        "requests": 103,
        "answered": 100,
        "errors": {"INTERNAL": 1, "UNAVAILABLE": 2},
        "per_second": 10.0,
        "latency_ms": {
            "p50": 50.0,
            "p95": 95.0,
            "p99": 99.0,
            "max": 100.0,
            "mean": pytest.approx(50.5),
        },
    }
    assert load_measurement.table(report) == (
        "103 requests in 10.0 s, 100 answered, 10.0 a second\n"
        "errors: 1 INTERNAL, 2 UNAVAILABLE\n"
        "latency: p50 50.00, p95 95.00, p99 99.00, max 100.00, mean 50.50 ms"
    )


def test_figures_of_nothing():
    report = load_measurement.summary([Sample(0.0, 0.5, "INTERNAL")])
    assert (report["answered"], report["per_second"], report["latency_ms"]) == (0, 0.0, None)
    assert (
        load_measurement.table(report)
        == "1 requests in 0.5 s, 0 answered, 0.0 a second\nerrors: 1 INTERNAL"
    )
    assert load_measurement.summary([])["requests"] == 0


class Fake(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Fails every fourth call of a connection after its first, and records the requests."""

    def __init__(self):
        self.lock, self.asked = threading.Lock(), []

    def Predict(self, request, context):
        with self.lock:
            self.asked.append((context.peer(), list(request.inputs["history"].string_val)))
            failing = len(self.asked) > 2 and len(self.asked) % 4 == 0
        if failing:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = 7
        return response


@pytest.fixture
def fake():
    servicer = Fake()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    servicer.where = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(None).wait()


REQUESTS = [("u1", ["a"]), ("u2", ["b", "c"])]


def load(target, kind):
    target.connect()
    return (
        closed_loop(target.send, 3, Limits(60, 30))
        if kind == "closed"
        else open_loop(target.send, 200.0, Limits(60, 30))
    )


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_a_server_under_load(fake, kind):
    with LoadTarget(
        fake.where, requests_of(REQUESTS, "m", None, None, 10), 20, connections=2
    ) as target:
        samples = load(target, kind)
    # With the 2 that connect there are 32 calls: the 4th, 8th, ... 32nd fail, and are not tried
    # again.
    assert len(fake.asked) == 32
    assert load_measurement.summary(samples)["errors"] == {"UNAVAILABLE": 8}
    assert len({peer for peer, _ in fake.asked}) == 2
    asked = [history for _, history in fake.asked[2:]]
    assert (asked.count([b"a"]), asked.count([b"b\tc"])) == (15, 15)


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_answers_can_be_checked(fake, kind):
    checked = []

    def check(number, answer):
        assert predict_pb2.PredictResponse.FromString(answer).model_spec.version.value == 7
        checked.append(number)
        return {0: "OK", 1: "WRONG"}[number % 3]

    with LoadTarget(
        fake.where, requests_of(REQUESTS, "m", None, None, 10), 20, connections=2, check=check
    ) as target:
        report = load_measurement.summary(load(target, kind))
    # 8 of the 30 fail; of each third of the others at least 2 are answered.
    counts = [sum(number % 3 == rest for number in checked) for rest in range(3)]
    assert sum(counts) == 22
    assert min(counts) >= 2
    assert (report["answered"], report["errors"]) == (
        counts[0],
        {"KeyError": counts[2], "UNAVAILABLE": 8, "WRONG": counts[1]},
    )


@pytest.fixture(scope="module")
def common(server, servable):
    return [
        "--model",
        "sasrec",
        "--target",
        f"127.0.0.1:{server.grpc_port}",
        "--items",
        str(servable / "1" / "assets" / "items.txt"),
    ]


@pytest.mark.parametrize(
    ("options", "load"),
    [
        (["--rate", "200"], {"rate": 200.0, "connections": 1}),
        (["--concurrency", "3"], {"concurrency": 3, "connections": 3}),
        (["--connections", "2"], {"concurrency": 16, "connections": 2}),
    ],
)
def test_the_command(capsys, tmp_path, common, options, load):
    path = tmp_path / "figures.json"
    assert (
        load_test.main(
            [*common, *options, "--requests", "40", "--timeout", "20", "--json", str(path)]
        )
        == 0
    )
    report = json.loads(path.read_text(encoding="utf-8"))
    assert (report["requests"], report["answered"], report["errors"]) == (40, 40, {})
    assert load.items() <= report.items()
    assert (
        0
        < report["latency_ms"]["p50"]
        <= report["latency_ms"]["p99"]
        <= report["latency_ms"]["max"]
    )
    written = capsys.readouterr()
    assert written.out == f"{load_measurement.table(report)}\n"
    assert written.err == ""


def test_requests_that_fail_end_with_1(capsys, tmp_path, common):
    # No server takes a message of 20 MB.
    path = tmp_path / "histories.parquet"
    pl.DataFrame({"history": [["i1"], ["x" * (20 << 20)]]}).write_parquet(path)
    assert (
        load_test.main(
            [
                *common[:4],
                "--histories",
                str(path),
                "--requests",
                "4",
                "--concurrency",
                "1",
                "--timeout",
                "20",
            ]
        )
        == 1
    )
    written = capsys.readouterr()
    assert "RESOURCE_EXHAUSTED" in written.out + written.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seconds", "0"], "--seconds must be above 0 and at most 3600, but is 0.0."),
        (["--seconds", "1e9"], "--seconds must be above 0 and at most 3600, but is 1000000000.0."),
        (["--requests", "-1"], "--requests must be above 0 and at most 1000000, but is -1."),
        (
            ["--requests", "1000001"],
            "--requests must be above 0 and at most 1000000, but is 1000001.",
        ),
        (["--rate", "0"], "--rate must be above 0 and at most 100000, but is 0.0."),
        (["--concurrency", "5000"], "--concurrency must be above 0 and at most 1024, but is 5000."),
        (["--connections", "0"], "--connections must be above 0 and at most 1024, but is 0."),
        (["--timeout", "0"], "--timeout must be a number of seconds above 0, but is 0."),
        (["--k", "0"], "k must be a number of items from 1 to 2147483647, but is 0."),
        (
            ["--json", "/no/such/x"],
            "--json /no/such/x cannot be written: there is no folder /no/such; make it, or name "
            "another file.",
        ),
        (
            ["--target", "10.0.0.1:8500"],
            "--target 10.0.0.1:8500 is not on this machine; "
            "give --allow-remote where its owner agrees to the load.",
        ),
    ],
)
def test_options_that_make_no_sense(capsys, common, options, message):
    assert load_test.main([*common, *options]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_model_that_is_not_there(capsys, common):
    assert load_test.main([*common, "--model", "other", "--requests", "3"]) == 1
    assert (
        capsys.readouterr().err == f"error: {common[3]} answered NOT_FOUND: "
        "Servable not found for request: Latest(other).\n"
    )


def test_a_server_that_is_not_there(capsys, common):
    assert load_test.main([*common, "--target", "localhost:1", "--requests", "3"]) == 1
    assert capsys.readouterr().err.startswith("error: No server answers at localhost:1 (")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:8500", True),
        ("127.8.9.1:8500", True),
        ("localhost:8500", True),
        ("[::1]:8500", True),
        ("ipv4:127.0.0.1:8500", True),
        ("ipv6:[::1]:8500", True),
        ("dns:///localhost:8500", True),
        ("unix:/tmp/x", True),
        ("0.0.0.0:8500", False),
        ("10.0.0.1:8500", False),
        ("localhost.example.com:8500", False),
        ("127.0.0.1.example.com:8500", False),
        ("[::2]:8500", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:2", False),
        ("dns://10.0.0.1/localhost:8500", False),
        ("", False),
    ],
)
def test_what_is_on_this_machine(target, expected):
    assert load_test.is_loopback(target) == expected


def test_histories_of_a_run(run):
    pairs = read_histories(run / "test.parquet", 5)
    assert len(pairs) == 5
    events = {
        user: history
        for user, history, _ in pl.read_parquet(run / "test.parquet")
        .select("user_id", "history", "target")
        .rows()
    }
    assert all(events[user] == history for user, history in pairs)
    assert read_histories(run / "test.parquet", 5) == pairs
    assert read_histories(run / "test.parquet", 5, seed=1) != pairs


def test_histories_without_users(tmp_path):
    pl.DataFrame({"history": [["a", "b"]]}).write_parquet(tmp_path / "x.parquet")
    assert read_histories(tmp_path / "x.parquet", 5) == [("", ["a", "b"])]


def test_histories_are_drawn_of_items(tmp_path):
    (tmp_path / "items.txt").write_text("a\nb c\n日本語\n", encoding="utf-8")
    pairs = make_histories(tmp_path / "items.txt", 200)
    assert {item for _, history in pairs for item in history} == {"a", "b c", "日本語"}
    assert {len(history) for _, history in pairs} <= set(range(1, 51))
    assert make_histories(tmp_path / "items.txt", 200) == pairs


def test_files_that_are_no_histories(tmp_path):
    (tmp_path / "text").write_bytes(b"\xff\xfe")
    (tmp_path / "bad.parquet").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").write_text("")
    pl.DataFrame({"history": ["a"]}).write_parquet(tmp_path / "texts.parquet")
    for read, name, message in (
        (read_histories, "bad.parquet", r"^\S+ cannot be read as Parquet \(.+\)\.$"),
        (read_histories, "nothing.parquet", r"^\S+ cannot be read as Parquet \(.+\)\.$"),
        (read_histories, "nothing.jsonl", r"^\S+ cannot be read: No such file or directory\.$"),
        (read_histories, "texts.parquet", r"^\S+, column 'history': expected lists of texts"),
        (read_histories, "text", r"^--histories \S+ must be \.jsonl .*name .* of a run\.$"),
        (make_histories, "text", r"^--items \S+ cannot be read \(it is not UTF-8 text\)\.$"),
        (
            make_histories,
            "nothing",
            r"^--items \S+ cannot be read \(No such file or directory\)\.$",
        ),
        (
            make_histories,
            "empty",
            r"^--items \S+ has no items; name assets/items.txt of a servable\.$",
        ),
    ):
        with pytest.raises((ValueError, DataError), match=message):
            read(tmp_path / name, 5)


def test_a_foreign_file_is_not_overwritten(capsys, tmp_path, common):
    path = tmp_path / "mine"
    path.write_text('{"figures": "mine"}')
    assert load_test.main([*common, "--json", str(path)]) == 2
    assert (
        capsys.readouterr().err
        == f"error: --json {path} exists and is not an earlier one of its kind; "
        "name a new file, or remove it.\n"
    )
    assert path.read_text() == '{"figures": "mine"}'


def test_earlier_figures_are_replaced(tmp_path, common):
    for _ in range(2):
        assert (
            load_test.main(
                [*common, "--requests", "2", "--timeout", "20", "--json", str(tmp_path / "figures")]
            )
            == 0
        )
