"""Exact ranking of held-out items over the full catalogue, and intervals for the means."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.held_out import HeldOut
from tfrec_attn.evaluation.metrics import ranking_functions

_BLOCK_ELEMENTS = 1 << 25


def block_size(num_items: int, limit: int = 256) -> int:
    """Users to rank at once, so that a block of scores [users, items] stays under 128 MiB of
    float32.
    """
    return max(1, min(limit, _BLOCK_ELEMENTS // max(num_items, 1)))


def held_out_ranks(ranker: Callable, held_out: HeldOut) -> np.ndarray:
    """Rank of every held-out event, int32 [U], in the order of the split's `valid` or `test`.

    Args:
      ranker: block of features -> ranks int [B], such as `model.ranks` or a baseline's; to use it
          again, a `tf.function` of it.
      held_out: the events.
    """
    dataset = held_out.dataset()
    if not getattr(ranker, "eager", False) and not isinstance(
        ranker, tf.types.experimental.PolymorphicFunction
    ):
        ranker = tf.function(ranker, input_signature=[dataset.element_spec])
    return held_out.in_split_order(
        np.concatenate([np.asarray(ranker(block), np.int32) for block in dataset])
    )


def summarise(ranks: np.ndarray, k: Sequence[int]) -> dict[str, float]:
    """Means of HR@k, NDCG@k and MRR over the held-out events."""
    return {
        name: float(np.mean(function(ranks), dtype=np.float64))
        for name, function in _numpy_functions(k).items()
    }


def bootstrap_intervals(
    ranks: np.ndarray, k: Sequence[int], resamples: int = 1000, seed: int = 0
) -> dict[str, list[float]]:
    """95 % percentile intervals of the means, from resampling the held-out events with replacement.

    Args:
      ranks: int [U].
      k: cut-offs.
      resamples: how many.
      seed: of the resampling.

    Returns: metric -> [2.5 % quantile, 97.5 % quantile].

    Reference: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13.
    """
    functions = _numpy_functions(k)
    values = np.stack([function(ranks) for function in functions.values()], axis=1).astype(
        np.float64
    )
    generator = np.random.default_rng(seed)
    count = len(ranks)
    means = np.concatenate(
        [
            np.stack(
                [
                    np.bincount(draw, minlength=count)
                    for draw in generator.integers(count, size=(part, count))
                ]
            )
            @ values
            / count
            for part in _parts(resamples, 50)
        ]
    )
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate(functions)}


def _numpy_functions(k):
    return {
        name: lambda ranks, f=function: np.asarray(f(tf.constant(ranks)))
        for name, function in ranking_functions(k).items()
    }


def _parts(total, size):
    return [min(size, total - begin) for begin in range(0, total, size)]
