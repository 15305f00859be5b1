"""Checks columns of user ids, item ids, timestamps, ratings and event types."""

import polars as pl

from tfrec_attn.data.reading.rejections import Rejection
from tfrec_attn.data.reading.time_parsing import finite, parse
from tfrec_attn.data.reading.time_rule import FileTimes, TimeRule
from tfrec_attn.errors import shown

_BLANK_ID = r"^\s*$"
_BROKEN_ID = r"[\n\r\t\x{feff}]"  # vocabularies are text with one id per line


def check(
    raw: pl.DataFrame, lines: pl.Series, rule: TimeRule | None = None
) -> tuple[pl.DataFrame, list[Rejection], FileTimes]:
    """Converts the columns of a log and removes the invalid rows.

    Args:
        raw: The columns as in the file: `user_id` and `item_id`, `timestamp` unless the log has no
            times, and `rating` and `event` if they are read.
        lines: Line number of each row.
        rule: Which numbers or dates are times. None (default): the rule of these rows.

    Returns:
        The valid rows in order (ids and event String, timestamp Int64 or Float64, rating Float64),
        the rejections without their text, and the kinds of times of all rows.
    """
    names = [name for name in ("user_id", "item_id", "event") if name in raw.columns]
    typed = raw.with_columns(pl.col(names).cast(pl.String))
    wrong = {name: is_bad_id(typed[name]) for name in names}
    times, parsed = FileTimes(), None
    if "timestamp" in raw.columns:
        parsed = parse(raw["timestamp"])
        times = FileTimes.of(parsed)
        rule = times.rule() if rule is None else rule
        typed = typed.with_columns(timestamp=rule.times(parsed))
        wrong["timestamp"] = typed["timestamp"].is_null()
    if "rating" in raw.columns:
        typed = typed.with_columns(rating=finite(raw["rating"].cast(pl.Float64, strict=False)))
        wrong["rating"] = typed["rating"].is_null()
    bad = pl.select(pl.any_horizontal(*wrong.values())).to_series()
    if not bad.any():
        return typed, [], times
    flags, rows = pl.DataFrame(wrong).filter(bad), raw.filter(bad)
    why = rule.reasons(rows["timestamp"]) if "timestamp" in wrong else [""] * rows.height
    rejections = []
    columns = lines.filter(bad), rows.iter_rows(named=True), flags.iter_rows(named=True), why
    for line, row, flag, time in zip(*columns, strict=True):
        name = next(name for name in flag if flag[name])
        reason = time if name == "timestamp" else _reason(name, row[name])
        rejections.append(Rejection(line, reason))
    kept = typed.filter(~bad)
    if parsed:
        kept = kept.with_columns(timestamp=parsed.narrow(typed["timestamp"], ~bad))
    return kept, rejections, times


def is_bad_id(ids: pl.Series) -> pl.Series:
    """Returns which ids are missing, blank, or hold a line break, a tab or a byte-order mark."""
    return ids.is_null() | ids.str.contains(f"{_BLANK_ID}|{_BROKEN_ID}").fill_null(True)


def _reason(name: str, value: object) -> str:
    text = str(value) if value is not None else ""
    article = "a" if name in ("user_id", "rating") else "an"
    if not text.strip():
        return f"expected {article} {name}, got an empty one"
    if name == "rating":
        return f"expected the rating as a number, got {shown(text)}"
    expected = f"{article} {name} without line breaks, tabs and byte-order marks"
    return f"expected {expected}, got {shown(text)}"
