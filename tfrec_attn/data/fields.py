"""What a valid user id, item id and timestamp is, checked over whole columns."""

from typing import NamedTuple

import polars as pl

_BLANK_ID = r"^ *$"
_BROKEN_ID = r"[\n\r\t\x{feff}]"  # vocabularies are text with one id per line
_ISO = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?$"
_ISO_LAYOUTS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H:%M:%S%.f%z")
_SHOWN = 60


class Rejection(NamedTuple):
    """A line that is no interaction: its 1-based number, why, and its text."""

    line: int
    reason: str
    text: str = ""


def check(raw: pl.DataFrame, lines: pl.Series) -> tuple[pl.DataFrame, list[Rejection]]:
    """Types the columns of a log and takes out the rows that are no interaction.

    Args:
        raw: Columns `user_id`, `item_id`, unless the log has no times `timestamp`, and where asked for `rating` and `event`, as they stand
            in the file.
        lines: Line number of each row.

    Returns:
        The good rows in order (ids and event String, timestamp Int64 or Float64, rating Float64), and the others without their text.
    """
    names = [name for name in ("user_id", "item_id", "event") if name in raw.columns]
    typed = raw.with_columns(pl.col(names).cast(pl.String))
    wrong = {name: is_bad_id(typed[name]) for name in names}
    if "timestamp" in raw.columns:
        typed = typed.with_columns(timestamp=to_seconds(raw["timestamp"]))
        wrong["timestamp"] = typed["timestamp"].is_null()
    if "rating" in raw.columns:
        typed = typed.with_columns(rating=_finite(raw["rating"].cast(pl.Float64, strict=False)))
        wrong["rating"] = typed["rating"].is_null()
    bad = pl.select(pl.any_horizontal(*wrong.values())).to_series()
    if not bad.any():
        return typed, []
    flags = pl.DataFrame(wrong).filter(bad)
    rejections = []
    for line, row, flag in zip(lines.filter(bad), raw.filter(bad).iter_rows(named=True), flags.iter_rows(named=True), strict=True):
        name = next(name for name in flag if flag[name])
        rejections.append(Rejection(line, _reason(name, row[name])))
    return typed.filter(~bad), rejections


def is_bad_id(ids: pl.Series) -> pl.Series:
    """Tells which ids are missing, blank, or hold a line break, a tab or a byte-order mark."""
    return ids.is_null() | ids.str.contains(f"{_BLANK_ID}|{_BROKEN_ID}").fill_null(True)


def to_seconds(raw: pl.Series) -> pl.Series:
    """Returns timestamps as Int64, or Float64 where some have fractions; null marks what is not one.

    Numbers are taken as they are, dates become seconds since 1970 (UTC unless they carry an offset). Where text holds both
    numbers and dates, the rarer kind is null.
    """
    if raw.dtype.is_integer():
        return raw.cast(pl.Int64, strict=False)
    if raw.dtype.is_numeric():
        return _finite(raw.cast(pl.Float64))
    if raw.dtype.is_temporal():
        return _from_datetime(raw.cast(pl.Datetime("us")))
    integers = raw.cast(pl.Int64, strict=False)
    if not integers.null_count():
        return integers
    numbers = _finite(raw.cast(pl.Float64, strict=False))
    dates = _from_iso(raw) if numbers.null_count() else numbers
    if dates.null_count() < numbers.null_count():
        return dates
    return integers if integers.null_count() == numbers.null_count() else numbers


def _finite(numbers: pl.Series) -> pl.Series:
    return pl.select(pl.when(numbers.is_finite()).then(numbers)).to_series()


def _from_iso(raw: pl.Series) -> pl.Series:
    iso = pl.when(raw.str.contains(_ISO)).then(raw.str.replace(" ", "T", literal=True).str.replace("Z", "+0000", literal=True))
    text = pl.select(iso).to_series()
    tries = (text.str.to_datetime(layout, time_unit="us", strict=False) for layout in _ISO_LAYOUTS)
    return _from_datetime(pl.select(pl.coalesce(*(one.dt.replace_time_zone(None) for one in tries))).to_series())


def _from_datetime(times: pl.Series) -> pl.Series:
    micros = times.dt.epoch("us")
    return micros / 1e6 if (micros % 1_000_000 != 0).any() else micros // 1_000_000


def _reason(name: str, value: object) -> str:
    text = str(value) if value is not None else ""
    shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
    article = "a" if name in ("user_id", "timestamp", "rating") else "an"
    if not text.strip(" "):
        return f"expected {article} {name}, got an empty one"
    if name == "timestamp":
        return f"expected the timestamp as a number or an ISO 8601 date, got {shown}"
    if name == "rating":
        return f"expected the rating as a number, got {shown}"
    return f"expected {article} {name} without line breaks, tabs and byte-order marks, got {shown}"
