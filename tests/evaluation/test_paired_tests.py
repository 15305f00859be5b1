"""Tests of paired comparisons, against enumeration, formulas and simulated models."""

import itertools

import numpy as np
import pytest

from tfrec_attn.evaluation.held_out import bootstrap_intervals
from tfrec_attn.evaluation.paired_tests import holm, paired_difference


def test_p_value_against_all_permutations():
    """Of the 2^8 sign patterns, count those with a mean at least as far from 0."""
    one = np.array([0.9, 0.5, 0.63, 1.0, 0.0, 0.43, 0.3, 0.39])
    other = np.array([0.5, 0.5, 0.0, 0.63, 0.2, 0.39, 0.0, 0.5])
    difference = one - other
    sums = [abs(np.dot(signs, difference)) for signs in itertools.product([1, -1], repeat=8)]
    exact = np.mean(np.array(sums) >= abs(difference.sum()) - 1e-12)
    found = paired_difference(one, other, resamples=20_000)
    assert found.mean == pytest.approx(difference.mean())
    assert found.p == pytest.approx(exact, abs=0.01)
    assert paired_difference(other, one, resamples=20_000).p == pytest.approx(exact, abs=0.01)


def test_interval_of_the_difference():
    """Paired values vary together, so that the interval is that of the differences."""
    generator = np.random.default_rng(1)
    other = generator.random(400)
    one = other + generator.normal(0.05, 0.1, 400)
    found, error = paired_difference(one, other), np.std(one - other) / np.sqrt(400)
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.3 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.3 * error)


def test_equal_models():
    values = np.array([0.0, 1.0, 0.5])
    assert paired_difference(values, values, resamples=100) == (0.0, 0.0, 0.0, 1.0)


def test_false_alarms_and_coverage_without_a_difference():
    """Two models with the same distribution: 5 % of p-values are below 0.05, 95 % cover 0."""
    generator, below, covered = np.random.default_rng(2), 0, 0
    for seed in range(300):
        # As ranks of a weak model: mostly misses.
        one, other = (np.where(generator.random(80) < 0.4, 1.0, 0.0) for _ in range(2))
        found = paired_difference(one, other, resamples=400, seed=seed)
        below += found.p < 0.05
        covered += found.low <= 0 <= found.high
    assert below <= 0.08 * 300
    assert covered >= 0.90 * 300


def test_a_difference_is_found():
    generator = np.random.default_rng(3)
    other = np.where(generator.random(500) < 0.2, 1.0, 0.0)
    one = np.where(generator.random(500) < 0.2, 1.0, other)
    found = paired_difference(one, other, resamples=1000)
    assert found.p == pytest.approx(1 / 1001) and found.low > 0


def test_the_events_of_a_user_count_as_one():
    """Each value of 60 users four times is no more evidence than once."""
    generator = np.random.default_rng(4)
    other = generator.random(60)
    one = other + generator.normal(0.02, 0.1, 60)
    once = paired_difference(one, other, resamples=1000)
    four = np.repeat(one, 4), np.repeat(other, 4)
    found = paired_difference(*four, resamples=1000, users=np.repeat(np.arange(60), 4))
    assert found == pytest.approx(once)
    assert paired_difference(*four, resamples=1000).p < found.p / 2


def test_users_with_several_events_by_hand():
    """Of the signs of users with the sums 3, 1 and -1, six of eight are as far from 0 as 3."""
    difference, users = np.array([1.0, 2.0, 1.0, -0.5, -0.5]), np.array([7, 7, 3, 9, 9])
    found = paired_difference(difference, np.zeros(5), resamples=20_000, users=users)
    assert found.mean == pytest.approx(0.6)
    assert found.p == pytest.approx(6 / 8, abs=0.01)
    # Each drawn user brings all its events: from user 9 three times to user 7 three times.
    assert found[1:3] == pytest.approx((-0.5, 1.5))


def test_ids_of_users_give_the_intervals_of_their_numbers():
    """The ids sort as u1, u10, u2: a training has the numbers, an evaluation the ids."""
    values, numbers = {"MRR": np.arange(24.0) ** 2}, np.repeat(np.arange(1, 13), 2)
    ids = np.array([f"u{number}" for number in numbers], object)
    by_number = bootstrap_intervals(values, 100, users=numbers)
    assert bootstrap_intervals(values, 100, users=ids) == by_number


def test_holm_by_hand():
    """0.01 x 4, 0.02 x 3, 0.04 x 2 and 0.3 x 1, and none below one before it."""
    assert holm([0.02, 0.3, 0.01, 0.04]) == pytest.approx([0.06, 0.3, 0.04, 0.08])
    assert holm([0.01, 0.011]) == pytest.approx([0.02, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
