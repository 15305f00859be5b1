"""Reads the columns of a text log with polars, or line by line if polars cannot read it exactly."""

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl

from tfrec_attn.data.reading.fields import check
from tfrec_attn.data.reading.rejections import Rejection
from tfrec_attn.data.reading.text_formats import SEPARATORS, Record, TextFormat, records
from tfrec_attn.data.reading.text_slices import Part, cut, end_of_lines
from tfrec_attn.data.reading.time_rule import FileTimes, TimeRule
from tfrec_attn.errors import DataError

_CHUNK = 100_000
_WIDEST = 1_000  # columns; wider logs are read line by line
_MOST_BAD = 1_000_000
_BOM = codecs.BOM_UTF8.decode()

Checked = tuple[pl.DataFrame, list[Rejection], FileTimes]


@dataclass(frozen=True)
class TextSource:
    """A text log whose columns are known.

    Attributes:
        path: The file, plain or compressed.
        text_format: Format of the file.
        names: Name of every column.
        positions: Name in the result -> position of the column, for each column to read.
        header: Number of the last line of the header; 0 if there is none.
    """

    path: Path
    text_format: TextFormat
    names: Sequence[str]
    positions: Mapping[str, int]
    header: int

    def slices(self, skip: bool, rule: TimeRule, size: int) -> Iterator[Checked]:
        """Yields the result of `check` for each part of the log.

        Args:
            skip: Whether to find all rejected lines, or only the first.
            rule: As for `check`.
            size: Approximate size of a part in bytes.
        """
        good = bad = 0
        for part in cut(self.path, self.text_format, size):
            raw, wrong = _with_polars(self, part), []
            if raw is not None:
                frame, wrong, times = check(raw, pl.int_range(raw.height, eager=True), rule)
            if raw is None or wrong:
                frame, wrong, times = _line_by_line(self, skip, rule, part)
            good, bad = good + frame.height, bad + len(wrong)
            if wrong:
                self.require_log(good, bad, wrong[-1])
            yield frame, wrong, times

    def require_log(self, good: int, bad: int, last: Rejection) -> None:
        """Raises DataError if over a million lines, and most lines so far, are not interactions."""
        if bad > max(_MOST_BAD, good):
            raise DataError(
                f"{self.path}: {bad} of the first {last.line} lines are not interactions, "
                f"line {last.line}: {last.reason}."
            )


def _with_polars(source: TextSource, part: Part) -> pl.DataFrame | None:
    """Returns the columns to read as strings, or None if the exact reader is needed."""
    text = part.text[end_of_lines(part.text, source.header - part.before) :]
    if not text:
        return pl.DataFrame(schema=dict.fromkeys(source.positions, pl.String))
    return _part_with_polars(source, text) if part.sound else None


def _part_with_polars(source: TextSource, text: bytes) -> pl.DataFrame | None:
    separator, quoted = source.text_format.separator, source.text_format.quoted
    if len(source.names) > _WIDEST or b"\0" in text or text.startswith(codecs.BOM_UTF8):
        return None
    if b"\r" in text and text.count(b"\r") > text.count(b"\r\n"):
        return None
    step = len(separator)  # "::" is read as ":" with an empty column between every two columns
    fields = [f"c{number}" for number in range(step * (len(source.names) - 1) + 1)]
    fillers = [name for number, name in enumerate(fields) if number % step]
    wanted = {name: pl.col(fields[step * index]) for name, index in source.positions.items()}
    # `seen` uses every column, so that polars parses all of them. Only then does it find a line
    # with too many fields.
    checks = {
        "short": pl.col(fields[-1]).is_null(),
        "filled": pl.any_horizontal(False, *(pl.col(name).is_not_null() for name in fillers)),
        "header": _may_be_header(source, text, wanted),
        "seen": pl.any_horizontal(*(pl.col(name).is_null() for name in fields)),
    }
    try:
        lines = pl.scan_csv(
            text,
            separator=separator[0],
            quote_char='"' if quoted else None,
            has_header=False,
            schema=dict.fromkeys(fields, pl.String),
            glob=False,
        )
        frame = lines.select(**wanted, **checks).collect(engine="streaming")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return None
    if any(frame[name].any() for name in ("short", "filled", "header")):
        return None
    return frame.select(*wanted)


