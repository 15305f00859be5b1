"""Measures the softmax loss over all items with its gradients, and TensorFlow's own operation.

    python benchmarks/softmax.py [--positions 1460] [--items 12101] [--dim 64] [--tiles 20 21 23]
    [--repeats 15] [--json FILE]

`products` are the three matrix products over all positions that the loss and both gradients need at
least. `TensorFlow` is `tf.matmul` and `tf.nn.sparse_softmax_cross_entropy_with_logits` with their
own gradients. The implementations take turns, so that other load on the machine affects all of
them. `error` is the largest difference from TensorFlow's loss and gradients, relative to the
largest absolute value of each. For bfloat16 it is the rounding of the inputs. The default size is a
batch of 256 users of Amazon Beauty.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _machine import add_json, write_json

import tfrec_attn  # noqa: F401 - chooses Keras before TensorFlow is imported
from tfrec_attn.runtime.process import import_tensorflow, seed_everything

tf = import_tensorflow()

from tfrec_attn import losses  # noqa: E402


def native(queries, items, targets):
    logits = tf.matmul(queries, items, transpose_b=True)
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    )


def with_gradients(loss):
    """Returns a `tf.function` for a loss and its gradients by queries and items."""

    @tf.function
    def step(queries, items, targets):
        with tf.GradientTape() as tape:
            tape.watch([queries, items])
            value = loss(queries, items, targets)
        return [value, *tape.gradient(value, [queries, items])]

    return step


@tf.function
def products(queries, items, targets):
    logits = tf.matmul(queries, items, transpose_b=True)
    return logits[0, 0], tf.matmul(logits, items), tf.matmul(logits, queries, transpose_a=True)


def largest_error(values, expected) -> float:
    return max(
        float(tf.reduce_max(abs(a - b)) / tf.reduce_max(abs(b)))
        for a, b in zip(values, expected, strict=True)
    )


def seconds(function, *arguments) -> float:
    begin = time.perf_counter()
    function(*arguments)[-1].numpy()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--positions", type=int, default=1460)
    parser.add_argument("--items", type=int, default=12101)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument(
        "--tiles",
        type=int,
        nargs="*",
        default=[20, 21, 23],
        help="log2 of the logits in a tile, tried next to the default",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=15,
        help="timed runs of each, after one that is not timed",
    )
    add_json(parser)
    parsed = parser.parse_args()
    seed_everything(1)
    # Hides TensorFlow's warning about repeated tracing, because there are many functions.
    tf.get_logger().setLevel("ERROR")
    queries, items = (
        tf.random.normal([parsed.positions, parsed.dim]),
        tf.random.normal([parsed.items, parsed.dim], stddev=0.1),
    )
    arguments = queries, items, tf.random.uniform([parsed.positions], 0, parsed.items, tf.int32)

    functions = {
        "products": products,
        "TensorFlow": with_gradients(native),
        "softmax": with_gradients(losses.softmax),
    }
    for power in parsed.tiles:
        functions[f"softmax, tile 2^{power}"] = with_gradients(
            lambda *x, tile=2**power: losses.softmax(*x, tile=tile)
        )
    functions["softmax, bfloat16"] = with_gradients(
        lambda q, v, t: losses.softmax(tf.cast(q, tf.bfloat16), tf.cast(v, tf.bfloat16), t)
    )
    functions["loss alone"] = tf.function(lambda *x: [losses.softmax(*x, gradients=False)])
    results = {name: function(*arguments) for name, function in functions.items()}
    times = {name: [] for name in functions}
    for _ in range(parsed.repeats):
        for name, function in functions.items():
            times[name].append(seconds(function, *arguments))

    flops = 6 * parsed.positions * parsed.items * parsed.dim
    least = min(times["products"])
    figures = {"load": os.getloadavg()[0], "cores": os.cpu_count(), "tensorflow": tf.__version__}
    print(
        f"{parsed.positions:,} positions x {parsed.items:,} items x {parsed.dim}; "
        f"TensorFlow {tf.__version__}, {os.cpu_count()} cores,"
    )
    print(f"load {os.getloadavg()[0]:.1f}; GFLOP/s count the three products.\n")
    print(
        f"{'':20s} {'best ms':>8s} {'median':>8s} {'GFLOP/s':>8s} {'of products':>12s} "
        f"{'error':>8s}"
    )
    for name, values in times.items():
        best, median = min(values), statistics.median(values)
        figures[name] = {
            "best_ms": best * 1e3,
            "median_ms": median * 1e3,
            "of_products": best / least,
        }
        rate = f"{flops / best / 1e9:8.0f}" if name != "loss alone" else f"{'':8s}"
        compared = name.startswith("softmax")
        if compared:
            figures[name]["error"] = largest_error(results[name], results["TensorFlow"])
        error = f"{figures[name]['error']:8.0e}" if compared else ""
        print(
            f"{name:20s} {best * 1e3:8.1f} {median * 1e3:8.1f} {rate} {best / least:11.2f}x {error}"
        )
    if parsed.json:
        write_json(parsed.json, figures)


if __name__ == "__main__":
    main()
