"""Ranks of held-out events among all items, their means, and bootstrap intervals."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.held_out import HeldOut
from tfrec_attn.evaluation.metrics import ranking_functions

_BLOCK_ELEMENTS = 1 << 25
_RESAMPLES = 50  # at once


def block_size(num_items: int, limit: int = 256) -> int:
    """Returns how many users to rank at once, with at most 128 MiB of scores [users, items]."""
    return max(1, min(limit, _BLOCK_ELEMENTS // max(num_items, 1)))


def held_out_ranks(ranker: Callable, held_out: HeldOut, eager: float = 0) -> np.ndarray:
    """Returns the rank of each held-out event, int32 [U] or [U, P], in the order of the split.

    Args:
        ranker: Function of a block of features that returns ranks int [B], such as `model.ranks`,
            or several ranks of each event, int [B, P]. It is traced as a `tf.function`.
        held_out: The events.
        eager: If there are fewer blocks than this number, neither the ranker nor the construction
            of the blocks is traced. Default 0.
    """
    if len(held_out) < eager * held_out.batch_size:
        blocks = held_out.blocks()
    else:
        blocks = held_out.dataset()
        if not isinstance(ranker, tf.types.experimental.PolymorphicFunction):
            ranker = tf.function(ranker, input_signature=[blocks.element_spec], autograph=False)
    return held_out.in_split_order(
        np.concatenate([np.asarray(ranker(block), np.int32) for block in blocks])
    )


def summarise(ranks: np.ndarray, k: Sequence[int]) -> dict[str, float]:
    """Returns the means of HR@k, NDCG@k and MRR over the held-out events."""
    return {name: float(values.mean()) for name, values in values_of(ranks, k).items()}


def values_of(ranks: np.ndarray, k: Sequence[int]) -> dict[str, np.ndarray]:
    """Returns HR@k, NDCG@k and the reciprocal rank of each held-out event, float64, by metric."""
    ranks = tf.constant(ranks)
    return {
        name: np.asarray(function(ranks), np.float64)
        for name, function in ranking_functions(k).items()
    }


def bootstrap_intervals(
    values: dict[str, np.ndarray],
    resamples: int = 1000,
    seed: int = 0,
    users: np.ndarray | None = None,
) -> dict[str, list[float]]:
    """Returns 95 % bootstrap intervals of means over the held-out events, resampling users.

    Args:
        values: Name -> values of the held-out events, float [U].
        resamples: Number of resamples with replacement. Default 1000.
        seed: Seed of the resampling. Default 0.
        users: User of each event, [U]: the events of a user are drawn together. None (default): one
            event for each user.

    Returns:
        [2.5 % quantile, 97.5 % quantile] by name.

    Reference:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    sums, sizes = totals_by_user(np.stack(list(values.values()), axis=1), users)
    generator = np.random.default_rng(seed)
    count, means = len(sums), []
    for begin in range(0, resamples, _RESAMPLES):
        draws = generator.integers(count, size=(min(_RESAMPLES, resamples - begin), count))
        times = np.stack([np.bincount(draw, minlength=count) for draw in draws])
        means.append(times @ sums / (times @ sizes)[:, np.newaxis])
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975], axis=0)
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate(values)}


def totals_by_user(columns: np.ndarray, users: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sums of the events of each user, and the number of events of each.

    Args:
        columns: Values of the events, float [U, C].
        users: User of each event, [U]; None: one event for each user.

    Returns:
        (float [G, C], int [G]). Users are in the order of their first events, so numbers and ids of
        users give the same result.
    """
    if users is not None:
        _, first, group, sizes = np.unique(users, True, True, True)
        if len(sizes) < len(columns):
            order = np.argsort(first)
            sums = np.zeros((len(sizes), columns.shape[1]))
            np.add.at(sums, np.argsort(order)[group], columns)
            return sums, sizes[order]
    return columns, np.ones(len(columns), np.int64)
