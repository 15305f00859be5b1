"""Tests of the difference between two models on the same held-out events."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfrec_attn.evaluation.held_out import bootstrap_intervals, totals_by_user

_SIGNS = 4_000_000  # at once
_MOST_SIGNS = 400_000_000


class Difference(NamedTuple):
    """The mean difference of a metric between two models.

    Attributes:
        mean: Mean over the held-out events.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
        p: Two-sided p-value of the permutation test.
    """

    mean: float
    low: float
    high: float
    p: float


def paired_difference(
    one: np.ndarray,
    other: np.ndarray,
    resamples: int | None = None,
    seed: int = 0,
    users: np.ndarray | None = None,
) -> Difference:
    """Returns the difference `one - other` with its interval and its p-value.

        p = (1 + |{permutations with |mean| >= |observed mean|}|) / (1 + permutations)

    A permutation exchanges the two models for each user with probability 1/2. If the models do not
    differ, this does not change the distribution of the mean.

    Args:
        one: Values of a metric, float [U].
        other: Those of the other model for the same events, float [U].
        resamples: Number of permutations. The bootstrap has as many resamples, but at most 1,000.
            None (default): 10,000 permutations; fewer, but at least 1,000, if more than 40,000
            users differ.
        seed: Seed of permutations and bootstrap. Default 0.
        users: User of each event, [U]. The events of a user are exchanged and resampled together.
            None (default): one event for each user.

    Reference:
        Smucker, Allan, Carterette, "A Comparison of Statistical Significance Tests for Information
        Retrieval Evaluation", CIKM 2007.
    """
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    mean = float(difference.mean())
    sums = totals_by_user(difference[:, np.newaxis], users)[0][:, 0]
    # In a sparse log most users have no difference. They do not change the sum.
    changed = sums[sums != 0]
    if resamples is None:
        resamples = min(10_000, max(1000, _MOST_SIGNS // max(1, len(changed))))
    interval = bootstrap_intervals({"": difference}, min(resamples, 1000), seed, users)[""]
    generator, extreme = np.random.default_rng(seed), 0
    # Sums in another order differ by rounding.
    threshold = abs(changed.sum()) - 1e-9 * np.abs(changed).sum()
    at_once = max(1, _SIGNS // max(1, len(changed)))
    for begin in range(0, resamples, at_once):
        shape = (min(at_once, resamples - begin), len(changed))
        signs = 2.0 * generator.integers(2, size=shape, dtype=np.int8) - 1.0
        extreme += int(np.count_nonzero(np.abs(signs @ changed) >= threshold))
    return Difference(mean, *interval, (1 + extreme) / (1 + resamples))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values that Holm's method has adjusted for multiple tests.

    Reference:
        Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
        Statistics 1979.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    result = np.empty(len(order))
    result[order] = adjusted
    return result.tolist()
