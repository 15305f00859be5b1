"""Measures the speed of AttRec's training and evaluation at the size of MovieLens-100K.

    python benchmarks/attrec.py [--log FILE] [--rounds 3] [--json FILE]

The settings are those of the authors: D 150, L 5, T 3, one negative for each positive, batches of
1,000 windows, Adagrad, hinge loss. `plain` is the same step on the same batches without
optimizations: it projects all positions, squares [B, T, D] differences, and uses Keras' Adagrad.

The models take turns of five epochs, because each call of `fit` needs about 90 ms to start and end
its input. Rates are compared with the rate of matrix products in the same run. Without --log, the
log is synthetic and has 100,000 events.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _machine import add_json, gemm_gflops, seconds_of, write_json

from tfrec_attn import config as configuration
from tfrec_attn.runs import run
from tfrec_attn.runtime.process import import_tensorflow, seed_everything

tf = import_tensorflow()

from tfrec_attn.data.batches import Windows  # noqa: E402
from tfrec_attn.layers import SinusoidalPositions  # noqa: E402
from tfrec_attn.models import AttRec  # noqa: E402
from tfrec_attn.optimizers import Adagrad  # noqa: E402
from tfrec_attn.training.inputs import held_out  # noqa: E402

DIM, LENGTH, TARGETS, BATCH, EPOCHS = 150, 5, 3, 1000, 5
OPTIMIZER = {"learning_rate": 0.05, "initial_accumulator_value": 0.05}


class PlainAttRec(tf.keras.Model):
    """The equations of AttRec without optimizations, for comparison."""

    def __init__(self, num_users, num_items):
        super().__init__()
        self.short, self.long, self.users = (
            tf.keras.layers.Embedding(
                count + 1, DIM, tf.keras.initializers.RandomNormal(stddev=0.001)
            )
            for count in (num_items, num_items, num_users)
        )
        self.projection = tf.keras.layers.Dense(DIM, "relu", use_bias=False)
        self.signal = SinusoidalPositions(LENGTH)

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


def epoch_rates(models: dict, windows: Windows, rounds: int) -> dict[str, list[float]]:
    """Returns the sorted rates of each model in windows a second, one for each turn."""
    rates = {name: [] for name in models}
    steps = windows.steps_per_epoch
    # One dataset for all turns, so that it traces its functions once, as in a longer training.
    inputs = {name: windows.dataset() for name in models}
    for round_ in range(rounds + 1):
        for name, model in models.items():
            seconds = seconds_of(
                lambda name=name, model=model: model.fit(
                    inputs[name], epochs=EPOCHS, steps_per_epoch=steps, verbose=0
                )
            )
            if round_:
                rates[name].append(EPOCHS * steps * BATCH / seconds)
    return {name: sorted(values) for name, values in rates.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", help="log file; without it a synthetic log")
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="timed turns of each, after one that is not timed",
    )
    add_json(parser)
    parsed = parser.parse_args()
    data = {"source": "file", "path": parsed.log} if parsed.log else {"events": 100_000}
    config = configuration.from_dict({"data": {**data, "min_user_events": 10}})
    split = run.prepare_data(config).split
    seed_everything(1)
    users, items = split.sequences.num_users, split.sequences.num_items
    windows = Windows(split, max_length=LENGTH, targets=TARGETS, negatives=1, batch_size=BATCH)
    figures = {
        "windows": len(windows),
        "users": users,
        "items": items,
        "gemm_gflops": gemm_gflops(tf),
    }
    compared = {
        "plain": PlainAttRec(users, items),
        "tfrec_attn, no L2, no max-norm": AttRec(users, items, LENGTH, dim=DIM, max_norm=None),
        "tfrec_attn, L2 and max-norm": AttRec(users, items, LENGTH, dim=DIM),
    }
    compared["plain"].compile(tf.keras.optimizers.Adagrad(**OPTIMIZER), steps_per_execution=16)
    compared["tfrec_attn, no L2, no max-norm"].compile(Adagrad(**OPTIMIZER), steps_per_execution=16)
    compared["tfrec_attn, L2 and max-norm"].compile(
        Adagrad(**OPTIMIZER), l2=1e-3, kernel_l2=1e-2, steps_per_execution=16
    )
    rates = epoch_rates(compared, windows, parsed.rounds)
    model, blocks = compared["tfrec_attn, L2 and max-norm"], held_out(config, split, "test")
    ranker = tf.function(model.ranks, input_signature=[blocks.dataset().element_spec])
    figures["evaluation_seconds"] = min(
        seconds_of(lambda: [ranker(block) for block in blocks.dataset()]) for _ in range(4)
    )
    figures["gemm_gflops_after"] = gemm_gflops(tf)
    flops = 2 * 3 * LENGTH * DIM * DIM
    print(
        f"{len(windows):,} windows of {users:,} users and {items:,} items;\n"
        f"float32 product {figures['gemm_gflops']:.0f} GFLOP/s before, "
        f"{figures['gemm_gflops_after']:.0f} after;\n"
        f"{flops / 1e3:.0f} kFLOP a window where all positions are projected.\n"
    )
    print(
        f"{'training':28s} {'windows/s median':>17s} {'best':>9s} {'of plain':>9s} "
        f"{'best of best':>13s} {'of that arithmetic':>19s}"
    )
    for name, values in rates.items():
        plain, median, best = rates["plain"], values[len(values) // 2], values[-1]
        figures[name] = {"median": median, "best": best}
        share = median * flops / figures["gemm_gflops"] / 1e9
        print(
            f"{name:28s} {median:17,.0f} {best:9,.0f} {median / plain[len(plain) // 2]:8.2f}x "
            f"{best / plain[-1]:12.2f}x {share:18.0%}"
        )
    print(f"\nfull ranking of {len(blocks):,} users: {figures['evaluation_seconds']:.3f} s")
    if parsed.json:
        write_json(parsed.json, figures)


if __name__ == "__main__":
    main()
