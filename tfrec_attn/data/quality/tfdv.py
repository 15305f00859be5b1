"""Statistics of a log and an inferred schema, by TensorFlow Data Validation.

This module imports TensorFlow Data Validation only when it is needed. The features are `user_id`
and `item_id` (bytes), `timestamp`, and `rating` and `event` if the log was read with them.
"""

import contextlib
import importlib
import importlib.util
import io
import warnings
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.runtime.process import import_tensorflow

HOW_TO_GET_IT = (
    "TensorFlow Data Validation is not installed here: install the extra validation, or run "
    "make validate-env, which sets up .venv-validation"
)
_NAME = "tensorflow_data_validation"
_IDS = ("user_id", "item_id")
_BATCH = 1_000_000

# Thresholds of an inferred schema: the largest change in the share of an id or an event type, and
# the Jensen-Shannon divergence of ratings in bits.
_SHARE_OF_AN_ID = 0.01
_SHARE_OF_A_TYPE = 0.05
_BITS_OF_RATINGS = 0.05


def is_installed() -> bool:
    """Returns whether TensorFlow Data Validation can be imported."""
    return importlib.util.find_spec(_NAME) is not None


def compute_statistics(frame: pl.DataFrame):
    """Returns the statistics of a log, a DatasetFeatureStatisticsList.

    All events count. Only the numbers of distinct ids and the frequencies of rare ids are
    approximate, because TensorFlow Data Validation uses sketches for them.

    Args:
        frame: The log, as `read_interactions` returns it; any of its columns can be missing.
    """
    tfdv = _module()
    implementation = importlib.import_module(f"{_NAME}.statistics.stats_impl")
    generators = implementation.get_generators(tfdv.StatsOptions(), in_memory=True)
    accumulators = [generator.create_accumulator() for generator in generators]
    for start in range(0, frame.height, _BATCH):
        batch = _record_batch(frame.slice(start, _BATCH))
        pairs = zip(generators, accumulators, strict=True)
        accumulators = [one.add_input(sums, batch) for one, sums in pairs]
    return implementation.extract_statistics_output(accumulators, generators)


def infer_schema(statistics):
    """Infers a schema from statistics, for a person to edit.

    - Ids have no fixed domain, because new ids appear every day.
    - Times must not be below 0, or below the earliest time if that is negative.
    - Ratings must stay in their range.
    - Drift from an earlier log: the L-infinity norm (largest change in the share of a value) is at
      most 0.01 for items and 0.05 for event types. The Jensen-Shannon divergence of ratings is at
      most 0.05 bits.
    - Skew to a request log: the L-infinity norm of the items is at most 0.01.
    """
    schema = _module().infer_schema(statistics, infer_feature_shape=True)
    for domain in [one for one in schema.string_domain if one.name in _IDS]:
        schema.string_domain.remove(domain)
    integer = importlib.import_module("tensorflow_metadata.proto.v0.schema_pb2").INT
    numbers = {one.path.step[0]: one.num_stats for one in statistics.datasets[0].features}
    for feature in schema.feature:
        name = feature.name
        if name in _IDS:
            feature.ClearField("domain")
        if name == "timestamp":
            least = min(0, numbers[name].min)  # dates can be before 1970
            if feature.type == integer:
                feature.int_domain.min = int(least)
            else:
                feature.float_domain.min = least
        if name == "rating":
            feature.float_domain.min = numbers[name].min
            feature.float_domain.max = numbers[name].max
            feature.drift_comparator.jensen_shannon_divergence.threshold = _BITS_OF_RATINGS
        if name == "event":
            feature.drift_comparator.infinity_norm.threshold = _SHARE_OF_A_TYPE
        if name == "item_id":
            feature.drift_comparator.infinity_norm.threshold = _SHARE_OF_AN_ID
            feature.skew_comparator.infinity_norm.threshold = _SHARE_OF_AN_ID
    return schema


def save_schema(schema, path: str | Path) -> None:
    """Writes a schema in the text format of protocol buffers."""
    _module().write_schema_text(schema, str(path))


def _module():
    """Imports TensorFlow Data Validation, and hides what it and Beam print."""
    import_tensorflow()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        return importlib.import_module(_NAME)


def _record_batch(frame: pl.DataFrame):
    """Returns the rows as TensorFlow examples in Arrow, where each value is a list of one."""
    arrow = importlib.import_module("pyarrow")
    columns = []
    for series in frame.iter_columns():
        values = series.cast(pl.Binary) if series.dtype == pl.String else series
        array = values.rechunk().to_arrow()
        offsets = arrow.array(np.arange(len(array) + 1, dtype=np.int64))
        columns.append(arrow.LargeListArray.from_arrays(offsets, array))
    return arrow.RecordBatch.from_arrays(columns, frame.columns)
