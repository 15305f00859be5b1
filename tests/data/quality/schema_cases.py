"""Logs that break a schema, and the anomalies that are expected; TensorFlow Data Validation finds
the same, which test_tfdv.py shows where it is installed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from tfrec_attn.data.reading.synthetic import synthetic

# What TensorFlow Data Validation infers from `rated_log`.
SCHEMA = Path(__file__).with_name("inferred_schema.pbtxt")


def rated_log():
    """A log with all columns: ratings 1 to 5 in turn, and every fourth event is `buy`."""
    log = synthetic(3_000)
    rows = np.arange(log.height)
    return log.with_columns(
        rating=pl.Series(1.0 + rows % 5), event=pl.Series(np.where(rows % 4, "view", "buy"))
    )


class Case(NamedTuple):
    """A change of the log or of its schema, and (feature, kind, text) of each anomaly.

    Attributes:
        edit: Changes the features of the schema, given by name.
        previous: Makes the earlier log from the first.
        serving: Makes the request log from the first.
    """

    expected: list[tuple[str, str, str]]
    change: Callable = lambda log: log
    edit: Callable = lambda schema: None
    previous: Callable | None = None
    serving: Callable | None = None


def feature(schema, name):
    return next(one for one in schema.feature if one.name == name)


def with_columns(**columns):
    return lambda log: log.with_columns(**columns)


def same(log):
    return log


def edited(name, **fields):
    """A change of one feature: values of its fields, or nested dictionaries of these."""

    def fill(message, values):
        for field, value in values.items():
            if isinstance(value, dict):
                getattr(message, field).SetInParent()
                fill(getattr(message, field), value)
            elif isinstance(value, list):
                getattr(message, field).extend(value)
            else:
                setattr(message, field, value)

    return lambda schema: fill(feature(schema, name), fields)


def shape_of_two(schema):
    feature(schema, "rating").shape.dim[0].size = 2


TENTH_I7 = with_columns(
    item_id=pl.when(pl.int_range(pl.len()) % 10 == 0).then(pl.lit("i7")).otherwise("item_id")
)
# The share of buy becomes 1/2 instead of 1/4.
HALF_BUY = with_columns(
    event=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("buy")).otherwise(pl.lit("view"))
)
TENTH_CART = with_columns(
    event=pl.when(pl.int_range(pl.len()) % 10 == 0).then(pl.lit("cart")).otherwise(pl.lit("view"))
)
# 1 and 2 only, but for one rating of 5: about the shares 1/2, 1/2 instead of five times 1/5.
LOW_RATINGS = with_columns(
    rating=pl.when(pl.int_range(pl.len()) == 0)
    .then(5.0)
    .otherwise(1.0 + pl.int_range(pl.len()) % 2)
)
NUMBERED = with_columns(item_id=pl.col("item_id").str.strip_prefix("i"))
# 1200 event types; a few are frequent.
MANY_TYPES = with_columns(
    event=pl.when(pl.int_range(pl.len()) % 2 == 0)
    .then(pl.lit("view"))
    .otherwise(pl.format("e{}", pl.int_range(pl.len()) % 2400))
)

CASES = {
    "the log itself": Case([], previous=same, serving=same),
    "a missing column": Case(
        [("rating", "SCHEMA_MISSING_COLUMN", "the log has no such column")],
        lambda log: log.drop("rating"),
    ),
    "a missing column that is not required": Case(
        [],
        lambda log: log.drop("rating"),
        edited("rating", presence={"min_fraction": 0.0, "min_count": 0}),
    ),
    "a new column": Case(
        [("more", "SCHEMA_NEW_COLUMN", "the schema has no such feature")],
        with_columns(more=pl.lit("x")),
    ),
    "a deprecated feature": Case(
        [], with_columns(rating=pl.lit(9.0)), edited("rating", lifecycle_stage=5)
    ),
    "another type": Case(
        [("timestamp", "UNEXPECTED_DATA_TYPE", "the type is FLOAT, expected INT")],
        with_columns(timestamp=pl.col("timestamp") + 0.5),
    ),
    "too few events": Case(
        [
            (
                "event",
                "FEATURE_TYPE_LOW_NUMBER_PRESENT",
                "3,000 events have it, expected at least 5,000",
            )
        ],
        lambda log: log.head(3_000),
        edited("event", presence={"min_count": 5_000}),
    ),
    "a share of more than all": Case(
        [
            (
                "event",
                "INVALID_SCHEMA_SPECIFICATION",
                "all events have it, expected min_fraction=1.5 of them",
            )
        ],
        edit=edited("event", presence={"min_fraction": 1.5}),
    ),
    "another shape": Case(
        [
            (
                "rating",
                "INVALID_FEATURE_SHAPE",
                "events have 1 value, expected 2 as the shape says",
            )
        ],
        edit=shape_of_two,
    ),
    "too few values": Case(
        [
            (
                "rating",
                "FEATURE_TYPE_LOW_NUMBER_VALUES",
                "events have 1 value, expected at least 2",
            )
        ],
        edit=edited("rating", value_count={"min": 2}),
    ),
    "too many values": Case(
        [
            (
                "rating",
                "FEATURE_TYPE_HIGH_NUMBER_VALUES",
                "events have 1 value, expected at most 0",
            )
        ],
        edit=edited("rating", value_count={"max": 0}),
    ),
    "times before 1970": Case(
        [("timestamp", "INT_TYPE_SMALL_INT", "the smallest value is -7, expected 0 or more")],
        with_columns(timestamp=pl.col("timestamp").clip(upper_bound=0) - 7),
    ),
    "times after a bound": Case(
        [
            (
                "timestamp",
                "INT_TYPE_BIG_INT",
                "the largest value is 1500000001, expected 1500000000 or less",
            )
        ],
        with_columns(timestamp=pl.lit(1_500_000_001)),
        edited("timestamp", int_domain={"max": 1_500_000_000}),
    ),
    "low and high ratings": Case(
        [
            ("rating", "FLOAT_TYPE_SMALL_FLOAT", "the smallest value is 0.5, expected 1 or more"),
            ("rating", "FLOAT_TYPE_BIG_FLOAT", "the largest value is 5.5, expected 5 or less"),
        ],
        with_columns(rating=pl.col("rating") * 1.25 - 0.75),
    ),
    "a bound that has no exact number": Case(
        [], with_columns(rating=pl.lit(4.7)), edited("rating", float_domain={"max": 4.7})
    ),
    "unexpected texts": Case(
        [
            (
                "event",
                "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
                "its domain does not have 'cart' (10.00%)",
            )
        ],
        lambda log: TENTH_CART(log.head(3_000)),
    ),
    "as many unexpected texts as are allowed": Case(
        [],
        lambda log: TENTH_CART(log.head(3_000)),
        edited("event", distribution_constraints={"min_domain_mass": 0.85}),
    ),
    "more unexpected texts than are allowed": Case(
        [
            (
                "event",
                "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
                "its domain does not have 'cart' (10.00%)",
            )
        ],
        lambda log: TENTH_CART(log.head(3_000)),
        edited("event", distribution_constraints={"min_domain_mass": 0.95}),
    ),
    "a domain in the feature": Case(
        [
            (
                "event",
                "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
                "its domain does not have 'view' (75.00%)",
            )
        ],
        lambda log: log.head(3_000),
        edited("event", string_domain={"value": ["buy"]}),
    ),
    "ids that are integers": Case(
        [], lambda log: NUMBERED(log), edited("item_id", int_domain={"min": 0})
    ),
    "ids that are no integers": Case(
        [("item_id", "INT_TYPE_NOT_INT_STRING", "a value is '1.5', expected an integer")],
        with_columns(item_id=pl.lit("1.5")),
        edited("item_id", int_domain={}),
    ),
    "integers that are too large": Case(
        [
            (
                "item_id",
                "INT_TYPE_NOT_INT_STRING",
                "a value is '9223372036854775808', expected an integer",
            )
        ],
        with_columns(item_id=pl.lit("9223372036854775808")),
        edited("item_id", int_domain={}),
    ),
    "integers in several notations": Case(
        [("item_id", "INT_TYPE_SMALL_INT", "the smallest value is -2, expected 7 or more")],
        with_columns(
            item_id=pl.when(pl.int_range(pl.len()) < 9)
            .then(pl.lit("-2"))
            .otherwise(pl.lit(" +07 "))
        ),
        edited("item_id", int_domain={"min": 7}),
    ),
    "texts that are not Boolean": Case(
        [("event", "BOOL_TYPE_UNEXPECTED_STRING", "a value is 'view', expected 'buy' or 'no'")],
        edit=edited("event", bool_domain={"true_value": "buy", "false_value": "no"}),
    ),
    "numbers that are not Boolean": Case(
        [("timestamp", "BOOL_TYPE_BIG_INT", "the largest value is 2, expected 1 or less")],
        with_columns(timestamp=pl.int_range(pl.len()) % 3),
        edited("timestamp", bool_domain={}),
    ),
    "drift of items": Case(
        [
            (
                "item_id",
                "COMPARATOR_L_INFTY_HIGH",
                "the share of 'i7' differs by 0.100161 from the earlier log, expected 0.01 or less "
                "(L-infinity)",
            )
        ],
        TENTH_I7,
        previous=same,
    ),
    "drift of event types": Case(
        [
            (
                "event",
                "COMPARATOR_L_INFTY_HIGH",
                "the share of 'buy' differs by 0.25 from the earlier log, expected 0.05 or less "
                "(L-infinity)",
            )
        ],
        lambda log: HALF_BUY(log.head(3_000)),
        previous=lambda log: log.head(3_000),
    ),
    "drift among many texts": Case(
        [
            (
                "event",
                "COMPARATOR_L_INFTY_HIGH",
                "the share of 'view' differs by 0.5 from the earlier log, expected 0.05 or "
                "less (L-infinity)",
            )
        ],
        lambda log: MANY_TYPES(log.head(2_400)),
        edited("event", distribution_constraints={"min_domain_mass": 0.0}),
        previous=with_columns(event=pl.lit("view")),
    ),
    "drift of ratings": Case(
        [
            (
                "rating",
                "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
                "the Jensen-Shannon divergence from the earlier log is 0.394167, expected "
                "0.05 or less (bits)",
            )
        ],
        LOW_RATINGS,
        previous=same,
    ),
    "drift to a single rating": Case(
        [
            (
                "rating",
                "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
                "the Jensen-Shannon divergence from the earlier log is 1, expected 0.05 or less "
                "(bits)",
            )
        ],
        with_columns(rating=pl.lit(3.0)),
        previous=same,
    ),
    "drift of texts by their divergence": Case(
        [
            (
                "item_id",
                "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
                "the Jensen-Shannon divergence from the earlier log is 1, expected 0.5 or less "
                "(bits)",
            ),
        ],
        with_columns(item_id=pl.lit("new")),
        edited(
            "item_id",
            drift_comparator={
                "infinity_norm": {"threshold": 1.0},
                "jensen_shannon_divergence": {"threshold": 0.5},
            },
        ),
        previous=same,
    ),
    "skew of items": Case(
        [
            (
                "item_id",
                "COMPARATOR_L_INFTY_HIGH",
                "the share of 'i7' differs by 0.100161 from the request log, expected 0.01 or less "
                "(L-infinity)",
            )
        ],
        serving=lambda log: TENTH_I7(log).select("user_id", "item_id"),
    ),
    "an earlier log without a column": Case(
        [
            (
                "event",
                "COMPARATOR_CONTROL_DATA_MISSING",
                "the earlier log has no values to compare with",
            )
        ],
        previous=lambda log: log.drop("event"),
    ),
    "several anomalies": Case(
        [
            ("event", "SCHEMA_MISSING_COLUMN", "the log has no such column"),
            ("rating", "FLOAT_TYPE_BIG_FLOAT", "the largest value is 10, expected 5 or less"),
        ],
        lambda log: log.drop("event").with_columns(rating=2 * pl.col("rating")),
    ),
}
