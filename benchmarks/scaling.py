"""Measures a training step by the size of its tables: AttRec and SASRec, Adagrad and LazyAdam.

    python benchmarks/scaling.py [--sizes 10000 100000 1000000 5000000] [--json FILE] [--plot FILE]

The losses are sampled. Each case runs in a process of its own, with one model of each size. The
models step in turn, so that other load on the machine affects all of them. A step is what `fit`
runs. The ids of a batch are uniform, which is the worst case for the caches, and distinct, so that
a step reads the same number of rows at all sizes. With --repeated they are independent draws, of
which many are equal in a small table.

Rows of a small table stay in the cache, and rows of a large table do not. `gather+scatter` is the
time to read and write the rows of a step once in tables of that size, in the same round. It has one
gather and one scatter for each table and slot. `CPU ms` is the processor time of all threads of the
process, which does not grow when other processes use the cores. Figures are medians. `ratio` is
relative to the first size.

Half of the extra cost of a large table is the translation of addresses. On Linux, with
GLIBC_TUNABLES=glibc.malloc.hugetlb=1 in the environment of a command, tables are in pages of 2 MB
instead of 4 KB, if /sys/kernel/mm/transparent_hugepage/enabled is madvise.

The largest case, AttRec with LazyAdam, keeps 6 item tables. They take 7.7 GB at 5 million items,
and 9.4 GB together with the smaller models.
"""

import argparse
import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _machine import add_json, check_plot, write_json

DIM, BATCHES = 64, 16
# Table that grows, model, loss, and shape of a batch.
MODELS = {
    "attrec": {
        "grows": "items",
        "model": "attrec",
        "loss": "hinge",
        "rows": 256,
        "length": 5,
        "targets": 3,
        "negatives": 5,
    },
    "attrec users": {
        "grows": "users",
        "model": "attrec",
        "loss": "hinge",
        "rows": 256,
        "length": 5,
        "targets": 3,
        "negatives": 5,
    },
    "sasrec": {
        "grows": "items",
        "model": "sasrec",
        "loss": "sampled_softmax",
        "rows": 64,
        "length": 50,
        "negatives": 512,
    },
}
OPTIMIZERS = ("adagrad", "lazy_adam")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 5_000_000]
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument(
        "--pages",
        nargs="+",
        choices=("4k", "huge"),
        default=["4k", "huge"],
        help="size of the memory pages",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=60,
        help="timed steps at each size, after three that are not timed",
    )
    parser.add_argument("--repeated", action="store_true", help="let the ids of a batch repeat")
    add_json(parser)
    parser.add_argument("--plot", help="draw ratio by size into this file")
    parser.add_argument(
        "--case",
        nargs=2,
        metavar=("MODEL", "OPTIMIZER"),
        help="measure only this case, in this process, and print one line of JSON",
    )
    parsed = parser.parse_args()
    if parsed.case:
        print(
            json.dumps(measure_tables(*parsed.case, parsed.sizes, parsed.rounds, parsed.repeated))
        )
        return
    results = {"tables": table_section(parsed)}
    if parsed.json:
        write_json(parsed.json, results)
    if parsed.plot:
        check_plot(parsed.plot)
        plot_tables(results["tables"], parsed.plot)


