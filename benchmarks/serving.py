"""Measures the local server: latency, throughput, version swaps under load, and memory.

    python benchmarks/serving.py [--seconds 8] [--mixed 10000] [--soak SECONDS] [--json FILE]

The server runs in a process of its own (`python -m serving.local_server`, batches of up to 32 rows,
no batch timeout). This process sends the load over loopback, so both share the cores. The model has
the size of Amazon Beauty (12,101 items, D 64, L 50, SASRec with one block) and is not trained. A
request is `recommend_joined` for one history of 1 to 50 events with k 10. The requests are made in
advance, and the responses are not parsed.

- `echo`: a gRPC server in Python that returns the requests. It shows the cost of gRPC in Python
  without a model.
- `rows of ids`: the same requests to `recommend`, with one "" in front of each history. `rows of
  51` have that width for all requests. `padded` is a server that pads the rows of a batch, as TF
  Serving does with `pad_variable_length_inputs: true`.
- `REST`: requests to `serving_default` in the JSON of TF Serving. If FastAPI is installed, they are
  also sent to the same SavedModel behind FastAPI and uvicorn (`benchmarks/_fastapi.py`).
- `mixed`: recommend, score, explain and embed requests, while a new version appears every two
  seconds, of two models in turn. Each response is compared with that of a TensorFlow session
  without a server. A response with a difference counts as WRONG.

`server us` and `client us` are the processor time of a request in each process, in microseconds.
Other work on the machine changes them less than the latencies. With --soak, eight clients send
requests for this time, and the table shows the growth of the server's resident memory in the second
half.
"""

import argparse
import gc
import importlib.util
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from _machine import add_json, write_json
from _server_process import process, processor_seconds, resident_mb

from tfrec_attn.runtime.process import import_tensorflow, seed_everything

tf = import_tensorflow()

from _expected_responses import ExpectedResponses  # noqa: E402
from _rest_target import RestTarget  # noqa: E402
from tensorflow_serving.apis import predict_pb2  # noqa: E402

from export.saved_model import save  # noqa: E402
from export.servable import Servable  # noqa: E402
from export.warmup import write_warmup  # noqa: E402
from serving.checks.load_measurement import (  # noqa: E402
    Limits,
    closed_loop,
    open_loop,
    summary,
)
from serving.checks.load_target import LoadTarget, requests_of  # noqa: E402
from serving.clients import requests  # noqa: E402
from serving.clients.grpc_client import predict_request  # noqa: E402
from tfrec_attn.data.sequences.vocabulary import Vocabulary  # noqa: E402
from tfrec_attn.models import SASRec  # noqa: E402

NAME, ITEMS, DIM, LENGTH, SWAP_SECONDS, TIMEOUT = "beauty", 12_101, 64, 50, 2.0, 5.0
CLIENTS, CONNECTIONS, RATE = 16, 4, 100.0


def write_version(folder: Path, seed: int) -> None:
    """Writes a SavedModel with random weights, and its warm-up requests."""
    model = SASRec(1, ITEMS, LENGTH, dim=DIM)
    vectors = np.random.default_rng(seed).normal(size=(ITEMS + 1, DIM)).astype(np.float32) * 0.05
    vectors[0] = 0
    model.items.embeddings.assign(vectors)
    model.user_vocabulary = Vocabulary(["u"])
    model.item_vocabulary = Vocabulary([f"i{item}" for item in range(ITEMS)])
    save(Servable(model, np.ones(ITEMS)), folder)
    write_warmup(folder, name=NAME, max_length=LENGTH, max_k=100)


def some_histories(count: int, draw: random.Random) -> list[tuple[str, list[str]]]:
    return [
        ("", [f"i{draw.randrange(ITEMS)}" for _ in range(draw.randint(1, LENGTH))])
        for _ in range(count)
    ]


def rows_of_ids(
    histories: list[tuple[str, list[str]]], width: int | None = None
) -> list[predict_pb2.PredictRequest]:
    """Makes the same requests with rows of ids, padded with "" to a width or with one ""."""
    requests = []
    for user, history in histories:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = NAME, "recommend"
        row = [""] * ((width or len(history) + 1) - len(history)) + history
        for name, array in (
            ("user_id", [user]),
            ("history", [row]),
            ("exclude", [[""]]),
            ("allow", [[""]]),
        ):
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        request.inputs["k"].CopyFrom(tf.make_tensor_proto([10], tf.int32))
        requests.append(request)
    return requests


def mixed_request(
    number: int, user: str, history: list[str], draw: random.Random
) -> requests.Request:
    """Makes a request to one of four signatures, with random lengths."""
    some = [f"i{draw.randrange(ITEMS)}" for _ in range(draw.randint(1, 25))]
    kinds = (
        lambda: requests.recommend(history, user, draw.randint(1, 100), some[:5], (), 200),
        lambda: requests.recommend(history, user, 10, (), some, 200),
        lambda: requests.score(history, some, user, 200),
        lambda: requests.explain(history, some[0], user, 200),
        lambda: requests.embed(history, user, 200),
    )
    return kinds[number % len(kinds)]()


