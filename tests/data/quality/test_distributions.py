"""Distributions of columns, and their distances, computed by hand."""

import math

import polars as pl
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from tfrec_attn.data.quality.distributions import (
    distribution_of,
    jensen_shannon_divergence,
    l_infinity,
    load_distributions,
)
from tfrec_attn.errors import DataError


def of(*values):
    return distribution_of(pl.Series(values))


def entropy(*shares):
    return -sum(share * math.log2(share) for share in shares if share)


def test_l_infinity_by_hand():
    # Shares of a, b, c: 1/2, 1/2, 0 and 1/4, 1/4, 1/2.
    assert l_infinity(of("a", "b"), of("a", "b", "c", "c")) == (0.5, "c")
    assert l_infinity(of("a", "b"), of("c", "c")) == (1.0, "c")
    assert l_infinity(of("a"), of("a", "a")) == (0.0, "a")


def test_numbers_are_in_ten_bins_with_their_right_edges():
    histogram = of(0, 1, 1, 4, 10)
    assert histogram.edges.tolist() == list(range(11))
    assert histogram.counts.tolist() == [3, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    single = of(7.0, 7.0)
    assert (single.edges.tolist(), single.counts.tolist()) == ([7, 7], [2])


def test_divergence_of_texts_by_hand():
    expected = entropy(0.75, 0.25) - (entropy(0.5, 0.5) + entropy(1.0)) / 2
    assert jensen_shannon_divergence(of("a", "b"), of("a", "a", "a")) == pytest.approx(expected)


def test_divergence_of_numbers_by_hand():
    # The same extremes, so the same bins: shares 1/2, 1/2 and 1/4, 3/4.
    expected = entropy(0.375, 0.625) - (entropy(0.5, 0.5) + entropy(0.25, 0.75)) / 2
    found = jensen_shannon_divergence(of(0.0, 1.0), of(0.0, 1.0, 1.0, 1.0))
    assert found == pytest.approx(expected)
    # Bins of width 0.1 and of width 0.2. The mass of a bin is spread over it: from 0 to 0.1, 0.1 to
    # 0.2, 0.9 to 1 and 1.8 to 2 there are 1/2, 0, 1/2, 0 and 1/4, 1/4, 0, 1/2.
    expected = (
        entropy(0.375, 0.125, 0.25, 0.25) - (entropy(0.5, 0.5) + entropy(0.25, 0.25, 0.5)) / 2
    )
    assert jensen_shannon_divergence(of(0, 1), of(0, 2)) == pytest.approx(expected)


def test_a_single_number_is_disjoint_from_others():
    assert jensen_shannon_divergence(of(3), of(3, 3)) == 0
    assert jensen_shannon_divergence(of(3), of(4)) == 1
    assert jensen_shannon_divergence(of(3), of(3, 4)) == 1


STATISTICS = """
datasets {
  features {
    path { step: "item_id" }
    type: STRING
    string_stats {
      rank_histogram {
        buckets { label: "a" sample_count: 3 }
        buckets { label: "b" sample_count: 1 }
      }
    }
  }
  features {
    path { step: "rating" }
    type: FLOAT
    num_stats {
      histograms {
        buckets { low_value: 1 high_value: 2 sample_count: 3 }
        buckets { low_value: 2 high_value: 5 sample_count: 1 }
        type: STANDARD
      }
      histograms { buckets { low_value: 0 high_value: 9 sample_count: 1 } type: QUANTILES }
    }
  }
  features { name: "timestamp" type: INT num_stats { min: 1 } }
}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "statistics.pbtxt"
    path.write_text(STATISTICS)
    return path


def test_statistics_are_read(path):
    found = load_distributions(path)
    assert list(found) == ["item_id", "rating"]
    assert found["item_id"].rows() == [("a", 3), ("b", 1)]
    assert l_infinity(found["item_id"], of("a", "b")) == (0.25, "a")
    assert (found["rating"].edges.tolist(), found["rating"].counts.tolist()) == ([1, 2, 5], [3, 1])


def test_binary_statistics_are_read(path):
    from google.protobuf import text_format

    message = text_format.Parse(STATISTICS, statistics_pb2.DatasetFeatureStatisticsList())
    path.with_suffix(".pb").write_bytes(message.SerializeToString())
    found = load_distributions(path.with_suffix(".pb"))
    assert found["item_id"].equals(load_distributions(path)["item_id"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sample_count: 3", "sample_count: nan"),
        ("sample_count: 3", "sample_count: -1"),
        ("high_value: 5", "high_value: 1"),
        ("high_value: 5", "high_value: inf"),
    ],
)
def test_counts_that_are_none(path, old, new):
    path.write_text(STATISTICS.replace(old, new))
    with pytest.raises(DataError, match=r"does not hold the shares of the values of \w+\.$"):
        load_distributions(path)


def test_statistics_of_no_log(tmp_path):
    (tmp_path / "empty.pb").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"must hold the statistics of one log, but holds those of 0\.$"
    ):
        load_distributions(tmp_path / "empty.pb")
    (tmp_path / "bad.pb").write_bytes(b"\xff\xfe what?")
    with pytest.raises(
        DataError, match=r"bad.pb does not hold statistics as .* writes it \(.*\)\.$"
    ):
        load_distributions(tmp_path / "bad.pb")
