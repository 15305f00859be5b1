"""Counts of pairs in files, against Python's Counter."""

from collections import Counter

import numpy as np
import pytest

from tfrec_attn.data.sequences import transitions
from tfrec_attn.data.sequences.transitions import PairCounts, load_transitions, save_transitions


@pytest.mark.parametrize("bucket", [4_000_000, 7])
def test_counts(tmp_path, monkeypatch, bucket):
    monkeypatch.setattr(transitions, "_BUCKET", bucket)
    random, expected = np.random.default_rng(0), Counter()
    counted = PairCounts(tmp_path, num_items=9, pairs=60)
    for size in (0, 1, 40, 19):
        first, second = random.integers(1, 10, (2, size)).astype(np.int32)
        counted.add(first, second)
        expected.update(zip(first.tolist(), second.tolist(), strict=True))
    result = counted.result()
    assert result.num_items == 9 and len(result.offsets) == 11 and result.offsets[1] == 0
    rows = np.repeat(np.arange(10), np.diff(result.offsets))
    found = dict(
        zip(
            zip(rows.tolist(), result.neighbours.tolist(), strict=True),
            result.counts.tolist(),
            strict=True,
        )
    )
    assert found == dict(expected) and list(found) == sorted(found)

    save_transitions(tmp_path / "pairs.npz", result)
    loaded = load_transitions(tmp_path / "pairs.npz")
    for name in ("num_items", "offsets", "neighbours", "counts"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(result, name), strict=True)


def test_no_pairs(tmp_path):
    result = PairCounts(tmp_path, num_items=3, pairs=0).result()
    assert result.offsets.tolist() == [0] * 5 and not len(result.neighbours)
