"""Reads a log of interactions strictly: one row per event, in file order, or one sentence that names the line at fault."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from tfrec_attn.data.fields import Rejection, check
from tfrec_attn.data.text_formats import TEXT_FORMATS, clean
from tfrec_attn.data.text_reader import TextSource, column_names
from tfrec_attn.data.text_slices import SLICE_BYTES, cut
from tfrec_attn.data.times import ANY, FileTimes, LogTimes, TimeRule
from tfrec_attn.errors import ConfigError, DataError, nearest
from tfrec_attn.own_files import check_output

ROLES = {"user": "user_id", "item": "item_id", "timestamp": "timestamp"}
OPTIONAL = {"rating": "rating", "event": "event"}
_NAMES = {**ROLES, **OPTIONAL}
FORMATS = (*TEXT_FORMATS, "parquet")
_REJECTED = "file\tline\treason\ttext\n"


@dataclass(frozen=True)
class ReadResult:
    """A log that was read.

    Attributes:
        frame: Columns `user_id` and `item_id` (String) and `timestamp` (Int64, or Float64 where there are fractions; seconds for
            dates, otherwise the file's own unit), one row per event in file order; then, where they were asked for, `rating` (Float64)
            and `event` (String).
        rejected: How many lines were left out (0 unless `on_error="skip"`).
        times: What kinds of times its lines have, those left out too.
    """

    frame: pl.DataFrame
    rejected: int = 0
    times: FileTimes = field(default_factory=FileTimes)


def read_interactions(
    path: str | Path,
    *,
    format: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    names: Sequence[str] | None = None,
    on_error: str = "raise",
    rejected: str | Path | None = None,
    rule: TimeRule | None = None,
) -> ReadResult:
    """Reads a CSV, TSV, RecBole `.inter`, MovieLens `.dat` / `.data` or Parquet file; the text formats also gzipped.

    Ids become strings exactly as written. Timestamps are integers, decimals or ISO 8601 dates (UTC unless they carry an offset),
    one kind and one unit in a file (see `tfrec_attn.data.times`). Blank lines are left out. A quote is an ordinary character except in CSV.

    Args:
        path: The file.
        format: One of `FORMATS`; by default told by the extension, `.txt` being `tsv`, and `.gz` looked through.
        columns: Column name for each of the roles `user`, `item` and `timestamp`; defaults `user_id`, `item_id`, `timestamp`.
            `{"timestamp": None}` is a file without times, and the row number (from 0) takes their place. `rating` and `event`, a number and
            a name that go with each interaction, are read only where they are given.
        names: Column names of a file without a header; `.dat` and `.data` default to `user_id, item_id, rating, timestamp`.
        on_error: `"raise"`, or `"skip"` to leave out lines that are no interaction and count them (a file that has some is read
            line by line, several times slower).
        rejected: With `"skip"`, a TSV to write with one line for each that was left out: `file, line, reason, text`. An earlier one is
            replaced.
        rule: Which numbers or dates are times, where the file is a part of a log; None takes the rule that the file makes.

    Raises:
        ConfigError: If an option is not one of its choices, or if `rejected` is a file of another kind.
        DataError: If the file is missing or damaged, has no such column or no interaction, or has a line that is none.
    """
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"data.on_error must be 'raise' or 'skip', got {on_error!r}.")
    path, wanted, skip = Path(path), _wanted(columns), on_error == "skip"
    kind = _format_of(path, format)
    try:
        found = _read_parquet(path, wanted, rule) if kind == "parquet" else _text_source(path, kind, wanted, names).read(skip, rule)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    frame, bad, times = found
    if bad and not skip:
        raise DataError(_complaint(path, kind, bad[0]))
    if skip and rejected is not None:
        check_output(rejected, _REJECTED, "rejected")
        Path(rejected).unlink(missing_ok=True)
        write_rejected(Path(rejected), path, bad)
    if not frame.height:
        why = f": all {len(bad)} lines were rejected, line {bad[0].line} because of this: {bad[0].reason}" if bad else ""
        raise DataError(f"{path} holds no interactions{why}.")
    if wanted["timestamp"] is None:
        frame = frame.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64))
    return ReadResult(frame, len(bad), times)


def count_times(paths: Sequence[str | Path], folder: str | Path, **options: object) -> LogTimes:
    """Counts what kinds of times the files of a log hold, which makes its rule.

    Args:
        paths: The files.
        folder: As for `read_slices`.
        **options: Keywords of `read_slices`.

    Raises:
        ConfigError, DataError: As `read_slices` does, except that a line that is no interaction is no error.
    """
    log = LogTimes()
    for path in paths:
        for _, _, times in _read_parts(path, folder, rule=ANY, **{**options, "on_error": "skip"}):
            log.add(str(path), times)
    return log


def read_slices(
    path: str | Path,
    folder: str | Path,
    *,
    format: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    names: Sequence[str] | None = None,
    on_error: str = "raise",
    slice_bytes: int = SLICE_BYTES,
    rule: TimeRule | None = None,
    seen: LogTimes | None = None,
) -> Iterator[tuple[pl.DataFrame, list[Rejection]]]:
    """Reads a log as `read_interactions` does, a part at a time, so that it need not fit into memory.

    Args:
        path: The file.
        folder: Where a slice of a text file is written before it is read.
        format: As for `read_interactions`, and so are `columns`, `names` and `on_error`.
        slice_bytes: About how many bytes of text a part has; one of Parquet has a row for each 16.
        rule: Which numbers or dates are times. Without it, and without `seen`, the file is read twice: first for its rule.
        seen: The times of what was read before this file; adds the file's. All are taken as long as they are of one kind.

    Yields:
        The frame of a part, without times where the log has none, and the lines left out of it. The type of the times may change.

    Raises:
        ConfigError: As `read_interactions` does.
        DataError: As `read_interactions` does, except that a file without an interaction is no error.
        MixedTimes: If the times that `seen` has seen are not of one kind: then `count_times` tells the rule.
    """
    options = {"format": format, "columns": columns, "names": names, "on_error": on_error, "slice_bytes": slice_bytes}
    if rule is None and seen is None:
        rule = count_times([path], folder, **options).rule(str(path))
    with closing(_read_parts(path, folder, rule=rule or ANY, **options)) as parts:
        for frame, bad, times in parts:
            if seen is not None:
                seen.add(str(path), times)
                seen.require_one_kind()
            if bad and on_error != "skip":
                raise DataError(_complaint(Path(path), _format_of(Path(path), format), bad[0]))
            yield frame, bad


def _read_parts(
    path: str | Path,
    folder: str | Path,
    *,
    rule: TimeRule,
    format: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    names: Sequence[str] | None = None,
    on_error: str = "raise",
    slice_bytes: int = SLICE_BYTES,
) -> Iterator[tuple[pl.DataFrame, list[Rejection], FileTimes]]:
    """Yields what `check` returns of each part of a file."""
    path, wanted, skip = Path(path), _wanted(columns), on_error == "skip"
    kind = _format_of(path, format)
    parts = _parquet_slices(path, wanted, max(1, slice_bytes // 16), rule) if kind == "parquet" else _text_slices(
        _text_source(path, kind, wanted, names), Path(folder) / "slice", slice_bytes, skip, rule
    )  # fmt: skip
    try:
        with closing(parts):
            yield from parts
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _text_slices(
    source: TextSource, target: Path, size: int, skip: bool, rule: TimeRule
) -> Iterator[tuple[pl.DataFrame, list[Rejection], FileTimes]]:
    with closing(cut(source.path, source.text_format, target, size)) as cuts:
        for before in cuts:
            try:
                frame, bad, times = replace(source, path=target, header=source.header and not before).read(skip, rule)
            except DataError as error:
                start, line, rest = re.split(rf"{re.escape(str(target))}, line (\d+)", str(error), maxsplit=1)
                raise DataError(f"{start}{source.path}, line {int(line) + before}{rest}") from error
            yield frame, [entry._replace(line=entry.line + before) for entry in bad], times


def _parquet_slices(
    path: Path, wanted: Mapping[str, str | None], rows: int, rule: TimeRule
) -> Iterator[tuple[pl.DataFrame, list[Rejection], FileTimes]]:
    begin = 0
    while True:
        frame, bad, times = _read_parquet(path, wanted, rule, begin, rows)
        yield frame, bad, times
        if frame.height + len(bad) < rows:
            return
        begin += rows


def _complaint(path: Path, kind: str, entry: Rejection) -> str:
    unit = "row" if kind == "parquet" else "line"
    return f"{path}, {unit} {entry.line}: {entry.reason}; correct it, or leave such lines out with data.on_error=skip."


def _wanted(columns: Mapping[str, str | None] | None) -> dict[str, str | None]:
    wanted: dict[str, str | None] = dict(ROLES)
    for role, name in (columns or {}).items():
        if role not in _NAMES:
            raise ConfigError(f"data.columns must name one of {', '.join(_NAMES)}, got {role!r}{nearest(role, _NAMES)}.")
        if name is None and role in OPTIONAL:
            continue
        if name is None and role != "timestamp":
            raise ConfigError(f"data.columns.{role} must name a column, got null: only the timestamp can be missing.")
        wanted[role] = name
    if len(set(wanted.values())) < len(wanted):
        raise ConfigError(f"data.columns must name different columns, got {', '.join(map(str, wanted.values()))}.")
    return wanted


def _format_of(path: Path, format: str | None) -> str:
    if path.is_dir():
        raise DataError(f"{path} is a directory: data.path must be a file.")
    if not path.exists():
        raise DataError(f"{path} does not exist: data.path must be a file.")
    if format is not None and format not in FORMATS:
        raise ConfigError(f"data.format must be one of {', '.join(FORMATS)}, got {format!r}{nearest(format, FORMATS)}.")
    suffix = (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower().lstrip(".")
    kind = format or ("tsv" if suffix == "txt" else suffix)
    if kind not in FORMATS:
        raise DataError(f"{path} has no extension that tells its format: give data.format, one of {', '.join(FORMATS)}.")
    return kind


def _require(path: Path, name: str, role: str, names: Sequence[str]) -> None:
    count = list(names).count(name)
    if count > 1:
        raise DataError(f"{path} has {count} columns {name!r}: rename all but one.")
    if not count:
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        remedy = f"name it in data.columns.{role}, or name all columns in data.names if the file has no header"
        raise DataError(f"{path} has no column {name!r}{nearest(name, names)}, its columns are {shown}: {remedy}.")


def _text_source(path: Path, kind: str, wanted: Mapping[str, str | None], names: Sequence[str] | None) -> TextSource:
    text_format = TEXT_FORMATS[kind]
    given = names or text_format.names
    found = list(given) if given else column_names(path, text_format)
    for role, name in wanted.items():
        if name is not None:
            _require(path, name, role, found)
    places = {_NAMES[role]: found.index(name) for role, name in wanted.items() if name is not None}
    return TextSource(path, text_format, len(found), places, header=not given)


def _read_parquet(
    path: Path, wanted: Mapping[str, str | None], rule: TimeRule | None, begin: int = 0, count: int | None = None
) -> tuple[pl.DataFrame, list[Rejection], FileTimes]:
    try:
        table = pl.scan_parquet(path, glob=False)
        schema = table.collect_schema()
        for role, name in wanted.items():
            if name is not None:
                _require(path, name, role, schema.names())
                _require_type(path, name, role, schema[name])
        raw = (
            table.select(**{_NAMES[role]: pl.col(name) for role, name in wanted.items() if name is not None}).slice(begin, count).collect()
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}).") from error
    frame, bad, times = check(raw, pl.int_range(begin + 1, begin + raw.height + 1, eager=True), rule)
    texts = {entry.line: "\t".join(map(str, raw.row(entry.line - 1 - begin))) for entry in bad}
    return frame, [entry._replace(text=texts[entry.line]) for entry in bad], times


def _require_type(path: Path, name: str, role: str, dtype: pl.DataType) -> None:
    text = dtype in (pl.String, pl.Categorical, pl.Enum)
    if role == "timestamp":
        fits, expected = text or dtype.is_numeric() or dtype in (pl.Date, pl.Datetime), "numbers, dates or text"
    elif role == "rating":
        fits, expected = text or dtype.is_numeric(), "numbers or text"
    else:
        fits, expected = text or dtype.is_integer(), "text or integers"
    if not fits:
        raise DataError(f"{path}, column {name!r}: expected {expected}, got {dtype}.")


def write_rejected(target: Path, path: str | Path, bad: Sequence[Rejection]) -> None:
    """Adds a line for each rejection to a TSV: `file, line, reason, text`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "a", encoding="utf-8", newline="\n") as out:
        if not out.tell():
            out.write(_REJECTED)
        for entry in bad:
            out.write(f"{clean(str(path))}\t{entry.line}\t{clean(entry.reason)}\t{clean(entry.text)}\n")
