"""Distributions of the columns of a log, and the distances that a schema bounds.

The distances are those of TensorFlow Data Validation, because users choose the thresholds of a
schema for them: texts are compared by their shares, numbers by ten bins of equal width between the
smallest and the largest value of each log. TensorFlow Data Validation estimates counts with
sketches; here they are exact.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from tensorflow_metadata.proto.v0 import statistics_pb2

from tfrec_attn.data.quality.drift_statistics import jensen_shannon
from tfrec_attn.data.quality.message_file import read_message
from tfrec_attn.errors import DataError

_BINS = 10


@dataclass(frozen=True)
class Histogram:
    """Numbers in bins.

    Attributes:
        edges: Edges of the bins, ascending, [K + 1]. If all values are equal, K is 1 and both edges
            are this value.
        counts: Number of values in each bin, which includes its right edge, [K].
    """

    edges: np.ndarray
    counts: np.ndarray


# Texts with their counts (columns `value` and `count`), or numbers in bins.
Distribution = pl.DataFrame | Histogram


def distribution_of(values: pl.Series) -> Distribution:
    """Returns the distribution of a column with at least one value.

    Args:
        values: Texts or finite numbers.
    """
    if not values.dtype.is_numeric():
        return values.alias("value").value_counts()
    numbers = values.to_numpy().astype(float)
    low, high = numbers.min(), numbers.max()
    if low == high:
        return Histogram(np.array([low, high]), np.array([len(numbers)]))
    edges = np.linspace(low, high, _BINS + 1)
    bins = np.searchsorted(edges[1:-1], numbers, side="left")
    return Histogram(edges, np.bincount(bins, minlength=_BINS))


def load_distributions(path: str | Path) -> dict[str, Distribution]:
    """Reads the distributions of the columns from a file with the statistics of one log.

    Args:
        path: The file; `.pbtxt` for the text format of protocol buffers, otherwise binary.

    Returns:
        Name of a column -> its distribution.

    Raises:
        DataError: If the file does not hold the statistics of one log.
    """
    message = statistics_pb2.DatasetFeatureStatisticsList()
    statistics = read_message(path, message, "statistics", text=Path(path).suffix == ".pbtxt")
    if len(statistics.datasets) != 1:
        raise DataError(
            f"{path} must hold the statistics of one log, "
            f"but holds those of {len(statistics.datasets)}."
        )
    found = {}
    for feature in statistics.datasets[0].features:
        name = feature.path.step[0] if feature.path.step else feature.name
        distribution = _read_distribution(feature)
        if distribution is not None and not _is_sound(distribution):
            raise DataError(f"{path} does not hold the shares of the values of {name}.")
        if distribution is not None:
            found[name] = distribution
    return found


def _read_distribution(feature: statistics_pb2.FeatureNameStatistics) -> Distribution | None:
    texts = feature.string_stats.rank_histogram.buckets
    if texts:
        rows = [(bucket.label, bucket.sample_count) for bucket in texts]
        return pl.DataFrame(rows, {"value": pl.String, "count": pl.Float64}, orient="row")
    for histogram in feature.num_stats.histograms:
        if histogram.type == statistics_pb2.Histogram.STANDARD and histogram.buckets:
            edges = [histogram.buckets[0].low_value, *(one.high_value for one in histogram.buckets)]
            counts = [one.sample_count for one in histogram.buckets]
            return Histogram(np.array(edges), np.array(counts))
    return None


def _is_sound(distribution: Distribution) -> bool:
    if isinstance(distribution, Histogram):
        counts, widths = distribution.counts, np.diff(distribution.edges)
    else:
        counts, widths = distribution["count"].to_numpy(), np.array([])
    numbers = np.concatenate([counts, widths])
    return bool(np.isfinite(numbers).all() and (numbers >= 0).all() and counts.sum() > 0)


def l_infinity(earlier: pl.DataFrame, later: pl.DataFrame) -> tuple[float, str]:
    """Returns the largest change in the share of a text, and the text."""
    values, *shares = _shares(earlier, later)
    changes = np.abs(shares[0] - shares[1])
    largest = changes.max()
    return float(largest), values.filter(pl.Series(changes == largest)).min()


def jensen_shannon_divergence(earlier: Distribution, later: Distribution) -> float:
    """Returns the Jensen-Shannon divergence in bits, 0 to 1.

    Numbers are assumed to be evenly distributed over each bin, so the divergence of two logs with
    different extremes is approximate. A log with only one number is disjoint from any other.

    Args:
        earlier: Distribution of texts or numbers.
        later: Distribution of the same kind.
    """
    if not isinstance(earlier, Histogram):
        return jensen_shannon(*_shares(earlier, later)[1:])
    ends = [(one.edges[0], one.edges[-1]) for one in (earlier, later)]
    if any(low == high for low, high in ends):
        return 0.0 if ends[0] == ends[1] else 1.0
    edges = np.union1d(earlier.edges, later.edges)
    return jensen_shannon(*(_masses(one, edges) for one in (earlier, later)))


def _shares(earlier: pl.DataFrame, later: pl.DataFrame) -> tuple[pl.Series, np.ndarray, np.ndarray]:
    """Returns the texts of both distributions, and the share of each text in either."""
    both = earlier.join(later, on="value", how="full", coalesce=True, suffix="_later")
    counts = (both[name].fill_null(0).to_numpy() for name in ("count", "count_later"))
    return both["value"], *(one / one.sum() for one in counts)


def _masses(histogram: Histogram, edges: np.ndarray) -> np.ndarray:
    """Returns the counts between other edges, which include those of the histogram."""
    sums = np.concatenate([[0], np.cumsum(histogram.counts)])
    return np.diff(np.interp(edges, histogram.edges, sums))
