"""Measures time and memory of a training step by the number of items, for two softmax losses.

    python benchmarks/catalogue_size.py [--items 12000 100000 1000000] [--steps 5] [--json FILE]

The model is SASRec (one block, D = 64) with batches of 256 random sequences of 8 positions. The
loss is the exact softmax, or the sampled softmax with 512 shared negatives. Each case runs in a
process of its own.

`memory MB` is the peak memory of the process, minus its peak before the model was built. `tables`
is this memory divided by the size of the item table, `table MB`. Adam keeps two more tables, and
the exact softmax keeps a dense gradient of the table and one tile of logits. Adagrad with the
sampled softmax keeps one more table and nothing dense.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _machine import add_json, write_json

CASES = [
    ("softmax", "adam"),
    ("softmax", "adagrad"),
    ("sampled_softmax", "adam"),
    ("sampled_softmax", "adagrad"),
]
ROWS, LENGTH, NEGATIVES, DIM = 256, 8, 512, 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="+", default=[12_000, 100_000, 1_000_000])
    parser.add_argument(
        "--steps", type=int, default=5, help="timed steps, after one that is not timed"
    )
    add_json(parser)
    parser.add_argument(
        "--case",
        nargs=2,
        metavar=("LOSS", "OPTIMIZER"),
        help="measure only this case, in this process, and print one line of JSON",
    )
    parsed = parser.parse_args()
    if parsed.case:
        print(json.dumps(measure(parsed.items[0], *parsed.case, parsed.steps)))
        return
    results = []
    print(
        f"{'items':>10}  {'loss':<16} {'optimizer':<9} {'s/step':>8}  {'table MB':>8}  "
        f"{'memory MB':>9}  {'tables':>6}"
    )
    for loss, optimizer in CASES:
        for items in parsed.items:
            command = [sys.executable, __file__, "--case", loss, optimizer]
            command += [f"--items={items}", f"--steps={parsed.steps}"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
            print(_line(**results[-1]), flush=True)
    if parsed.json:
        write_json(parsed.json, results)


def _line(items, loss, optimizer, seconds_per_step, table_mb, memory_mb) -> str:
    case = f"{items:>10,}  {loss:<16} {optimizer:<9} {seconds_per_step:>8.3f}"
    return f"{case}  {table_mb:>8.0f}  {memory_mb:>9.0f}  {memory_mb / table_mb:>6.1f}"


def measure(items: int, loss: str, optimizer: str, steps: int) -> dict:
    """Measures one case in this process, and returns its figures."""
    from tfrec_attn.runtime.process import import_tensorflow, peak_memory_mb, seed_everything

    tf = import_tensorflow()
    from tfrec_attn import optimizers
    from tfrec_attn.models.sasrec import SASRec

    seed_everything(1)
    features = {
        "user": tf.ones([ROWS], tf.int32),
        "history": tf.random.uniform([ROWS, LENGTH], 1, items + 1, tf.int32),
        "targets": tf.random.uniform([ROWS, LENGTH], 1, items + 1, tf.int32),
        "normalizer": tf.fill([ROWS], 1.0 / (ROWS * LENGTH)),
    }
    if loss == "sampled_softmax":
        features["negatives"] = tf.random.uniform([ROWS, NEGATIVES // ROWS], 1, items + 1, tf.int32)
    before = peak_memory_mb()
    model = SASRec(1, items, LENGTH, dim=DIM)
    model.compile(
        {"adam": tf.keras.optimizers.Adam, "adagrad": optimizers.Adagrad}[optimizer](1e-3),
        loss,
        reduction="mean",
        l2=1e-4,
    )
    batches = tf.data.Dataset.from_tensors(features).repeat()
    model.fit(batches, steps_per_epoch=1, verbose=0)
    begin = time.perf_counter()
    model.fit(batches, steps_per_epoch=steps, verbose=0)
    seconds = (time.perf_counter() - begin) / steps
    return {
        "items": items,
        "loss": loss,
        "optimizer": optimizer,
        "seconds_per_step": seconds,
        "table_mb": items * DIM * 4 / 1e6,
        "memory_mb": peak_memory_mb() - before,
    }


if __name__ == "__main__":
    main()
