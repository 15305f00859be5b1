"""Reads the wanted columns of a text log: with polars where all is well, line by line where something is wrong."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl

from tfrec_attn.data.fields import Rejection, check
from tfrec_attn.data.text_formats import Record, TextFormat, has_sound_quotes, records
from tfrec_attn.data.times import FileTimes, TimeRule
from tfrec_attn.errors import DataError

_CHUNK = 100_000


@dataclass(frozen=True)
class TextSource:
    """A text log whose columns are known.

    Attributes:
        path: The file, plain or gzipped.
        text_format: How its lines are cut.
        width: Fields of every line.
        places: Position of each wanted column, by its name in the result.
        header: Whether the first line holds the column names.
    """

    path: Path
    text_format: TextFormat
    width: int
    places: Mapping[str, int]
    header: bool

    def read(self, skip: bool, rule: TimeRule | None = None) -> tuple[pl.DataFrame, list[Rejection], FileTimes]:
        """Returns what `check` does; unless `skip`, no line after the first that is no interaction is of interest."""
        raw = _with_polars(self)
        if raw is not None:
            frame, bad, times = check(raw, pl.int_range(raw.height, eager=True), rule)
            if not bad:
                return frame, bad, times
        return _line_by_line(self, skip, rule)


def column_names(path: Path, text_format: TextFormat) -> list[str]:
    """Returns the column names in the first line.

    Raises:
        DataError: If there is no line, or if it is not text.
    """
    first = next(records(path, text_format), None)
    if first is None:
        raise DataError(f"{path} is empty: expected the column names in its first line.")
    if first.problem:
        raise DataError(f"{path}, line {first.line}: {first.problem}, where the column names should be.")
    return [name.split(":")[0] if text_format.typed else name for name in first.fields]


def _with_polars(source: TextSource) -> pl.DataFrame | None:
    """Returns the columns as strings, or None when polars fails or might have filled up a short line."""
    if _ends_in(source.path, source.text_format.separator):
        return None  # polars overlooks an extra empty field at the very end of a file
    step = len(source.text_format.separator)  # "::" reads as ":" with an empty column between every two
    fields = [f"c{place}" for place in range(step * (source.width - 1) + 1)]
    fillers = [name for place, name in enumerate(fields) if place % step]
    # `seen` keeps every column in the plan: polars finds a line with too many fields only when it parses all of them.
    checks = {
        "short": pl.col(fields[-1]).is_null(),
        "filled": pl.any_horizontal(pl.lit(False), *(pl.col(name).is_not_null() for name in fillers)),
        "seen": pl.any_horizontal(*(pl.col(name).is_null() for name in fields)),
    }
    wanted = {name: pl.col(fields[step * place]) for name, place in source.places.items()}
    try:
        lines = pl.scan_csv(
            source.path,
            separator=source.text_format.separator[0],
            quote_char='"' if source.text_format.quoted else None,
            has_header=False,
            skip_rows=int(source.header),
            schema=dict.fromkeys(fields, pl.String),
            glob=False,
        )
        frame = lines.select(**wanted, **checks).collect(engine="streaming")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return None
    if frame["short"].any() or frame["filled"].any():
        return None
    # Polars takes some misplaced quotes for text, and what they swallow for one field.
    sound = not source.text_format.quoted or has_sound_quotes(source.path, source.text_format.separator)
    return frame.select(*wanted) if sound else None


def _ends_in(path: Path, separator: str) -> bool:
    with open(path, "rb") as stream:
        stream.seek(max(0, path.stat().st_size - 1))
        return stream.read(1) == separator[-1].encode()


def _line_by_line(source: TextSource, skip: bool, rule: TimeRule | None) -> tuple[pl.DataFrame, list[Rejection], FileTimes]:
    bad: list[Rejection] = []
    rows = _well_cut(source, skip, bad)
    schema = {"line": pl.Int64, **dict.fromkeys(source.places, pl.String)}
    chunks = [pl.DataFrame(schema=schema)]
    while chunk := list(islice(rows, _CHUNK)):
        fields = {name: [row.fields[place] for row in chunk] for name, place in source.places.items()}
        chunks.append(pl.DataFrame({"line": [row.line for row in chunk], **fields}, schema=schema))
    raw = pl.concat(chunks)
    frame, wrong, times = check(raw.drop("line"), raw["line"], rule)
    return frame, sorted(bad + (_with_texts(source, wrong) if skip else wrong)), times


def _well_cut(source: TextSource, skip: bool, bad: list[Rejection]) -> Iterator[Record]:
    """Yields the records with the right number of fields and appends the others to `bad`; unless `skip`, ends at the first of those."""
    separator = {"\t": "tabs", ",": "commas"}.get(source.text_format.separator, repr(source.text_format.separator))
    for row in islice(records(source.path, source.text_format), int(source.header), None):
        problem = row.problem
        if problem is None and len(row.fields) != source.width:
            problem = f"expected {source.width} fields separated by {separator}, got {len(row.fields)}"
        if problem is None:
            yield row
            continue
        bad.append(Rejection(row.line, problem, row.text))
        if not skip:
            return


def _with_texts(source: TextSource, wrong: Sequence[Rejection]) -> list[Rejection]:
    """A second pass over the file, so that the first one need not keep the text of every line."""
    lines = {entry.line for entry in wrong}
    texts = {row.line: row.text for row in records(source.path, source.text_format) if row.line in lines} if lines else {}
    return [entry._replace(text=texts[entry.line]) for entry in wrong]
