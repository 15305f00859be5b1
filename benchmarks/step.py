"""Measures a training step on several devices or with Keras 3, relative to a plain step.

    python benchmarks/step.py [--variants replicas keras3] [--items 10000] [--rounds 60]
                              [--json FILE]

`replicas` are two logical CPUs with the same global batch. `keras3` is a process of its own with
Keras 3. All variants of a case step in turn, so that other load on the machine affects all of them.
A step is what `fit` runs. `CPU ms` is the processor time of all threads of the process. Figures are
medians.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _machine import add_json, write_json

USERS, DIM = 5_000, 64
VARIANTS = ("replicas", "keras3")
CASES = {
    "attrec hinge": {"model": "attrec", "loss": "hinge", "rows": 1024, "length": 5},
    "sasrec sampled": {"model": "sasrec", "loss": "sampled_softmax", "rows": 128, "length": 50},
    "mqsa_ted softmax": {"model": "mqsa_ted", "loss": "softmax", "rows": 128, "length": 50},
    "sasrec softmax": {"model": "sasrec", "loss": "softmax", "rows": 128, "length": 50},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--items", type=int, default=10_000, help="rows of the item tables")
    parser.add_argument(
        "--rounds", type=int, default=60, help="timed steps, after three that are not timed"
    )
    add_json(parser)
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    from tfrec_attn.config import Runtime
    from tfrec_attn.runtime.distribution import configure_devices, make_strategy
    from tfrec_attn.runtime.process import import_tensorflow

    tf = import_tensorflow()
    mirrored = Runtime(strategy="mirrored", devices=["CPU:0", "CPU:1"])
    configure_devices(mirrored.devices)
    known = {"plain": make_strategy(Runtime()), "replicas": make_strategy(mirrored), "keras3": None}
    if parsed.answer:
        answer(_step(tf, CASES[parsed.cases[0]], parsed.items, known["plain"]))
        return
    variants = {name: known[name] for name in ("plain", *parsed.variants)}
    print(f"{'':<25} {'ms/step':>15} {'ratio':>6}  {'CPU ms':>15} {'ratio':>6}")
    results = []
    for name in parsed.cases:
        with contextlib.ExitStack() as processes:
            steps = [
                _step(tf, CASES[name], parsed.items, strategy)
                if strategy
                else processes.enter_context(_in_keras_3(name, parsed.items))
                for strategy in variants.values()
            ]
            results += measure(name, parsed.items, dict(zip(variants, steps, strict=True)), parsed)
    if parsed.json:
        write_json(parsed.json, results)


def answer(step) -> None:
    """Runs a step for each line of stdin, and prints its seconds and processor seconds."""
    for _ in sys.stdin:
        print(*step(), flush=True)


@contextlib.contextmanager
def _in_keras_3(name: str, items: int):
    """Provides a function that runs a step in a process with Keras 3."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--answer", "--cases", name, "--items", str(items)],
        env={**os.environ, "TF_USE_LEGACY_KERAS": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def step():
        process.stdin.write("\n")
        process.stdin.flush()
        return tuple(map(float, process.stdout.readline().split()))

    with process:
        yield step
        process.stdin.close()


def measure(name: str, items: int, variants: dict, parsed: argparse.Namespace) -> list[dict]:
    """Measures and prints the variants of a case, relative to the first."""
    seconds = [[] for _ in variants]
    for number in range(parsed.rounds + 3):
        for step, taken in zip(variants.values(), seconds, strict=True):
            figures = step()
            if number >= 3:
                taken.append(figures)
    ms, cpu = (
        [1e3 * statistics.median(one[part] for one in taken) for taken in seconds]
        for part in (0, 1)
    )
    results = []
    for variant, own, own_cpu in list(zip(variants, ms, cpu, strict=True))[1:]:
        print(f"{name:<16} {variant:<8} {ms[0]:>7.2f} {own:>7.2f} {own / ms[0]:>6.2f}", end="  ")
        print(f"{cpu[0]:>7.1f} {own_cpu:>7.1f} {own_cpu / cpu[0]:>6.2f}", flush=True)
        figures = {
            "ms": [ms[0], own],
            "cpu_ms": [cpu[0], own_cpu],
            "ratio": own / ms[0],
            "cpu_ratio": own_cpu / cpu[0],
        }
        results.append({"case": name, "items": items, "variant": variant, **figures})
    return results


def _step(tf, case: dict, items: int, strategy):
    """Returns a function that runs a step and returns its (seconds, processor seconds)."""
    from tfrec_attn import models, optimizers

    with strategy.scope():
        model = models.get(case["model"])(USERS, items, case["length"], dim=DIM)
        model.compile(optimizers.Adagrad(0.01), case["loss"], l2=1e-4)
    parts, features = strategy.num_replicas_in_sync, _features(case, items)
    whole = ["negatives"] if case["loss"] == "sampled_softmax" else []

    def dataset(pipeline=None):
        shared = {
            key: [value] * parts if key in whole else value.reshape(parts, -1, *value.shape[1:])
            for key, value in features.items()
        }
        return tf.data.Dataset.from_tensor_slices(shared).repeat().prefetch(2 * parts)

    batches = iter(dataset() if parts == 1 else strategy.distribute_datasets_from_function(dataset))
    train = model.make_train_function()

    def step():
        begin, cpu = time.perf_counter(), time.process_time()
        train(batches)["loss"].numpy()
        return time.perf_counter() - begin, time.process_time() - cpu

    return step


def _features(case: dict, items: int) -> dict:
    """A batch of random ids."""
    import numpy as np

    random, rows, length = np.random.default_rng(1), case["rows"], case["length"]
    shapes = {"user": (rows,), "history": (rows, length), "targets": (rows, length)}
    if case["loss"] == "hinge":
        shapes.update(targets=(rows, 3), negatives=(rows, 3, 5))
    elif case["loss"] == "sampled_softmax":
        shapes["negatives"] = (rows, 4)
    batch = {
        key: random.integers(1, USERS + 1 if key == "user" else items + 1, shape, np.int32)
        for key, shape in shapes.items()
    }
    return {**batch, "normalizer": np.full(rows, 1.0 / (rows * length), np.float32)}


if __name__ == "__main__":
    main()
