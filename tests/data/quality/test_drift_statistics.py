"""Distances of distributions, and profiles of logs, computed by hand."""

import json
import math

import numpy as np
import polars as pl
import pytest

from tfrec_attn.data.quality import log_profile
from tfrec_attn.data.quality.drift_statistics import (
    binned,
    jensen_shannon,
    kolmogorov_smirnov,
    population_stability_index,
    quantile_bins,
)
from tfrec_attn.errors import DataError


def entropy(*shares):
    return -sum(share * math.log2(share) for share in shares if share)


def test_psi_by_hand():
    # With half an event more each: 0.3 and 0.7 become 0.7 and 0.3.
    assert population_stability_index(np.array([1, 3]), np.array([3, 1])) == pytest.approx(
        0.8 * math.log(7 / 3)
    )
    assert population_stability_index(np.array([4, 0, 7]), np.array([4, 0, 7])) == 0


def test_jensen_shannon_by_hand():
    assert jensen_shannon(np.array([5, 0]), np.array([0, 2])) == pytest.approx(1)
    assert jensen_shannon(np.array([1, 2]), np.array([10, 20])) == pytest.approx(0, abs=1e-12)
    # Entropy of the middle less the mean of the entropies.
    expected = entropy(0.75, 0.25) - (entropy(0.5, 0.5) + entropy(1.0)) / 2
    assert jensen_shannon(np.array([1, 1]), np.array([3, 0])) == pytest.approx(expected)


def test_kolmogorov_smirnov_by_hand():
    # Up to 1, 2, 3, 4: 1/2 1/2 1 1 and 0 1/4 1/2 1.
    earlier, later = (
        (np.array([1, 3]), np.array([2, 2])),
        (np.array([2, 3, 4]), np.array([1, 1, 2])),
    )
    assert kolmogorov_smirnov(earlier, later) == kolmogorov_smirnov(later, earlier) == 0.5
    assert kolmogorov_smirnov(earlier, earlier) == 0


def test_bins_have_about_the_same_size():
    # 1 2 3 4 with 10 each in two bins; a value that fills most of them is one edge; what is below
    # and above all has bins of its own.
    assert quantile_bins(np.array([1, 2, 3, 4]), np.array([10, 10, 10, 10]), bins=2).tolist() == [
        0,
        2,
        4,
    ]
    assert quantile_bins(np.array([1, 2, 9]), np.array([80, 10, 10]), bins=10).tolist() == [
        0,
        1,
        2,
        9,
    ]
    assert quantile_bins(np.array([7]), np.array([3])).tolist() == [6, 7]
    assert binned(np.array([1, 2, 3, 9]), np.array([1, 2, 4, 8]), np.array([2])).tolist() == [3, 12]
    assert binned(np.array([7]), np.array([3]), np.array([])).tolist() == [3]


def make(lengths, items, times=None):
    return log_profile.make_profile(
        np.array(lengths), pl.Series(list(items)), np.array(list(items.values())), times
    )


def test_profile_by_hand():
    found = make([3, 1, 3, 2], {"a": 1, "b": 6, "c": 2}, np.arange(9))
    assert (found.lengths, found.users) == ([1, 2, 3], [1, 1, 2])
    assert (found.items, found.item_events, found.events) == (["b", "c", "a"], [6, 2, 1], 9)
    # A third of the items, rounded, is one of the three.
    assert (found.curve[0], found.curve[33], found.curve[100]) == (
        0,
        pytest.approx(6 / 9, abs=1e-6),
        1,
    )
    assert sum(found.time_events) == 9 and (found.time_edges[0], found.time_edges[-1]) == (0, 8)
    assert make([1], {"a": 1}).time_edges == []


def test_the_same_log_does_not_drift():
    one = make([3, 1, 3, 2], {"a": 1, "b": 6, "c": 2})
    for figures in log_profile.compare(one, one, {"a": 1, "b": 6, "c": 2}).values():
        assert list(figures.values()) == pytest.approx([0] * len(figures), abs=1e-12)


def test_popularity_drift_by_hand():
    earlier, later = make([10], {"a": 6, "b": 3, "c": 1}), make([10], {"a": 1, "b": 3, "d": 6})
    figures = log_profile.compare(earlier, later, {"a": 1, "b": 3, "d": 6})["popularity"]
    expected = entropy(0.35, 0.3, 0.05, 0.3) - (entropy(0.6, 0.3, 0.1) + entropy(0.1, 0.3, 0.6)) / 2
    assert figures["jensen_shannon"] == pytest.approx(expected)
    assert figures["events_of_other_items"] == 0.6
    # Four bands that hold anything: a, b, c and the others, with half an event more each.
    p, q = [6.5 / 12, 3.5 / 12, 1.5 / 12, 0.5 / 12], [1.5 / 12, 3.5 / 12, 0.5 / 12, 6.5 / 12]
    assert figures["psi"] == pytest.approx(
        sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
    )


def test_history_drift_by_hand():
    # Edge between 1 and 2: two and two users become none and four.
    earlier, later = make([1, 1, 2, 2], {"a": 6}), make([2, 2, 2, 2], {"a": 8})
    figures = log_profile.compare(earlier, later, {"a": 8})["history_length"]
    assert figures["kolmogorov_smirnov"] == 0.5
    assert figures["jensen_shannon"] == pytest.approx(entropy(0.25, 0.75) - 0.5)
    assert figures["psi"] == pytest.approx(
        (0.9 - 0.5) * math.log(0.9 / 0.5) + (0.1 - 0.5) * math.log(0.1 / 0.5)
    )


@pytest.mark.parametrize("tree", ["{}", "[]", '{"profile": {"lengths": [1]}}', '{"profile": 3}'])
def test_files_that_are_no_report(tree):
    with pytest.raises(
        DataError,
        match=r"^r.json is not a report of tfrec_attn.data.validate: its profile cannot be used "
        r"\(.*\)\.$",
    ):
        log_profile.from_dict(json.loads(tree), "r.json")


def test_a_report_with_lists_that_do_not_fit():
    tree = {"profile": {**make([1], {"a": 1}).__dict__, "users": [1, 2]}}
    with pytest.raises(DataError, match="lists of different length"):
        log_profile.from_dict(tree, "r.json")
