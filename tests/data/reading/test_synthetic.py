"""The size, the order and the two patterns of the synthetic log."""

import numpy as np
import polars as pl
import pytest

from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.data.sequences.encoding import encode_log
from tfrec_attn.data.sequences.splits import leave_one_out
from tfrec_attn.errors import ConfigError


@pytest.fixture(scope="module")
def log():
    return synthetic()


def test_schema_and_size(log):
    assert log.schema == {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    assert log.height == pytest.approx(60_000, rel=0.05)
    assert log["user_id"].n_unique() == 2_000
    assert 600 <= log["item_id"].n_unique() <= 1_000
    lengths = log.group_by("user_id").len()["len"]
    assert lengths.min() >= 8
    assert lengths.max() <= 120


def test_time_rises_and_nothing_repeats(log):
    assert log["timestamp"].is_sorted()
    assert not log.select("user_id", "timestamp").is_duplicated().any()
    assert not log.select("user_id", "item_id").is_duplicated().any()


def test_the_seed_decides():
    assert synthetic(1_000, 1).equals(synthetic(1_000, 1))
    assert not synthetic(1_000, 1).equals(synthetic(1_000, 2))


@pytest.mark.parametrize("events", [1_000, 300_000])
def test_other_sizes(events):
    assert synthetic(events).height == pytest.approx(events, rel=0.1)


def test_too_small():
    with pytest.raises(ConfigError, match=r"data\.events must be 1000 or more, got 999\."):
        synthetic(999)


def hit_rate(scores, sequences, positions):
    """HR@10 over all items but those of the history; ties count against the target."""
    hits = 0
    for place, row in zip(positions, scores, strict=True):
        start = sequences.offsets[np.searchsorted(sequences.offsets, place, side="right") - 1]
        target = row[sequences.items[place]]
        row = row.copy()
        row[[0, *sequences.items[start:place], sequences.items[place]]] = -np.inf
        hits += np.count_nonzero(row >= target) < 10
    return hits / len(positions)


def test_popularity_and_the_last_item_are_not_enough(log):
    sequences, _ = encode_log(log)
    split = leave_one_out(sequences)
    train, items, size = split.train_mask(), sequences.items, sequences.num_items + 1
    users = sequences.users()
    follows = np.zeros((3, size, size))
    for back in (1, 2, 3):
        pairs = train[back:] & (users[back:] == users[:-back])
        np.add.at(follows[back - 1], (items[:-back][pairs], items[back:][pairs]), 1)
    tests = split.test
    popular = np.broadcast_to(
        np.bincount(items[train], minlength=size).astype(float), (len(tests), size)
    )
    last = hit_rate(follows[0, items[tests - 1]], sequences, tests)
    assert 0.02 <= hit_rate(popular, sequences, tests) <= 0.08
    assert 0.05 <= last <= 0.15
    recent = sum(follows[back - 1, items[tests - back]] for back in (1, 2, 3))
    assert hit_rate(recent, sequences, tests) >= 1.25 * last
