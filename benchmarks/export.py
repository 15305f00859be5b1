"""Measures exported models: latency, recall of the index, load time and size, by number of items.

    python benchmarks/export.py [--items 12000 1000000] [--requests 400] [--nprobe P] [--no-index]
        [--json FILE]

A request is `serving_default` for one user with 50 events, in this process after warm-up. The kinds
of servable take turns of twenty requests. The kinds are

- `exact`: all items are ranked;
- `joined`: `serving_default_joined` of `exact`, with the 50 ids in one text;
- `python`: `recommend` of the model in Python;
- `prior`, below 100,000 items: the model with a prior of 200 neighbours an item;
- `int8` and `bfloat16`, from 100,000 items on: exports with `--matrix`;
- `ivf` and `ivf int8`, from 100,000 items on: an index of 4 sqrt(N) cells. The export chooses the
  number of scanned cells with other queries.

`product` is only the matrix product of a query with all items, and its ten best. `16 ms` is the
median time of a batch of 16 requests. `RSS` is the growth of a new process in MB when it loads the
servable and responds once. `recall@10` is relative to the exact lists.

The model (SASRec, D 64, L 50, one block) is not trained. Its item vectors have the structure of
learned tables: 1,000 Gaussian centres, niches of 12 items around the centres, and items around the
niches, with 0.4, 0.3 and 0.3 of the variance. The items of a history come from three niches. With
12,000 such items, an index of 4 sqrt(N) cells that finds 0.95 of the best ten scans 6 % of the
items. With tables trained on Amazon Toys and Beauty, it scans 11 to 13 %. For smaller samples of
these tables, the share falls as N^-0.45, which gives 1 or 2 % at a million items. Here it is 1.4 %
at a million items, and 2.3 % if items of the history are left out, as in a request.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import polars as pl
from _machine import add_json, gemm_gflops, seconds_of, write_json

from tfrec_attn.runtime.process import import_tensorflow, seed_everything

tf = import_tensorflow()

from export.index_building import build_index, quantize  # noqa: E402
from export.retrieval import InvertedFile  # noqa: E402
from export.saved_model import save  # noqa: E402
from export.servable import Servable  # noqa: E402
from tfrec_attn.data.sequences.vocabulary import Vocabulary  # noqa: E402
from tfrec_attn.layers import TransitionPrior  # noqa: E402
from tfrec_attn.models import SASRec  # noqa: E402
from tfrec_attn.runtime.runner import Runner  # noqa: E402

DIM, LENGTH, CENTRES, NICHE, NEIGHBOURS = 64, 50, 1000, 12, 200
INDEXED_FROM, TUNED_ON, TURN, BATCH = 100_000, 200, 20, 16
COMPACT = ("bfloat16", "int8")
JOINED, PYTHON = "joined", "python"


class InPython:
    """`recommend` of a model, with the interface of a `Runner`."""

    def __init__(self, model: SASRec):
        self._model = model

    def run(self, signature: str, user_id: np.ndarray, history: np.ndarray) -> dict:
        """Returns the lists for histories of unknown users."""
        items, _ = self._model.recommend([list(one) for one in history], k=10)
        return {"items": [[one.encode() for one in row] for row in items]}

    def close(self) -> None:
        """Does nothing."""


def catalogue(items: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns (vectors float32 [N, D], first item of each niche, with N at the end)."""

    def spread(rows, share):
        return random.normal(size=(rows, DIM)).astype(np.float32) * np.float32(
            0.42 * np.sqrt(share / DIM)
        )

    niches = max(CENTRES, items // NICHE)
    niche = spread(CENTRES, 0.4)[random.integers(0, CENTRES, niches)] + spread(niches, 0.3)
    sizes = random.multinomial(items, np.full(niches, 1 / niches))
    return np.repeat(niche, sizes, axis=0) + spread(items, 0.3), np.concatenate(
        [[0], np.cumsum(sizes)]
    )


def histories(starts: np.ndarray, count: int, random: np.random.Generator) -> list[list[str]]:
    """Returns histories of 50 ids, each from three niches that are not empty."""
    result = []
    for niches in random.choice(np.flatnonzero(np.diff(starts)), (count, 3)):
        chosen = random.choice(niches, LENGTH)
        result.append([f"i{item}" for item in random.integers(starts[chosen], starts[chosen + 1])])
    return result


def make_model(vectors: np.ndarray) -> SASRec:
    model = SASRec(1, len(vectors), LENGTH, dim=DIM)
    model.items.embeddings.assign(np.pad(vectors, ((1, 0), (0, 0))))
    # After a lookup, as in a training, TensorFlow copies a table on every read unless prevented.
    model.items(tf.constant([1]))
    model.user_vocabulary = Vocabulary(["u"])
    model.item_vocabulary = Vocabulary(pl.Series([f"i{item}" for item in range(len(vectors))]))
    return model


def random_prior(items: int) -> TransitionPrior:
    """Returns a prior whose items have random neighbours of equal values."""
    layer = TransitionPrior(items, NEIGHBOURS)
    step = items // NEIGHBOURS
    first = np.random.default_rng(0).integers(1, step + 1, (items + 1, 1))
    neighbours = first + step * np.arange(NEIGHBOURS)
    layer.rows.set_rows(neighbours, np.ones(neighbours.shape, np.float32))
    layer.weight.assign(0.1)
    return layer


def save_all(
    model: SASRec, tuned_on: list[list[str]], nprobe: int | None, index: bool, folder: Path
) -> dict:
    """Saves the servables of all kinds.

    Returns:
        Figures of the index of each kind; {} without an index.
    """
    counts, kinds = np.ones(model.num_items), {"exact": {}}
    save(Servable(model, counts), folder / "exact")
    if model.num_items < INDEXED_FROM:
        model.transition_prior = random_prior(model.num_items)
        save(Servable(model, counts), folder / "prior")
        model.transition_prior, kinds["prior"] = None, {}
        return kinds
    for kind in COMPACT:
        save(Servable(model, counts, matrix=kind), folder / kind)
        kinds[kind] = {}
    if not index:
        return kinds
    events = pl.DataFrame(
        {"user_id": ["u"] * len(tuned_on), "history": tuned_on, "target": ["i0"] * len(tuned_on)}
    )
    built = []
    seconds = seconds_of(
        lambda: built.extend(
            build_index(model, events, cells=round(4 * model.num_items**0.5), nprobe=nprobe)
        )
    )
    model, _, index, description = built
    save(Servable(model, counts, index=index), folder / "ivf")
    codes = quantize(model.item_vectors().numpy())
    index = InvertedFile(index.offsets.numpy(), index.centroids.numpy(), index.nprobe, codes)
    save(Servable(model, counts, index=index), folder / "ivf int8")
    return {
        **kinds,
        "ivf": {**description, "build_seconds": seconds},
        "ivf int8": {**description, "int8": True},
    }


def load(folder: Path, kinds: dict, tables: int) -> dict[str, Runner]:
    """Returns a runner for each kind, and adds its load time and its sizes to the figures."""
    runners = {}
    for name, figures in kinds.items():
        figures["load_seconds"] = seconds_of(
            lambda name=name: runners.update({name: Runner(folder / name)})
        )
        figures["rss_mb"] = resident_mb(folder / name)
        files = [path for path in (folder / name).rglob("*") if path.is_file()]
        figures["size_mb"] = sum(path.stat().st_size for path in files) / 1e6
        figures["size_of_tables"] = figures["size_mb"] * 1e6 / tables
    return runners


def resident_mb(folder: Path) -> float:
    """Returns the MB by which a new process grows when it loads a servable and responds once."""
    command = [sys.executable, __file__, "--resident", str(folder)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def print_growth(folder: Path) -> None:
    """Measures the growth of this process for `resident_mb`, and prints it."""

    def resident():
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 1e6

    before = resident()
    with Runner(folder) as runner:
        runner.run("serving_default", user_id=["u"], history=[["i0"]])
        print(resident() - before)


def batch_milliseconds(runners: dict[str, Runner], requests: list[list[str]]) -> dict[str, float]:
    """Returns the median milliseconds of a batch of 16 by kind. The kinds take turns."""
    history = np.array(requests[:BATCH], object)
    request = {"user_id": np.array(["u"] * len(history), object), "history": history}
    times = {name: [] for name in runners}
    for _ in range(TURN):
        for name, runner in runners.items():
            times[name].append(seconds_of(lambda of=runner: of.run("serving_default", **request)))
    return {name: 1e3 * float(np.median(own[1:])) for name, own in times.items()}


def measure(
    runners: dict[str, Runner], requests: list[list[str]]
) -> tuple[dict[str, list[float]], dict[str, list[set]]]:
    """Returns (milliseconds, items) of each request by kind, without the first turn."""
    arrays = [
        {"user_id": np.array(["u"], object), "history": np.array([one], object)} for one in requests
    ]
    texts = [{**one, "history": np.array(["\t".join(one["history"][0])], object)} for one in arrays]
    times, lists = {name: [] for name in runners}, {name: [] for name in runners}
    for begin in [0, *range(0, len(arrays), TURN)]:
        for name, runner in runners.items():
            asked, signature = (
                (texts, "serving_default_joined") if name == JOINED else (arrays, "serving_default")
            )
            for request in asked[begin : begin + TURN]:
                start = time.perf_counter()
                response = runner.run(signature, **request)
                times[name].append(1e3 * (time.perf_counter() - start))
                lists[name].append(set(response["items"][0]))
    return (
        {name: figures[TURN:] for name, figures in times.items()},
        {name: figures[TURN:] for name, figures in lists.items()},
    )


def product_milliseconds(vectors: np.ndarray) -> float:
    """Returns the median milliseconds of the exact product and its ten best, without a servable."""
    matrix, query = tf.constant(vectors), tf.random.normal([1, DIM])
    search = tf.function(
        lambda query: tf.math.top_k(tf.matmul(query, matrix, transpose_b=True), 10)
    )
    return 1e3 * float(
        np.median([seconds_of(lambda: search(query).values.numpy()) for _ in range(60)][10:])
    )


def figures_of(items: int, requests: int, nprobe: int | None, index: bool) -> dict:
    """Returns the figures for one number of items."""
    random = np.random.default_rng(0)
    vectors, starts = catalogue(items, random)
    result = {"items": items, "product_p50_ms": product_milliseconds(vectors)}
    model = make_model(vectors)
    tables = model.items.embeddings.shape[0] * DIM * 4
    with tempfile.TemporaryDirectory() as folder:
        kinds = save_all(model, histories(starts, TUNED_ON, random), nprobe, index, Path(folder))
        runners = load(Path(folder), kinds, tables)
        in_batches = batch_milliseconds(runners, histories(starts, BATCH, random))
        kinds[JOINED], runners[JOINED] = dict(kinds["exact"]), runners["exact"]
        kinds[PYTHON], runners[PYTHON] = dict(kinds["exact"]), InPython(model)
        times, lists = measure(runners, histories(starts, requests, random))
        for runner in runners.values():
            runner.close()
    for name, figures in kinds.items():
        figures["p50_ms"], figures["p99_ms"] = (
            float(np.percentile(times[name], percent)) for percent in (50, 99)
        )
        figures["batch_ms"] = in_batches.get(name)
        found = [
            len(one & best) / len(best)
            for one, best in zip(lists[name], lists["exact"], strict=True)
        ]
        figures["recall@10"] = float(np.mean(found))
    return {**result, "kinds": kinds}


def print_table(results: list[dict]) -> None:
    names = ("p50 ms", "p99 ms", "of exact", "recall@10", "16 ms", "load s", "MB", "RSS")
    print(f"{'items':>9s} {'':9s} " + " ".join(f"{name:>9s}" for name in names))
    for result in results:
        print(f"{result['items']:9,d} {'product':9s} {result['product_p50_ms']:9.2f}")
        for name, one in result["kinds"].items():
            speed = result["kinds"]["exact"]["p50_ms"] / one["p50_ms"]
            print(
                f"{result['items']:9,d} {name:9s} {one['p50_ms']:9.2f} {one['p99_ms']:9.2f} "
                f"{speed:8.1f}x {one['recall@10']:9.3f} {one['batch_ms'] or 0:9.2f} "
                f"{one['load_seconds']:9.2f} {one['size_mb']:9.1f} {one['rss_mb']:9.1f}"
            )
            if "cells" in one and not one["int8"]:
                print(
                    f"{'':20s}{one['cells']:,} cells, {one['nprobe']} probed, "
                    f"built in {one['build_seconds']:.0f} s"
                )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="+", default=[12_000, 1_000_000])
    parser.add_argument(
        "--requests",
        type=int,
        default=400,
        help="timed requests of each kind, after twenty that are not timed",
    )
    parser.add_argument(
        "--nprobe", type=int, help="cells that a query scans (default: as the export chooses)"
    )
    parser.add_argument("--no-index", action="store_true", help="leave the indexes out")
    add_json(parser)
    parser.add_argument("--resident", type=Path, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.resident:
        print_growth(parsed.resident)
        return
    seed_everything(1)
    machine = {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "tensorflow": tf.__version__,
        "gemm_gflops": gemm_gflops(tf),
    }
    results = [
        figures_of(items, parsed.requests, parsed.nprobe, not parsed.no_index)
        for items in parsed.items
    ]
    machine["load_after"] = os.getloadavg()[0]
    print(
        f"TensorFlow {tf.__version__}, {machine['cores']} cores, "
        f"load {machine['load']:.1f} before, {machine['load_after']:.1f} after;"
    )
    print(f"float32 product {machine['gemm_gflops']:.0f} GFLOP/s.\n")
    print_table(results)
    if parsed.json:
        write_json(parsed.json, {**machine, "sizes": results})


if __name__ == "__main__":
    main()
