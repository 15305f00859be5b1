"""Parses the cells of a column as times: numbers, or dates in seconds since 1970."""

from typing import NamedTuple

import polars as pl

_ISO = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?$"


_ISO_LAYOUTS = (
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M%z",
    "%Y-%m-%dT%H:%M:%S%.f%z",
)


class Parsed(NamedTuple):
    """The cells of a column as times.

    Attributes:
        numbers: Int64, or Float64 if some have fractions; null where a cell is not a number.
        dates: Seconds since 1970, Int64, or Float64 if some have fractions; null where a cell is
            not a date. None (default): no cell is a date.
        whole: The numbers and dates without a fraction, Int64. None (default): no time has a
            fraction.
    """

    numbers: pl.Series
    dates: pl.Series | None = None
    whole: pl.Series | None = None

    def narrow(self, times: pl.Series, stays: pl.Series) -> pl.Series:
        """Returns the times where `stays` is True, as Int64 if none of these has a fraction."""
        times = times.filter(stays)
        whole = None if self.whole is None else self.whole.filter(stays)
        return times if whole is None or whole.null_count() else whole


def parse(raw: pl.Series) -> Parsed:
    """Parses the cells of a column as numbers and as ISO 8601 dates.

    Dates are UTC unless they have an offset.
    """
    if raw.dtype.is_integer():
        return Parsed(raw.cast(pl.Int64, strict=False))
    if raw.dtype.is_numeric():
        return Parsed(finite(raw.cast(pl.Float64)))
    if raw.dtype.is_temporal():
        dates = raw.cast(pl.Datetime("us")).dt.epoch("us")
        return _together(pl.repeat(None, len(raw), dtype=pl.Int64, eager=True), None, dates)
    integers = raw.cast(pl.Int64, strict=False)
    if not integers.null_count():
        return Parsed(integers)
    numbers = finite(raw.cast(pl.Float64, strict=False))
    has_fractions = numbers.null_count() < integers.null_count()
    micros = _from_iso(raw) if numbers.null_count() else None
    return _together(integers, numbers if has_fractions else None, micros)


def _together(integers: pl.Series, numbers: pl.Series | None, micros: pl.Series | None) -> Parsed:
    """Combines integers, all numbers (None if no number has a fraction) and dates (or None)."""
    dates, whole = None, integers
    if micros is not None:
        dates, is_whole = micros // 1_000_000, micros % 1_000_000 == 0
        whole = pl.select(pl.coalesce(integers, pl.when(is_whole).then(dates))).to_series()
        if not is_whole.all():
            return Parsed(integers if numbers is None else numbers, micros / 1e6, whole)
    return Parsed(integers, dates) if numbers is None else Parsed(numbers, dates, whole)


def finite(numbers: pl.Series) -> pl.Series:
    """Replaces numbers that are not finite by null."""
    return pl.select(pl.when(numbers.is_finite()).then(numbers)).to_series()


def _from_iso(raw: pl.Series) -> pl.Series:
    iso = pl.when(raw.str.contains(_ISO)).then(
        raw.str.replace(" ", "T", literal=True).str.replace("Z", "+0000", literal=True)
    )
    text = pl.select(iso).to_series()
    tries = (text.str.to_datetime(layout, time_unit="us", strict=False) for layout in _ISO_LAYOUTS)
    return (
        pl.select(pl.coalesce(*(one.dt.replace_time_zone(None) for one in tries)))
        .to_series()
        .dt.epoch("us")
    )
