"""Checks the values of a column against its domain in a schema."""

from collections.abc import Iterator, Mapping

import polars as pl
from tensorflow_metadata.proto.v0 import schema_pb2

from tfrec_attn.errors import shown

_SHOWN = 10

# Kind of each anomaly, as in TensorFlow Data Validation, and the text of what was found.
Findings = Iterator[tuple[str, str]]


def check_domain(
    values: pl.Series, feature: schema_pb2.Feature, domains: Mapping[str, list[str]]
) -> Findings:
    """Yields the kind and the text of each anomaly of a column with respect to its domain.

    Args:
        values: The column, which has the type of the feature.
        feature: The feature.
        domains: Name of a string domain of the schema -> its values.
    """
    domain = feature.WhichOneof("domain_info")
    if domain == "int_domain" and values.dtype == pl.String:
        yield from _of_integer_texts(values.unique(), feature.int_domain)
    elif domain == "int_domain":
        yield from _of_range(values, feature.int_domain, "INT_TYPE_{}_INT")
    elif domain == "float_domain":
        yield from _of_numbers(values, feature.float_domain)
    elif domain == "bool_domain" and values.dtype == pl.String:
        yield from _of_boolean_texts(values, feature.bool_domain)
    elif domain == "bool_domain":
        yield from _of_range(values, schema_pb2.IntDomain(min=0, max=1), "BOOL_TYPE_{}_INT")
    elif domain is not None:
        named = domain == "domain"
        expected = domains[feature.domain] if named else list(feature.string_domain.value)
        constraints = feature.distribution_constraints
        least = constraints.min_domain_mass if constraints.HasField("min_domain_mass") else 1.0
        yield from _of_texts(values, expected, least)


def _of_range(
    values: pl.Series, domain: schema_pb2.IntDomain | schema_pb2.FloatDomain, kind: str
) -> Findings:
    if not len(values):
        return
    low, high = values.min(), values.max()
    if domain.HasField("min") and low < domain.min:
        expected = f"expected {_number(domain.min)} or more"
        yield kind.format("SMALL"), f"the smallest value is {_number(low)}, {expected}"
    if domain.HasField("max") and high > domain.max:
        expected = f"expected {_number(domain.max)} or less"
        yield kind.format("BIG"), f"the largest value is {_number(high)}, {expected}"


def _of_numbers(values: pl.Series, domain: schema_pb2.FloatDomain) -> Findings:
    if domain.disallow_nan and values.is_nan().any():
        yield "FLOAT_TYPE_HAS_NAN", "some values are NaN, expected numbers"
    # The bounds of a schema are float32.
    single = values.drop_nans().cast(pl.Float32)
    yield from _of_range(single, domain, "FLOAT_TYPE_{}_FLOAT")
    if domain.disallow_inf and single.is_infinite().any():
        yield "FLOAT_TYPE_HAS_INF", "some values are infinite, expected finite numbers"


def _of_integer_texts(values: pl.Series, domain: schema_pb2.IntDomain) -> Findings:
    is_integer = values.str.contains(r"^\s*[+-]?[0-9]+\s*$")
    digits = values.filter(is_integer).str.strip_chars().str.strip_prefix("+")
    numbers = digits.cast(pl.Int64, strict=False)
    wrong = [*values.filter(~is_integer).head(1), *digits.filter(numbers.is_null()).head(1)]
    if wrong:
        yield "INT_TYPE_NOT_INT_STRING", f"a value is {shown(wrong[0])}, expected an integer"
    else:
        yield from _of_range(numbers, domain, "INT_TYPE_{}_INT")


def _of_boolean_texts(values: pl.Series, domain: schema_pb2.BoolDomain) -> Findings:
    expected = [
        getattr(domain, name) for name in ("true_value", "false_value") if domain.HasField(name)
    ]
    wrong = values.filter(~values.is_in(expected)).head(1)
    if len(wrong):
        names = " or ".join(shown(one) for one in expected) or "no value"
        yield "BOOL_TYPE_UNEXPECTED_STRING", f"a value is {shown(wrong[0])}, expected {names}"


def _of_texts(values: pl.Series, expected: list[str], least: float) -> Findings:
    """Checks the share of events whose value is in a domain."""
    counts = values.alias("value").value_counts()
    wrong = counts.filter(~counts["value"].is_in(expected))
    share = wrong["count"].sum() / len(values)
    if wrong.height and (share > 1 - least or least == 1):
        most = wrong.sort("count", "value", descending=True).head(_SHOWN)
        texts = (f"{shown(value)} ({count / len(values):.2%})" for value, count in most.rows())
        more = f" and {wrong.height - _SHOWN} more" if wrong.height > _SHOWN else ""
        yield (
            "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
            f"its domain does not have {', '.join(texts)}{more}",
        )


def _number(value: int | float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"
