"""Fits the cost of SASRec as a function of sizes, checks the fit, and computes a large case.

    python benchmarks/scale_model.py [--repeats 5] [--json FILE]

Costs are processor time (core-seconds), which other load on the machine hardly changes. Symbols:
events E, users U, items N, dimension D, negatives K, B sequences of L positions in a step.

    step      = a + B L (b D + c D^2) + d B L K D      sampled softmax, LazyAdam
    ranking   = a + b D^2 + c N D + d N                of one user among all items
    reading   = a + b E                                a log in memory
    export    = a + b N D                              a SavedModel
    request   = a + b N D                              a list of 10, for one history

The fit minimizes relative errors with coefficients that are not negative. The check is an epoch
with its ranking, and an export with requests, at sizes that were not fitted.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from _machine import add_json, write_json
from data import write_log
from epoch import measure as measure_epoch
from lists import evaluation

LENGTH, USERS = 50, 1024  # A multiple of the ranking's block of 256 users.
TERMS = {
    "step": lambda B, D, K, **_: [1, B * LENGTH * D, B * LENGTH * D**2, B * LENGTH * K * D],
    "ranking": lambda N, D, **_: [1, D**2, N * D, N],
    "reading": lambda E, **_: [1, E],
    "export": lambda N, D, **_: [1, N * D],
    "request": lambda N, D, **_: [1, N * D],
}
STEPS = [
    (32, 32, 128),
    (128, 32, 128),
    (32, 64, 512),
    (128, 64, 128),
    (128, 64, 512),
    (64, 128, 512),
]
RANKINGS = [(5_000, 32), (5_000, 96), (60_000, 32), (60_000, 64), (30_000, 96)]
READINGS = (100_000, 500_000)
EXPORTS = [(5_000, 32), (5_000, 64), (100_000, 64)]
CHECK = {"E": 300_000, "U": 5_000, "N": 20_000, "D": 48, "B": 96, "K": 256}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    add_json(parser)
    parsed = parser.parse_args()
    from tfrec_attn.runtime.process import import_tensorflow

    tf = import_tensorflow()
    points = measure_all(tf, parsed.repeats)
    coefficients = {name: fit(name, rows) for name, rows in points.items()}
    for name, values in coefficients.items():
        worst = max(abs(predict(coefficients, name, **at) / y - 1) for at, y in points[name])
        found = " ".join(f"{value:.3g}" for value in values)
        print(f"{name:<8} {found:<40} worst of the fit: {worst:.0%}", flush=True)
    checks = check(tf, coefficients, parsed.repeats)
    for name, (predicted, measured) in checks.items():
        print(
            f"{name:<8} {predicted:>8.3g} core-s predicted, {measured:>8.3g} measured: "
            f"ratio {predicted / measured:.2f}"
        )
    for line in large_case(coefficients):
        print(line)
    if parsed.json:
        figures = {"coefficients": coefficients, "checks": checks}
        write_json(parsed.json, figures)


def fit(name: str, points: list[tuple[dict, float]]) -> list[float]:
    """Returns the coefficients with the least squared relative error that are not negative."""
    rows = np.array([TERMS[name](**at) for at, _ in points], float)
    rows /= np.array([y for _, y in points])[:, np.newaxis]
    scale, kept = np.abs(rows).max(axis=0), list(range(rows.shape[1]))
    while True:
        found = np.linalg.lstsq(rows[:, kept] / scale[kept], np.ones(len(rows)), rcond=None)[0]
        if (found >= 0).all():
            break
        kept.pop(int(np.argmin(found)))
    result = np.zeros(rows.shape[1])
    result[kept] = found / scale[kept]
    return result.tolist()


def predict(coefficients: dict, name: str, **sizes) -> float:
    """Returns the predicted core-seconds."""
    return float(np.dot(coefficients[name], TERMS[name](**sizes)))


def measure_all(tf, repeats: int) -> dict[str, list[tuple[dict, float]]]:
    """Measures the points of all fits; returns (sizes, core-seconds) of each point, by name."""
    points = {
        "step": [({"B": B, "D": D, "K": K}, step(tf, B, D, K, repeats)) for B, D, K in STEPS],
        "ranking": [({"N": N, "D": D}, ranking(tf, N, D)) for N, D in RANKINGS],
        "reading": [({"E": E}, reading(E)) for E in READINGS],
    }
    exported = [({"N": N, "D": D}, *exporting(tf, N, D, repeats)) for N, D in EXPORTS]
    points["export"] = [(at, seconds) for at, seconds, _ in exported]
    points["request"] = [(at, seconds) for at, _, seconds in exported]
    return points


def step(tf, B: int, D: int, K: int, repeats: int) -> float:
    """Returns the core-seconds of a training step."""
    from tfrec_attn import models, optimizers

    items = 20_000
    model = models.get("sasrec")(USERS, items, LENGTH, dim=D)
    model.compile(optimizers.LazyAdam(1e-3), "sampled_softmax")
    random = np.random.default_rng(1)
    shapes = {"history": (B, LENGTH), "targets": (B, LENGTH), "negatives": (B, max(1, K // B))}
    batch = {key: _popular(random, items, shape) for key, shape in shapes.items()}
    batch["user"] = np.ones(B, np.int32)
    batch["normalizer"] = np.full(B, 1 / (B * LENGTH), np.float32)
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat().prefetch(2))
    train = model.make_train_function()
    return _seconds(lambda: train(batches)["loss"].numpy(), repeats)


def _popular(random, items: int, shape: tuple) -> np.ndarray:
    """Draws items with the popularity that `data.write_log` has."""
    return (items * random.random(shape) ** 3).astype(np.int32) + 1


def ranking(tf, N: int, D: int) -> float:
    """Returns the core-seconds of the ranking of one target among all items."""
    from tfrec_attn.models import SASRec

    random = np.random.default_rng(1)
    histories = [random.integers(1, N + 1, 50) for _ in range(USERS)]
    ranked, _, cpu = evaluation(tf, SASRec(1, N, LENGTH, dim=D), histories)
    return cpu / ranked


def reading(E: int) -> float:
    """Returns the core-seconds of reading, filtering and splitting a log."""
    from tfrec_attn import config as configuration
    from tfrec_attn.runs import run

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.tsv"
        write_log(log, E, max(1, E // 60), 20_000)
        config = configuration.load(None, ["data.source=file", f"data.path={log}"])
        return _seconds(lambda: run.prepare_data(config), 3)


def exporting(tf, N: int, D: int, repeats: int) -> tuple[float, float]:
    """Returns the core-seconds of an export and of a request."""
    from export.from_python import export_model
    from tfrec_attn.models import SASRec
    from tfrec_attn.runtime.runner import Runner

    model = SASRec(1, N, LENGTH, dim=D)
    model.set_vocabularies([f"item-{one}" for one in range(N)], ["nobody"])
    model.popularity = np.full(N, 1 / N, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        path = export_model(model, Path(folder) / "sasrec")
        seconds = time.process_time() - begin
        with Runner(path) as runner:
            history = [[f"item-{one}" for one in range(LENGTH)]]
            ask = lambda: runner.run("serving_default", user_id=[""], history=history)  # noqa: E731
            return seconds, _seconds(lambda: [ask() for _ in range(50)], repeats) / 50


def _seconds(function, repeats: int) -> float:
    """Returns the median core-seconds of a call, after an untimed one."""
    function()
    taken = []
    for _ in range(repeats):
        begin = time.process_time()
        function()
        taken.append(time.process_time() - begin)
    return statistics.median(taken)


def check(tf, coefficients: dict, repeats: int) -> dict[str, tuple[float, float]]:
    """Returns (predicted, measured) core-seconds at sizes that were not fitted, by name."""
    D, B, K = CHECK["D"], CHECK["B"], CHECK["K"]
    with tempfile.TemporaryDirectory() as folder:
        log = str(Path(folder) / "log.tsv")
        write_log(Path(log), CHECK["E"], CHECK["U"], CHECK["N"])
        overrides = (f"model.dim={D}", f"train.batch_size={B}", f"train.negatives={K}")
        found = measure_epoch(log, overrides, rankings=2)
    N = found["items"]
    exported, asked = exporting(tf, N, D, repeats)
    predicted = {
        "epoch": found["steps"] * predict(coefficients, "step", B=B, D=D, K=K),
        "ranking": found["ranked_users"] * predict(coefficients, "ranking", N=N, D=D),
        "reading": predict(coefficients, "reading", E=CHECK["E"]),
        "export": predict(coefficients, "export", N=N, D=D),
        "request": predict(coefficients, "request", N=N, D=D),
    }
    measured = {
        "epoch": found["epoch_cpu"],
        "ranking": found["ranking_cpu"],
        "reading": found["reading_cpu"],
        "export": exported,
        "request": asked,
    }
    return {name: (predicted[name], measured[name]) for name in predicted}


def large_case(
    coefficients: dict, U: int = 10**8, N: int = 10**7, E: int = 5 * 10**10, D: int = 64
) -> list[str]:
    """Returns the lines of the large case, in core-hours and bytes."""
    B, K, hour = 256, 512, 3600.0
    epoch = U / B * predict(coefficients, "step", B=B, D=D, K=K) / hour
    one = predict(coefficients, "ranking", N=N, D=D)
    return [
        f"{U:,} users, {N:,} items, {E:,} events, D {D}, L {LENGTH}:",
        f"  reading       {predict(coefficients, 'reading', E=E) / hour:>10,.0f} core-hours",
        f"  epoch         {epoch:>10,.0f} core-hours, {U / B:,.0f} steps",
        f"  ranking       {one * U / hour:>10,.0f} core-hours for all users, "
        f"{one * 10_000 / hour:.1f} for 10,000",
        f"  export        {predict(coefficients, 'export', N=N, D=D):>10,.0f} core-seconds",
        f"  request       {1e3 * predict(coefficients, 'request', N=N, D=D):>10,.0f} core-ms",
        f"  item table    {4e-9 * N * D:>10.1f} GB, {12e-9 * N * D:.1f} with the slots of LazyAdam",
        f"  user table    {4e-9 * U * D:>10.1f} GB, {12e-9 * U * D:.1f} with the slots of LazyAdam",
    ]


if __name__ == "__main__":
    main()
