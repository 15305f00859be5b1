"""Finds the anomalies of a log: where the log does not fit its schema."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
from tensorflow_metadata.proto.v0 import schema_pb2

from tfrec_attn.data.quality.distributions import (
    Distribution,
    Histogram,
    distribution_of,
    jensen_shannon_divergence,
    l_infinity,
)
from tfrec_attn.data.quality.domain_check import Findings, check_domain
from tfrec_attn.errors import DataError, shown

_SHOWN = 10
_UNUSED = ("PLANNED", "ALPHA", "DEPRECATED", "DEBUG_ONLY", "DISABLED")

# A log, or the distributions in its statistics by column.
Reference = pl.DataFrame | Mapping[str, Distribution]


@dataclass(frozen=True)
class Anomaly:
    """A column that does not fit the schema.

    Attributes:
        feature: Name of the column.
        kind: Type of the anomaly in TensorFlow Data Validation, such as `UNEXPECTED_DATA_TYPE`.
        text: What was found and what was expected, without the name of the column.
    """

    feature: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.feature}: {self.text}"


def find_anomalies(
    frame: pl.DataFrame,
    schema: schema_pb2.Schema,
    *,
    previous: Reference | None = None,
    serving: Reference | None = None,
) -> list[Anomaly]:
    """Returns the anomalies of a log, sorted by the name of the feature.

    TensorFlow Data Validation finds the same anomalies, but checks only the 1000 most frequent
    texts of a column. This function checks all texts.

    Args:
        frame: The log, as `read_interactions` returns it; any of its columns can be missing.
        schema: The schema, as `load_schema` returns it.
        previous: An earlier log, or its distributions, for the drift comparators of the schema.
            None (default): these are not checked.
        serving: A request log, or its distributions, for the skew comparators. None (default):
            these are not checked.
    """
    features = {feature.name: feature for feature in schema.feature}
    domains = {domain.name: list(domain.value) for domain in schema.string_domain}
    found = []
    for name in sorted({*frame.columns, *features}):
        if name not in features:
            pairs = [("SCHEMA_NEW_COLUMN", "the schema has no such feature")]
        elif features[name].deprecated or (
            schema_pb2.LifecycleStage.Name(features[name].lifecycle_stage) in _UNUSED
        ):
            continue
        elif name in frame.columns:
            pairs = _of_column(frame[name], features[name], domains, previous, serving)
        else:
            presence = features[name].presence
            is_needed = presence.min_count > 0 or presence.min_fraction > 0
            pairs = [("SCHEMA_MISSING_COLUMN", "the log has no such column")] * is_needed
        found += [Anomaly(name, kind, text) for kind, text in pairs]
    return found


def refuse_anomalies(frame: pl.DataFrame, schema: schema_pb2.Schema, path: str) -> None:
    """Checks a log against a schema.

    Args:
        frame: The log.
        schema: The schema.
        path: File of the schema, for the message.

    Raises:
        DataError: If the log breaks the schema; the message names the anomalies.
    """
    anomalies = find_anomalies(frame, schema)
    if anomalies:
        texts = "; ".join(str(anomaly) for anomaly in anomalies[:_SHOWN])
        more = f"; and {len(anomalies) - _SHOWN} more" if len(anomalies) > _SHOWN else ""
        raise DataError(
            f"the log breaks data.schema={path} ({texts}{more}): correct the log or edit the "
            "schema."
        )


def _of_column(
    values: pl.Series,
    feature: schema_pb2.Feature,
    domains: Mapping[str, list[str]],
    previous: Reference | None,
    serving: Reference | None,
) -> Findings:
    yield from _of_counts(len(values), feature)
    numbers = "FLOAT" if values.dtype.is_float() else "BYTES"
    kind = "INT" if values.dtype.is_integer() else numbers
    expected = schema_pb2.FeatureType.Name(feature.type)
    if kind != expected:
        yield "UNEXPECTED_DATA_TYPE", f"the type is {kind}, expected {expected}"
    else:
        yield from check_domain(values, feature, domains)
    for comparator, other, name in (
        (feature.drift_comparator, previous, "earlier log"),
        (feature.skew_comparator, serving, "request log"),
    ):
        if other is not None:
            yield from _of_distances(values, other, comparator, name)


def _of_counts(events: int, feature: schema_pb2.Feature) -> Findings:
    """Checks how many events have the feature; each of them has one value."""
    least, most = feature.value_count.min, feature.value_count.max
    if least > 1:
        yield "FEATURE_TYPE_LOW_NUMBER_VALUES", f"events have 1 value, expected at least {least}"
    if feature.value_count.HasField("max") and most < 1:
        yield "FEATURE_TYPE_HIGH_NUMBER_VALUES", f"events have 1 value, expected at most {most}"
    size = math.prod(dim.size for dim in feature.shape.dim)
    if feature.HasField("shape") and size != 1:
        yield "INVALID_FEATURE_SHAPE", f"events have 1 value, expected {size} as the shape says"
    least, share = feature.presence.min_count, feature.presence.min_fraction
    if events < least:
        expected = f"expected at least {least:,}"
        yield "FEATURE_TYPE_LOW_NUMBER_PRESENT", f"{events:,} events have it, {expected}"
    if share > 1:
        expected = f"expected min_fraction={share:.6g} of them"
        yield "INVALID_SCHEMA_SPECIFICATION", f"all events have it, {expected}"


def _of_distances(
    values: pl.Series,
    reference: Reference,
    comparator: schema_pb2.FeatureComparator,
    name: str,
) -> Findings:
    norm, divergence = comparator.infinity_norm, comparator.jensen_shannon_divergence
    if not norm.HasField("threshold") and not divergence.HasField("threshold"):
        return
    own, other = distribution_of(values), _distribution_in(reference, values.name)
    if other is None or isinstance(own, Histogram) != isinstance(other, Histogram):
        yield "COMPARATOR_CONTROL_DATA_MISSING", f"the {name} has no values to compare with"
        return
    if norm.HasField("threshold") and not isinstance(own, Histogram):
        distance, value = l_infinity(other, own)
        if distance > norm.threshold:
            yield (
                "COMPARATOR_L_INFTY_HIGH",
                f"the share of {shown(value)} differs by {distance:.6g} from the {name}, expected "
                f"{norm.threshold:.6g} or less (L-infinity)",
            )
    if divergence.HasField("threshold"):
        distance = jensen_shannon_divergence(other, own)
        if distance > divergence.threshold:
            yield (
                "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
                f"the Jensen-Shannon divergence from the {name} is {distance:.6g}, expected "
                f"{divergence.threshold:.6g} or less (bits)",
            )


def _distribution_in(reference: Reference, name: str) -> Distribution | None:
    if not isinstance(reference, pl.DataFrame):
        return reference.get(name)
    is_there = name in reference.columns and reference.height > 0
    return distribution_of(reference[name]) if is_there else None