def table_section(parsed) -> list[dict]:
    """Measures and prints all cases: the time of a step by the size of its tables."""
    results = []
    print(
        f"{'pages':<5} {'model':<12} {'optimizer':<9} {'size':>9} {'rows/step':>9}  "
        f"{'ms/step':>7} {'ratio':>5}  {'CPU ms':>6} {'ratio':>5}  gather+scatter ms, ratio"
    )
    for pages, name, optimizer in itertools.product(parsed.pages, parsed.models, parsed.optimizers):
        sizes = map(str, parsed.sizes)
        command = [sys.executable, __file__, f"--rounds={parsed.rounds}", "--sizes", *sizes]
        command += ["--repeated"] if parsed.repeated else []
        environment = {
            **os.environ,
            **({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} if pages == "huge" else {}),
        }
        done = subprocess.run(
            [*command, "--case", name, optimizer],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        rows = json.loads(done.stdout.splitlines()[-1])
        for row in rows:
            ratios = {
                f"{key}_ratio": row[key] / rows[0][key]
                for key in ("ms", "cpu_ms", "gather_scatter_ms")
            }
            results.append({"pages": pages, **row, **ratios})
            print(_line(**results[-1]), flush=True)
    return results


def _line(
    pages, model, optimizer, size, rows_per_step, ms, cpu_ms, gather_scatter_ms, **ratios
) -> str:
    case = f"{pages:<5} {model:<12} {optimizer:<9} {size:>9,} {rows_per_step:>9,.0f}"
    step = f"{ms:>7.2f} {ratios['ms_ratio']:>5.2f}  {cpu_ms:>6.1f} {ratios['cpu_ms_ratio']:>5.2f}"
    return f"{case}  {step}  {gather_scatter_ms:>9.2f} {ratios['gather_scatter_ms_ratio']:>5.2f}"


def measure_tables(
    name: str, optimizer: str, sizes: list[int], rounds: int, repeated: bool
) -> list[dict]:
    """Measures one model and optimizer at all sizes, which take turns."""
    from tfrec_attn.runtime.process import import_tensorflow

    tf = import_tensorflow()
    cases = [_Case(tf, MODELS[name], optimizer, size, repeated) for size in sizes]
    for number in range(rounds + 3):
        for case in cases:
            case.step()
            case.gather_scatter()
            if number < 3:
                case.clear()
    return [
        {"model": name, "optimizer": optimizer, "size": size, **case.medians()}
        for size, case in zip(sizes, cases, strict=True)
    ]


class _Case:
    """A compiled model whose user or item tables have `size` rows, its batches and its times."""

    def __init__(self, tf, shape: dict, optimizer: str, size: int, repeated: bool = False):
        from tfrec_attn import models, optimizers

        users, items = (size, 10_000) if shape["grows"] == "users" else (10_000, size)
        self.model = models.get(shape["model"])(users, items, shape["length"], dim=DIM)
        chosen = {"adagrad": optimizers.Adagrad, "lazy_adam": optimizers.LazyAdam}[optimizer](1e-3)
        self.model.compile(chosen, shape["loss"], reduction="mean", l2=1e-4)
        features = {
            key: value.astype("int32")
            for key, value in _features(shape, users, items, repeated).items()
        }
        if shape["model"] == "sasrec":
            features["normalizer"] = _constant_weight(shape)
        self._train = self.model.make_train_function()
        self._batches = iter(tf.data.Dataset.from_tensor_slices(features).repeat().prefetch(2))
        chosen.build(self.model.trainable_variables)
        self._rows = _rows_of_tables(tf, self.model, chosen, features)
        self.clear()

    def clear(self) -> None:
        self._seconds, self._cpu_seconds, self._bare_seconds = [], [], []

    def step(self) -> None:
        begin, cpu = time.perf_counter(), time.process_time()
        self._train(self._batches)["loss"].numpy()
        self._seconds.append(time.perf_counter() - begin)
        self._cpu_seconds.append(time.process_time() - cpu)

    def gather_scatter(self) -> None:
        """Reads and writes the rows of a batch once, in all tables and slots."""
        number = len(self._bare_seconds) % BATCHES
        begin = time.perf_counter()
        for function, rows in self._rows:
            function(rows[number])
        self._bare_seconds.append(time.perf_counter() - begin)

    def medians(self) -> dict:
        ms, cpu_ms, bare = (
            1e3 * statistics.median(seconds)
            for seconds in (self._seconds, self._cpu_seconds, self._bare_seconds)
        )
        rows = sum(len(one) for _, rows in self._rows for one in rows) / BATCHES
        return {"rows_per_step": rows, "ms": ms, "cpu_ms": cpu_ms, "gather_scatter_ms": bare}


def _features(shape: dict, users: int, items: int, repeated: bool) -> dict:
    """Returns BATCHES batches of random ids."""
    import numpy as np

    random, rows = np.random.default_rng(1), shape["rows"]
    if shape["model"] == "sasrec":
        parts = {
            "history": (shape["length"],),
            "targets": (shape["length"],),
            "negatives": (shape["negatives"] // rows,),
        }
    else:
        parts = {
            "history": (shape["length"],),
            "targets": (shape["targets"],),
            "negatives": (shape["targets"], shape["negatives"]),
        }
    widths = [int(np.prod(part)) for part in parts.values()]

    def draw(count, width):
        return np.stack(
            [random.choice(count, rows * width, replace=repeated) + 1 for _ in range(BATCHES)]
        ).reshape(BATCHES, rows, width)

    cut = np.split(draw(items, sum(widths)), np.cumsum(widths)[:-1], axis=2)
    features = {
        key: one.reshape(BATCHES, rows, *part)
        for (key, part), one in zip(parts.items(), cut, strict=True)
    }
    return {"user": draw(users, 1)[:, :, 0], **features}


def _constant_weight(shape: dict):
    import numpy as np

    return np.full((BATCHES, shape["rows"]), 1.0 / (shape["rows"] * shape["length"]), np.float32)


def _rows_of_tables(tf, model, optimizer, features: dict) -> list[tuple]:
    """(function that reads and writes rows, distinct rows of each batch) for each table."""
    import numpy as np

    keys = {
        "short_items": ("history", "targets", "negatives"),
        "long_items": ("targets", "negatives"),
        "long_users": ("user",),
    }
    keys["items"] = keys["short_items"]
    result = []
    for table in [*model.tables("users"), *model.tables("items")]:
        slots = [one for one in optimizer.variables if one.name.endswith(f"/{table.name}")]
        touched = [features[key].reshape(BATCHES, -1) for key in keys[table.name.partition(":")[0]]]
        rows = [np.unique(one) for one in np.concatenate(touched, axis=1)]
        function = tf.function(
            functools.partial(_gather_scatter, [table, *slots]),
            input_signature=[tf.TensorSpec([None], tf.int32)],
        )
        result.append(
            (function, [tf.constant(np.random.default_rng(1).permutation(one)) for one in rows])
        )
    return result


def _gather_scatter(variables, rows):
    import tensorflow as tf

    for variable in variables:
        variable.scatter_update(tf.IndexedSlices(tf.gather(variable, rows), rows))


def plot_tables(results: list[dict], path: str) -> None:
    """Plots processor time relative to the first size. Dashed lines are gather and scatter."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    colours = {
        name: f"C{number}"
        for number, name in enumerate(
            dict.fromkeys((row["model"], row["optimizer"]) for row in results)
        )
    }
    for name in dict.fromkeys((row["model"], row["optimizer"], row["pages"]) for row in results):
        rows = [row for row in results if (row["model"], row["optimizer"], row["pages"]) == name]
        sizes, style = (
            [row["size"] for row in rows],
            {"color": colours[name[:2]], "marker": "s" if name[2] == "huge" else "o"},
        )
        axes.plot(sizes, [row["cpu_ms_ratio"] for row in rows], label=", ".join(name), **style)
        axes.plot(sizes, [row["gather_scatter_ms_ratio"] for row in rows], "--", alpha=0.3, **style)
    axes.axhline(1.3, color="0.7", linewidth=1)
    axes.set(
        xscale="log",
        xlabel="rows of the table",
        ylabel="processor time, relative to the smallest table",
        ylim=(0, None),
    )
    axes.set_title("A training step (solid); its rows read and written once (dashed)", fontsize=10)
    axes.legend(fontsize=8, ncols=2, loc="lower left")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
