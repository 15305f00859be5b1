"""Measures similar items and re-ranked lists: their latency, and the metrics of the lists.

    python benchmarks/diverse.py [--items 12000] [--requests 200] [--run RUN] [--catalogue FILE]

Latency is that of one request at a time with a joined history of 50 events, in this process after
warm-up. The kinds of request take turns. The model and its items are those of benchmarks/export.py,
with 20 categories of equal size. `score` has 10 candidates, and lists have 10 items. From 100,000
items on, `ivf` is the same model with an index of 4 sqrt(N) cells. `recall@10` of similar items
compares the index with the exact search. `save_seconds` is the time to build and save a servable,
without and with `recommend_diverse` and a catalogue.

With --run, the test events of a run request lists of 10 items. The categories are those of the
run's items file, or of --catalogue. The figures are HR and NDCG of the lists, coverage and novelty
as in the report of a run, the mean cosine of two items of a list, and the number of categories in a
list. --json FILE writes all figures.
"""

import argparse
import importlib.util
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import polars as pl
from _machine import add_json, seconds_of, write_json

from tfrec_attn.runtime.process import import_tensorflow, seed_everything

tf = import_tensorflow()

from export.index_building import build_index  # noqa: E402
from export.saved_model import save  # noqa: E402
from export.servable import Servable  # noqa: E402
from tfrec_attn.config import Data  # noqa: E402
from tfrec_attn.evaluation.list_metrics import list_metrics  # noqa: E402
from tfrec_attn.models.base.similarity import item_space  # noqa: E402
from tfrec_attn.replay.measured_run import read_events  # noqa: E402
from tfrec_attn.runs import items as run_items  # noqa: E402
from tfrec_attn.runs import run as runs  # noqa: E402
from tfrec_attn.runtime.runner import Runner  # noqa: E402

# Loads benchmarks/export.py by its path, because the package `export` has the same name.
_SPEC = importlib.util.spec_from_file_location("_export", Path(__file__).with_name("export.py"))
_export = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_export)

K, CATEGORIES, TURN = 10, 20, 20
NOTHING = {"allow_category": "", "per_category": 0, "popularity_penalty": 0.0, "diversity": 0.0}
OPTIONS = {
    "recommend_diverse": {},
    "a category": {"allow_category": "c1"},
    "2 of a category": {"per_category": 2},
    "penalty 0.5": {"popularity_penalty": 0.5},
    "diversity 0.3": {"diversity": 0.3},
    "all four": {**NOTHING, "allow_category": "c1\tc2\tc3\tc4\tc5\tc6", "per_category": 2,
                 "popularity_penalty": 0.5, "diversity": 0.3},
}  # fmt: skip


def requests_of(history: list[str]) -> dict[str, tuple[str, dict]]:
    """Returns (signature, inputs of one row) of each kind of request."""
    features = {"user_id": "", "history": "\t".join(history)}
    lists = {**features, "exclude": "", "allow": "", "k": K}
    found = {
        "score": ("score_joined", {**features, "candidates": "\t".join(history[:K])}),
        "similar": ("similar", {"item": history[0], "by": "cosine", "k": K}),
        "similar by score": ("similar", {"item": history[0], "by": "score", "k": K}),
        "recommend": ("recommend_joined", lists),
    }
    for name, options in OPTIONS.items():
        found[name] = ("recommend_diverse_joined", {**lists, **NOTHING, **options})
    return found


def milliseconds(runner: Runner, histories: list[list[str]]) -> dict[str, np.ndarray]:
    """Returns the milliseconds of each request by kind, without the first turn."""
    asked = [requests_of(one) for one in histories]
    times = {kind: [] for kind in asked[0]}
    for begin in [0, *range(0, len(asked), TURN)]:
        for kind, found in times.items():
            for request in asked[begin : begin + TURN]:
                signature, row = request[kind]
                arrays = {name: [value] for name, value in row.items()}
                found.append(1e3 * seconds_of(partial(runner.run, signature, **arrays)))
    return {kind: np.array(found[TURN:]) for kind, found in times.items()}


