"""Reads the schema of a log, and refuses a schema with fields that cannot be checked."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import Message
from tensorflow_metadata.proto.v0 import schema_pb2

from tfrec_attn.data.quality.message_file import read_message
from tfrec_attn.errors import DataError, shown

# Message -> the fields that `find_anomalies` checks.
_CHECKED = {
    "Schema": ("feature", "string_domain"),
    "Feature": (
        "type",
        "deprecated",
        "lifecycle_stage",
        "presence",
        "shape",
        "value_count",
        "domain",
        "string_domain",
        "int_domain",
        "float_domain",
        "bool_domain",
        "distribution_constraints",
        "drift_comparator",
        "skew_comparator",
    ),
    "FeaturePresence": ("min_fraction", "min_count"),
    "FixedShape": ("dim",),
    "Dim": ("size",),
    "ValueCount": ("min", "max"),
    "StringDomain": ("value",),
    "IntDomain": ("min", "max"),
    "FloatDomain": ("min", "max", "disallow_nan", "disallow_inf"),
    "BoolDomain": ("true_value", "false_value"),
    "DistributionConstraints": ("min_domain_mass",),
    "FeatureComparator": ("infinity_norm", "jensen_shannon_divergence"),
    "InfinityNorm": ("threshold",),
    "JensenShannonDivergence": ("threshold",),
}
# Fields that demand nothing of a log. Environments are not used.
_NOTES = (
    "name",
    "annotation",
    "is_categorical",
    "default_environment",
    "in_environment",
    "not_in_environment",
)
_DOMAINS = {
    "BYTES": ("domain", "string_domain", "int_domain", "bool_domain"),
    "INT": ("int_domain", "bool_domain"),
    "FLOAT": ("float_domain",),
}


def load_schema(path: str | Path) -> schema_pb2.Schema:
    """Reads a schema in the text format of protocol buffers.

    Raises:
        DataError: If the file cannot be read, does not hold a schema, contradicts itself, or has
            fields that cannot be checked. The message names these fields.
    """
    schema = read_message(path, schema_pb2.Schema(), "a schema", text=True)
    for kind, ones in (("feature", schema.feature), ("string_domain", schema.string_domain)):
        name, count = Counter(one.name for one in ones).most_common(1)[0] if ones else ("", 1)
        if count > 1:
            raise DataError(f"{path} has {count} times a {kind} with the name {shown(name)}.")
    domains = {domain.name for domain in schema.string_domain}
    for feature in schema.feature:
        if feature.HasField("domain") and feature.domain not in domains:
            raise DataError(
                f"{path}, feature {shown(feature.name)}: expected the name of a string_domain as "
                f"domain, got {shown(feature.domain)}."
            )
    unchecked = [*_unchecked_fields(schema), *_unchecked_by_type(schema)]
    if unchecked:
        raise DataError(
            f"{path} demands what cannot be checked ({', '.join(unchecked)}): remove these fields "
            "from the schema."
        )
    return schema


def _unchecked_fields(message: Message, parents: tuple[str, ...] = ()) -> Iterator[str]:
    """Yields the fields that are not in `_CHECKED`, such as `user_id.unique_constraints`."""
    for field, value in message.ListFields():
        if field.name in _NOTES:
            continue
        if field.name not in _CHECKED[message.DESCRIPTOR.name]:
            yield ".".join((*parents, field.name))
        elif field.message_type is not None:
            for one in [value] if isinstance(value, Message) else value:
                own = one.name if field.name == "feature" else field.name
                yield from _unchecked_fields(one, (*parents, own))


def _unchecked_by_type(schema: schema_pb2.Schema) -> Iterator[str]:
    """Yields the fields that are in `_CHECKED`, but not for the type of their feature."""
    for feature in schema.feature:
        kind = schema_pb2.FeatureType.Name(feature.type)
        domain = feature.WhichOneof("domain_info")
        if kind not in _DOMAINS:
            yield f"{feature.name}.type={kind}"
            continue
        if domain in _CHECKED["Feature"] and domain not in _DOMAINS[kind]:
            yield f"{feature.name}.{domain} of type {kind}"
        if feature.HasField("distribution_constraints") and domain not in (
            "domain",
            "string_domain",
        ):
            yield f"{feature.name}.distribution_constraints without a string_domain"
        for name in ("drift_comparator", "skew_comparator"):
            if kind != "BYTES" and getattr(feature, name).HasField("infinity_norm"):
                yield f"{feature.name}.{name}.infinity_norm of type {kind}"