def load(
    server: tuple[int, str],
    requests: list,
    limits: Limits,
    *,
    clients: int = 8,
    rate: float | None = None,
    check=None,
) -> dict:
    """Measures a load over gRPC, after a hundred untimed requests.

    Args:
        server: (process id, HOST:PORT).
        requests: Messages, sent in turn.
        limits: Limits of the load.
        clients: Number of clients, over up to four connections (default: 8).
        rate: Requests a second, over one connection. None (default): as fast as the clients can.
        check: As in `LoadTarget`.
    """
    pid, where = server
    connections = 1 if rate else min(clients, CONNECTIONS)
    with LoadTarget(where, requests, TIMEOUT, connections, check) as target:
        return measured(pid, target, limits, clients, rate)


def load_rest(
    server: tuple[int, str], bodies: list[bytes], limits: Limits, rate: float | None = None
) -> dict:
    """Measures a load over REST, with a connection for each client."""
    pid, where = server
    with RestTarget(where, f"/v1/models/{NAME}:predict", bodies, CLIENTS) as target:
        return measured(pid, target, limits, CLIENTS, rate)


def measured(
    pid: int, target: LoadTarget | RestTarget, limits: Limits, clients: int, rate: float | None
) -> dict:
    """Runs a load, and returns its figures."""
    target.connect()
    closed_loop(target.send, clients, Limits(limits.seconds, 100))
    before = processor_seconds(pid), time.process_time()
    samples = (
        open_loop(target.send, rate, limits) if rate else closed_loop(target.send, clients, limits)
    )
    spent = processor_seconds(pid) - before[0], time.process_time() - before[1]
    each = {
        f"{name}_us": 1e6 * seconds / len(samples)
        for name, seconds in zip(("server", "client"), spent, strict=True)
    }
    return {**summary(samples), **each, "load_average": os.getloadavg()[0]}


def under_swaps(server: tuple[int, str], versions: Path, staged: list[Path], count: int) -> dict:
    """Measures mixed requests while new versions appear, of two models in turn."""
    draw = random.Random(2)  # noqa: S311
    asked = [
        mixed_request(number, *one, draw) for number, one in enumerate(some_histories(250, draw))
    ]
    expected, over = ExpectedResponses(staged, asked), threading.Event()

    def publish():
        number = 1
        while not over.wait(SWAP_SECONDS):
            number += 1
            partial = versions / f"{number}.partial"
            shutil.copytree(staged[1 - number % 2], partial)
            partial.rename(versions / str(number))

    swapping = threading.Thread(target=publish)
    swapping.start()
    try:
        report = load(
            server,
            [predict_request(request, NAME) for request in asked],
            Limits(300, count),
            clients=8,
            check=expected.check,
        )
    finally:
        over.set()
        swapping.join()
    return {
        **report,
        "versions": sorted(expected.versions),
        "examples": [str(one) for one in expected.examples[:3]],
    }