def latencies(items: int, requests: int) -> dict:
    """Returns the median latencies by kind of servable and kind of request, and other figures."""
    random = np.random.default_rng(0)
    vectors, starts = _export.catalogue(items, random)
    model, counts = _export.make_model(vectors), random.zipf(1.5, items).clip(max=10_000)
    about = [("", f"c{item % CATEGORIES}") for item in range(items)]
    asked, result = _export.histories(starts, requests, random), {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        plain = seconds_of(lambda: save(Servable(model, counts), folder / "plain"))
        more = seconds_of(lambda: save(Servable(model, counts, items=about), folder / "exact"))
        result["save_seconds"] = {"without": plain, "with": more}
        kinds = ["exact"]
        if items >= _export.INDEXED_FROM:
            tuned = _export.histories(starts, _export.TUNED_ON, random)
            events = pl.DataFrame(
                {"user_id": ["u"] * len(tuned), "history": tuned, "target": ["i0"] * len(tuned)}
            )
            indexed, order, index, _ = build_index(model, events, cells=round(4 * items**0.5))
            about = [about[place] for place in order]
            save(Servable(indexed, counts[order], index=index, items=about), folder / "ivf")
            kinds.append("ivf")
        runners = {kind: Runner(folder / kind) for kind in kinds}
        for kind, runner in runners.items():
            times = milliseconds(runner, asked)
            result[kind] = {name: float(np.median(one)) for name, one in times.items()}
        if "ivf" in runners:
            result["recall@10"] = recalls(runners, asked)
    return result


def recalls(runners: dict[str, Runner], histories: list[list[str]]) -> dict[str, float]:
    """Returns the share of the exact similar items that the index finds."""
    result = {}
    for by in ("cosine", "score"):
        inputs = {"item": [one[0] for one in histories], "by": [by] * len(histories)}
        inputs["k"] = [K] * len(histories)
        # One request at a time, because the memory of a batch grows with its requests.
        best, found = (
            [
                set(runner.run("similar", **{key: one[at : at + 1] for key, one in inputs.items()})
                    ["items"][0])
                for at in range(len(histories))
            ]
            for runner in (runners["exact"], runners["ivf"])
        )  # fmt: skip
        shares = [len(one & other) / K for one, other in zip(best, found, strict=True)]
        result[by] = float(np.mean(shares))
    return result


def list_figures(folder: Path, path: Path | None) -> dict[str, dict[str, float]]:
    """Returns the figures of the lists for the test events of a run, by options."""
    model, frame = runs.load_model(folder), run_items.load_items(folder)
    if path is not None:
        table = run_items.load_item_table(Data(items=str(path)), model.item_vocabulary)
        frame = table.frame
    counts, about = runs.load_item_counts(folder), run_items.described(frame)
    events, vocabulary = read_events(folder, "test"), model.item_vocabulary
    targets = vocabulary.lookup(events["target"].to_list())
    names = [name for name in OPTIONS if "categor" not in name and name != "all four"]
    cases = {name: OPTIONS[name] for name in names}
    cases |= {f"{cap} of a category": {"per_category": cap} for cap in (1, 2, 3)}
    cases |= {f"penalty {one}": {"popularity_penalty": one} for one in (0.02, 0.05, 0.1, 0.2)}
    cases |= {f"diversity {one}": {"diversity": one} for one in (0.1, 0.2, 0.3, 0.5, 0.7)}
    keep = model.repeats == "include"
    result = {}
    with tempfile.TemporaryDirectory() as saved:
        save(Servable(model, counts, items=about, keep_seen=keep), Path(saved))
        with Runner(saved) as runner:
            for name, options in cases.items():
                lists = served_lists(runner, events, vocabulary, {**NOTHING, **options})
                result[name] = figures_of(lists, targets, counts, about, model)
    return result


def served_lists(runner: Runner, events: pl.DataFrame, vocabulary, options: dict) -> np.ndarray:
    """Returns the items 1..N of each list, int [U, K]."""
    rows, lists = 64, []
    for begin in range(0, len(events), rows):
        part = events.slice(begin, rows)
        inputs = {
            "user_id": part["user_id"].to_list(),
            "history": ["\t".join(one) for one in part["history"].to_list()],
            **{name: [""] * len(part) for name in ("exclude", "allow")},
            "k": [K] * len(part),
            **{name: [value] * len(part) for name, value in options.items()},
        }
        found = runner.run("recommend_diverse_joined", **inputs)["items"]
        lists += [vocabulary.lookup([one.decode() for one in row]) for row in found]
    return np.array(lists)


def figures_of(lists, targets, counts, about, model) -> dict[str, float]:
    """Returns the figures of lists, int [U, K]."""
    hits = (lists == targets[:, np.newaxis]) & (lists > 0)
    vectors = model.item_vectors().numpy()
    units = item_space(model, vectors.shape[1]).units(vectors)[lists]
    products = np.einsum("uid,ujd->uij", units, units)
    pairs = (products.sum(axis=(1, 2)) - K) / (K * (K - 1))
    names = [{about[one - 1][1] for one in row if one} for row in lists]
    gains = 1 / np.log2(np.arange(K) + 2)
    return {
        f"HR@{K}": float(hits.any(axis=1).mean()),
        f"NDCG@{K}": float((hits * gains).sum(axis=1).mean()),
        **list_metrics(lists, counts),
        "cosine": float(pairs.mean()),
        "categories": float(np.mean([len(one) for one in names])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="*", default=[12_000])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--run", type=Path, help="finished run")
    parser.add_argument("--catalogue", type=Path, help="its items file, if it has none")
    add_json(parser)
    parsed = parser.parse_args()
    seed_everything(1)
    result = {"latency": {items: latencies(items, parsed.requests) for items in parsed.items}}
    for items, kinds in result["latency"].items():
        for kind, figures in kinds.items():
            for name, value in figures.items():
                print(f"{items:9,d} {kind:14s} {name:20s} {value:9.3f}")
    if parsed.run is not None:
        result["lists"] = list_figures(parsed.run, parsed.catalogue)
        for name, figures in result["lists"].items():
            print(f"{name:18s}", *(f"{key} {value:.4f}" for key, value in figures.items()))
    if parsed.json:
        write_json(parsed.json, result)


if __name__ == "__main__":
    main()
