"""Exact quantiles of chunked numbers, against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrec_attn.data.shards.order_statistics import quantile


def chunked(*parts):
    return [lambda part=part: np.asarray(part) for part in parts]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(-3, 10**12), max_size=20), min_size=1, max_size=4).filter(any),
    st.floats(0.001, 0.999),
)
def test_against_numpy(parts, share):
    parts = [np.array(part, np.int64) for part in parts]
    assert quantile(chunked(*parts), share) == np.quantile(
        np.concatenate(parts), share, method="lower"
    )


@pytest.mark.parametrize(
    "values",
    [
        np.full(1000, 7),
        np.concatenate([np.arange(5000), np.full(1, 10**15)]),  # all but one in a single bin
        np.random.default_rng(1).normal(size=5000) * 1e-9 + 1.6e9,
        1_600_000_000_000_000_000 + np.random.default_rng(2).integers(0, 1000, 3000) * 10**9,
    ],
    ids=["constant", "outlier", "fractions", "nanoseconds"],
)
def test_awkward_numbers(values):
    parts = np.array_split(values, 3)
    for share in (0.1, 0.5, 0.8, 0.95):
        assert quantile(chunked(*parts), share) == float(np.quantile(values, share, method="lower"))
