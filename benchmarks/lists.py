"""Measures lists for many users, the evaluation and matrix products, in users a second.

    python benchmarks/lists.py [--users 16384] [--items 100000] [--k 50] [--json FILE]

The model is an untrained SASRec (D = 64, L = 50), exported as a servable.

- `lists`: `tfrec_attn.lists.write_lists` from a file of JSON lines, with histories of 1 to 60
  items, to a Parquet file. Only the second part is timed, without loading and tracing.
- `evaluation`: the ranking of one target for each user, in the blocks of `tfrec_attn.evaluate`.
- `products`: the product of the queries with all item vectors, at the best rate of a matrix product
  in this run.

If the machine does other work too, compare the rates for a second of processor time.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _machine import add_json, gemm_gflops, write_json

DIM, LENGTH = 64, 50


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=16_384)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--k", type=int, default=50)
    add_json(parser)
    parsed = parser.parse_args()
    figures = measure(parsed.users, parsed.items, parsed.k)
    print("users in a second of the clock, and of a processor:")
    for name in ("lists", "evaluation"):
        print(f"{name:<11} {figures[name]:>7,.0f} {figures[f'{name}_cpu']:>7,.0f}")
    print(f"products    {figures['products']:>7,.0f}, at {figures['gflops']:.0f} GFLOP/s")
    print(f"memory of the lists: {figures['memory_mb']:,.0f} MB")
    if parsed.json:
        write_json(parsed.json, figures)


def measure(users: int, items: int, k: int) -> dict:
    """Returns the rates in users a second, the rate of matrix products, and the peak memory."""
    import numpy as np

    from tfrec_attn.runtime.process import import_tensorflow, peak_memory_mb, seed_everything

    tf = import_tensorflow()
    from export.from_python import export_model
    from tfrec_attn.lists import write_lists
    from tfrec_attn.models import SASRec

    seed_everything(1)
    model = SASRec(1, items, LENGTH, dim=DIM)
    model.set_vocabularies([f"item-{one}" for one in range(items)], ["nobody"])
    model.popularity = np.full(items, 1 / items, np.float32)
    random = np.random.default_rng(1)
    histories = [random.integers(1, items + 1, length) for length in random.integers(1, 61, users)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servable = export_model(model, folder / "sasrec")
        with open(folder / "histories.jsonl", "w", encoding="utf-8") as lines:
            for user, history in enumerate(histories):
                ids = [f"item-{one - 1}" for one in history]
                lines.write(json.dumps({"user_id": f"user-{user}", "history": ids}) + "\n")
        write_lists._USERS, ends = -(-users // 2), []
        write_lists.write_lists(
            servable,
            folder / "lists.parquet",
            k=k,
            histories=folder / "histories.jsonl",
            progress=lambda done, total, rate: ends.append([done, *clocks()]),
        )
        memory = peak_memory_mb()
    gflops = gemm_gflops(tf)
    second, clock, processor = np.subtract(ends[1], ends[0])
    ranked, *ranking = evaluation(tf, model, histories[: users // 2])
    return {
        "users": users,
        "items": items,
        "k": k,
        "lists": second / clock,
        "lists_cpu": second / processor,
        "evaluation": ranked / ranking[0],
        "evaluation_cpu": ranked / ranking[1],
        "products": gflops * 1e9 / (items * DIM * 2),
        "gflops": gflops,
        "memory_mb": memory,
    }


def clocks() -> list[float]:
    """Returns [clock, processor time] in seconds."""
    return [time.perf_counter(), time.process_time()]


def evaluation(tf, model, histories: list) -> list[float]:
    """Ranks one target for each user; returns [users, seconds, processor seconds]."""
    import numpy as np

    from tfrec_attn.evaluation.held_out import block_size

    size, ranks = block_size(model.num_items), model.traced_ranks()

    def features(block):
        history = np.zeros((len(block), LENGTH), np.int32)
        seen = np.zeros((len(block), 60), np.int32)
        for row, one in enumerate(block):
            history[row, LENGTH - len(one[-LENGTH:]) :] = one[-LENGTH:]
            seen[row, : len(one)] = one
        user, target = np.zeros(len(block), np.int32), np.ones(len(block), np.int32)
        arrays = {"user": user, "history": history, "seen": seen, "target": target}
        return {key: tf.constant(value) for key, value in arrays.items()}

    blocks = [features(histories[i : i + size]) for i in range(0, len(histories), size)]
    ranks(blocks[0])
    begin = clocks()
    for block in blocks:
        ranks(block).numpy()
    return [len(histories), *np.subtract(clocks(), begin)]


if __name__ == "__main__":
    main()
