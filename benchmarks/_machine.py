"""What the machine can do, measured in the same run as what is compared with it."""

import time
from collections.abc import Callable


def seconds_of(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def gemm_gflops(tf, size: int = 2048, repeats: int = 20) -> float:
    """Best rate of a float32 matrix product [size, size] x [size, size], in GFLOP/s; `tf` is TensorFlow."""
    a = tf.random.normal([size, size])
    product = tf.function(lambda a: tf.matmul(a, a))
    product(a)
    return 2 * size**3 / min(seconds_of(lambda: product(a).numpy()) for _ in range(repeats)) / 1e9