def _may_be_header(source: TextSource, text: bytes, wanted: Mapping[str, pl.Expr]) -> pl.Expr:
    """Returns which lines can be a header: user and item are names of columns, ignoring case."""
    ids = ("user_id", "item_id")
    names = [name.lower() for name in source.names]
    id_names, lowered = [names[source.positions[name]] for name in ids], text.lower()
    if all(name.isascii() for name in id_names) and not all(
        name.encode() in lowered for name in id_names
    ):
        return pl.lit(False)
    columns = [wanted[name] for name in ids]
    if source.text_format.typed:
        columns = [column.str.replace(":.*", "") for column in columns]
    return pl.all_horizontal(column.str.to_lowercase().is_in(names) for column in columns)


def _line_by_line(source: TextSource, skip: bool, rule: TimeRule, part: Part) -> Checked:
    bad: list[Rejection] = []
    rows = _events_of(source, skip, bad, _records(source, part))
    schema = {"line": pl.Int64, **dict.fromkeys(source.positions, pl.String)}
    chunks = [pl.DataFrame(schema=schema)]
    while chunk := list(islice(rows, _CHUNK)):
        chunks.append(pl.DataFrame(chunk, schema=schema, orient="row"))
    raw = pl.concat(chunks)
    frame, wrong, times = check(raw.drop("line"), raw["line"], rule)
    return frame, sorted(bad + (_with_texts(source, wrong, part) if skip else wrong)), times


def _records(source: TextSource, part: Part) -> Iterator[Record]:
    """Yields the records after the header."""
    for record in records(source.path, part.text, part.before, source.text_format):
        if record.line > source.header:
            yield record


def _events_of(
    source: TextSource, skip: bool, bad: list[Rejection], rows: Iterator[Record]
) -> Iterator[tuple]:
    """Yields line and fields of each event, and appends the other records to `bad`.

    Unless `skip` is set, it ends at the first of the other records.
    """
    names = {one: f"{name}s" for name, one in SEPARATORS.items()}
    separator = names.get(source.text_format.separator, repr(source.text_format.separator))
    good, positions = 0, source.positions.values()
    for row in rows:
        problem = row.problem
        if problem is None and len(row.fields) != len(source.names):
            expected = f"expected {len(source.names)} fields separated by {separator}"
            problem = f"{expected}, got {len(row.fields)}"
        if problem is None and _repeats_header(source, row):
            problem = "expected an event, got the header again"
        if problem is None:
            good += 1
            yield row.line, *(row.fields[index] for index in positions)
            continue
        bad.append(Rejection(row.line, problem, row.text))
        if not skip:
            return
        source.require_log(good, len(bad), bad[-1])


def _repeats_header(source: TextSource, row: Record) -> bool:
    """Returns whether a record of the right length repeats the header, ignoring case."""
    fields = [name.lower() for name in source.text_format.column_names(row)]
    names = [name.lower() for name in source.names]
    user, item = (source.positions[name] for name in ("user_id", "item_id"))
    if fields[user] not in names and fields[item] not in names:
        return False
    fields[0] = fields[0].removeprefix(_BOM)
    if (fields[user], fields[item]) == (names[user], names[item]):
        return True
    swapped = (fields[user], fields[item]) == (names[item], names[user])
    if swapped or sorted(fields) == sorted(names):
        raise DataError(
            f"{source.path}, line {row.line}: the header again with its columns in another order: "
            "give each file on its own."
        )
    return False


def _with_texts(source: TextSource, wrong: Sequence[Rejection], part: Part) -> list[Rejection]:
    """Adds the texts of rejected lines in a second pass, because the first pass keeps no texts."""
    lines = {entry.line for entry in wrong}
    texts = {row.line: row.text for row in _records(source, part) if row.line in lines}
    return [entry._replace(text=texts[entry.line]) for entry in wrong]