def soak(server: tuple[int, str], requests: list, seconds: float) -> dict:
    """Measures a load of eight clients, and the memory of the server during it."""
    sizes, over = [], threading.Event()

    def look():
        while not over.wait(1.0):
            sizes.append(resident_mb(server[0]))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        report = load(server, requests, Limits(seconds, 10_000_000), clients=8)
    finally:
        over.set()
        looking.join()
    half = sizes[len(sizes) // 2 :]
    slope = 60 * float(np.polyfit(np.arange(len(half)), half, 1)[0]) if len(half) > 2 else None
    return {**report, "mb": sizes[:: max(len(sizes) // 60, 1)], "growth_mb_a_minute": slope}


def measure(folder: Path, parsed: argparse.Namespace) -> dict:
    """Measures all loads."""
    draw = random.Random(1)  # noqa: S311
    histories = some_histories(500, draw)
    staged = [folder / "a", folder / "b"]
    for seed, path in enumerate(staged):
        write_version(path, seed)
    versions = folder / NAME
    shutil.copytree(staged[0], versions / "1")
    requests, limits = (
        requests_of(histories, NAME, None, None, 10),
        Limits(parsed.seconds, 10_000_000),
    )
    gc.collect()
    gc.freeze()
    rows, result = {}, {"rows": {}}
    with process("benchmarks/_echo.py") as server:
        rows[f"echo, {RATE:g} a second"] = load(server, requests, limits, rate=RATE)
        rows[f"echo, {CLIENTS} clients"] = load(server, requests, limits, clients=CLIENTS)
    command = (
        "-m",
        "serving.local_server",
        "--model",
        f"{NAME}={versions}",
        "--port=0",
        "--rest-port=0",
        "--poll=0.2",
    )
    rows |= compare_rest(command, versions / "1", histories, limits)
    with process(*command, "--pad") as server:
        rows[f"rows of ids, padded, {CLIENTS} clients"] = load(
            server, rows_of_ids(histories), limits, clients=CLIENTS
        )
    with process(*command) as server:
        pid = server[0]
        result["mb_at_start"] = resident_mb(pid)
        rows[f"recommend, {RATE:g} a second"] = load(server, requests, limits, rate=RATE)
        rows["recommend, 1 client"] = load(server, requests, limits, clients=1)
        rows[f"recommend, {CLIENTS} clients"] = load(server, requests, limits, clients=CLIENTS)
        rows[f"rows of ids, {CLIENTS} clients"] = load(
            server, rows_of_ids(histories), limits, clients=CLIENTS
        )
        rows[f"rows of {LENGTH + 1}, {CLIENTS} clients"] = load(
            server, rows_of_ids(histories, LENGTH + 1), limits, clients=CLIENTS
        )
        result["mb_after_load"] = resident_mb(pid)
        if parsed.soak:
            rows[f"recommend, {parsed.soak:g} s of load"] = soak(server, requests, parsed.soak)
        if parsed.mixed:
            rows["mixed, with swaps"] = under_swaps(server, versions, staged, parsed.mixed)
        result["mb_at_end"] = resident_mb(pid)
    return {**result, "rows": rows}


def compare_rest(
    command: tuple[str, ...], folder: Path, histories: list[tuple[str, list[str]]], limits: Limits
) -> dict[str, dict]:
    """Measures `serving_default` over REST, of the local server and, if installed, of FastAPI."""
    bodies = [
        json.dumps({"instances": [{"user_id": user, "history": history}]}).encode()
        for user, history in histories
    ]
    servers = {"REST": (*command,), "REST, FastAPI": ("benchmarks/_fastapi.py", str(folder))}
    if importlib.util.find_spec("fastapi") is None:
        del servers["REST, FastAPI"]
    rows = {}
    for name, one in servers.items():
        with process(*one, says="REST on " if "FastAPI" in name else "HTTP on ") as server:
            rows[f"{name}, {RATE:g} a second"] = load_rest(server, bodies, limits, RATE)
            rows[f"{name}, {CLIENTS} clients"] = load_rest(server, bodies, limits)
    return rows


def print_table(result: dict) -> None:
    names = (
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
        "a second",
        "requests",
        "server us",
        "client us",
        "load avg",
    )
    print(f"{'':36s} " + " ".join(f"{name:>9s}" for name in names) + "  errors")
    for name, row in result["rows"].items():
        latency = row["latency_ms"] or {}
        cells = [f"{latency.get(key, float('nan')):9.2f}" for key in ("p50", "p95", "p99", "max")]
        cells += [f"{row['per_second']:9,.0f}", f"{row['requests']:9,d}"]
        cells += [f"{row[key]:9.0f}" for key in ("server_us", "client_us")] + [
            f"{row['load_average']:9.1f}"
        ]
        errors = ", ".join(f"{count} {status}" for status, count in row["errors"].items()) or "none"
        print(f"{name:36s} {' '.join(cells)}  {errors}")
        if row.get("versions"):
            print(f"{'':36s} responses of {len(row['versions'])} versions")
        if row.get("growth_mb_a_minute") is not None:
            print(
                f"{'':36s} memory grew by {row['growth_mb_a_minute']:.2f} MB a minute in the "
                "second half"
            )
    sizes = [result[key] for key in ("mb_at_start", "mb_after_load", "mb_at_end")]
    print(
        f"\nresident memory of the server: {sizes[0]:.0f} MB at start, "
        f"{sizes[1]:.0f} after the load, {sizes[2]:.0f} at the end"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load (default: 8)")
    parser.add_argument(
        "--mixed",
        type=int,
        default=10_000,
        help="mixed requests under swaps of versions, 0 for none (default: 10000)",
    )
    parser.add_argument(
        "--soak",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="of further load, over which memory is watched",
    )
    add_json(parser)
    parsed = parser.parse_args()
    seed_everything(1)
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "tensorflow": tf.__version__}
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), parsed)
    machine["load_after"] = os.getloadavg()[0]
    print(
        f"TensorFlow {tf.__version__}, {machine['cores']} cores, "
        f"load {machine['load']:.1f} before, {machine['load_after']:.1f} after;"
    )
    print(f"{ITEMS:,} items, D {DIM}, L {LENGTH}.\n")
    print_table(result)
    if parsed.json:
        write_json(parsed.json, {**machine, **result})


if __name__ == "__main__":
    main()
