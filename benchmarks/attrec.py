"""AttRec's training and evaluation speed on MovieLens-100K's size, beside the machine's matrix-product rate of the same run.

    python benchmarks/attrec.py [--log FILE] [--epochs 5] [--json FILE]

Authors' settings: D 150, L 5, T 3, one negative per positive, batches of 1,000 windows, Adagrad, hinge. `plain` is the same step written
straight down: every position projected, [B, T, D] differences squared, Keras' own Adagrad; it reads the same batches. Without --log a
synthetic log of 100,000 events is used.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tfrec_attn  # noqa: F401 - chooses Keras before TensorFlow is imported
from tfrec_attn import config as configuration
from tfrec_attn import run
from tfrec_attn.runtime import import_tensorflow, seed_everything

tf = import_tensorflow()

from tfrec_attn.data.batches import Windows  # noqa: E402
from tfrec_attn.evaluation import held_out_ranks  # noqa: E402
from tfrec_attn.fitting import held_out  # noqa: E402
from tfrec_attn.layers import TimeSignal  # noqa: E402
from tfrec_attn.models import AttRec  # noqa: E402
from tfrec_attn.optimizers import Adagrad  # noqa: E402

DIM, LENGTH, TARGETS, BATCH = 150, 5, 3, 1000
OPTIMIZER = {"learning_rate": 0.05, "initial_accumulator_value": 0.05}


class PlainAttRec(tf.keras.Model):
    """The equations as they stand, for comparison."""

    def __init__(self, num_users, num_items):
        super().__init__()
        self.short, self.long, self.users = (
            tf.keras.layers.Embedding(count + 1, DIM, tf.keras.initializers.RandomNormal(stddev=0.001))
            for count in (num_items, num_items, num_users)
        )
        self.projection = tf.keras.layers.Dense(DIM, "relu", use_bias=False)
        self.signal = TimeSignal(LENGTH)

    def call(self, batch):
        x = self.short(batch["history"])
        q = self.projection(self.signal(x))
        weights = tf.nn.softmax(tf.matmul(q, q, transpose_b=True) / DIM**0.5)
        weights = tf.linalg.set_diag(weights, tf.zeros(tf.shape(weights)[:2]))
        intent = tf.reduce_mean(tf.matmul(weights, x), axis=1)[:, tf.newaxis]
        user = self.users(batch["user"])[:, tf.newaxis]
        items = tf.concat([batch["targets"], batch["negatives"][:, :, 0]], axis=1)
        long = tf.reduce_sum(tf.square(user - self.long(items)), axis=-1)
        short = tf.reduce_sum(tf.square(intent - self.short(items)), axis=-1)
        distance = 0.2 * long + 0.8 * short
        return tf.reduce_sum(tf.nn.relu(distance[:, :TARGETS] + 0.5 - distance[:, TARGETS:]))

    def train_step(self, batch):
        with tf.GradientTape() as tape:
            loss = self(batch)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return {"loss": loss}


def gemm_gflops(size: int = 2048, repeats: int = 20) -> float:
    a = tf.random.normal([size, size])

    @tf.function
    def product(a):
        return tf.matmul(a, a)

    product(a)
    best = min(_seconds(lambda: product(a).numpy()) for _ in range(repeats))
    return 2 * size**3 / best / 1e9


def windows_per_second(model, windows: Windows, epochs: int) -> list[float]:
    rates = []
    steps = windows.steps_per_epoch
    model.fit(windows.dataset(), epochs=1, steps_per_epoch=steps, verbose=0)
    for _ in range(epochs):
        rates.append(steps * BATCH / _seconds(lambda: model.fit(windows.dataset(), epochs=1, steps_per_epoch=steps, verbose=0)))
    return sorted(rates)


def _seconds(function) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", help="log file; without it a synthetic log")
    parser.add_argument("--epochs", type=int, default=5, help="epochs timed, after one that is not")
    parser.add_argument("--json", help="write the figures to this file too")
    parsed = parser.parse_args()
    data = {"source": "file", "path": parsed.log} if parsed.log else {"events": 100_000}
    config = configuration.from_dict({"data": {**data, "min_user_events": 10}})
    split = run.prepare_data(config).split
    seed_everything(1)
    users, items = split.sequences.num_users, split.sequences.num_items
    windows = Windows(split, max_length=LENGTH, targets=TARGETS, negatives=1, batch_size=BATCH)
    figures = {"windows": len(windows), "users": users, "items": items, "gemm_gflops": gemm_gflops()}

    model = AttRec(users, items, LENGTH, dim=DIM)
    rates = {}
    for name, one, extra in (
        ("plain", PlainAttRec(users, items), {}),
        ("tfrec_attn, no L2, no ball", AttRec(users, items, LENGTH, dim=DIM, max_norm=None), {}),
        ("tfrec_attn, L2 and ball", model, {"l2": 1e-3, "kernel_l2": 1e-2}),
    ):
        optimizer = tf.keras.optimizers.Adagrad(**OPTIMIZER) if name == "plain" else Adagrad(**OPTIMIZER)
        one.compile(optimizer=optimizer, steps_per_execution=16, **extra)
        rates[name] = windows_per_second(one, windows, parsed.epochs)
    blocks = held_out(config, split, "test")
    held_out_ranks(model.ranks, blocks)
    figures["evaluation_seconds"] = min(_seconds(lambda: held_out_ranks(model.ranks, blocks)) for _ in range(3))
    figures["gemm_gflops_after"] = gemm_gflops()
    flops = 2 * 3 * LENGTH * DIM * DIM
    print(f"{len(windows):,} windows of {users:,} users and {items:,} items; float32 product {figures['gemm_gflops']:.0f} GFLOP/s before, ")
    print(f"{figures['gemm_gflops_after']:.0f} after; {flops / 1e3:.0f} kFLOP a window where every position is projected.\n")
    print(f"{'training':28s} {'windows/s median':>17s} {'best':>9s} {'of plain':>9s} {'of that arithmetic':>19s}")
    for name, values in rates.items():
        median, best = values[len(values) // 2], values[-1]
        figures[name] = {"median": median, "best": best}
        share = median * flops / figures["gemm_gflops"] / 1e9
        print(f"{name:28s} {median:17,.0f} {best:9,.0f} {median / rates['plain'][len(values) // 2]:8.2f}x {share:18.0%}")
    print(f"\nfull ranking of {len(blocks):,} users: {figures['evaluation_seconds']:.3f} s")
    if parsed.json:
        Path(parsed.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
