"""Reads a log of interactions strictly: one row per event, in file order, or one sentence that names the line at fault."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tfrec_attn.config import nearest
from tfrec_attn.data.fields import Rejection, check
from tfrec_attn.data.text_formats import TEXT_FORMATS, clean
from tfrec_attn.data.text_reader import TextSource, column_names
from tfrec_attn.errors import ConfigError, DataError

ROLES = {"user": "user_id", "item": "item_id", "timestamp": "timestamp"}
FORMATS = (*TEXT_FORMATS, "parquet")


@dataclass(frozen=True)
class ReadResult:
    """A log that was read.

    Attributes:
        frame: Columns `user_id` and `item_id` (String) and `timestamp` (Int64, or Float64 where there are fractions; seconds for
            dates, otherwise the file's own unit), one row per event in file order.
        rejected: How many lines were left out (0 unless `on_error="skip"`).
    """

    frame: pl.DataFrame
    rejected: int = 0


def read_interactions(
    path: str | Path,
    *,
    format: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    names: Sequence[str] | None = None,
    on_error: str = "raise",
    rejected: str | Path | None = None,
) -> ReadResult:
    """Reads a CSV, TSV, RecBole `.inter`, MovieLens `.dat` / `.data` or Parquet file; the text formats also gzipped.

    Ids become strings exactly as written. Timestamps are integers, decimals or ISO 8601 dates (UTC unless they carry an offset),
    one kind in a file. Blank lines are left out. A quote is an ordinary character except in CSV.

    Args:
        path: The file.
        format: One of `FORMATS`; by default told by the extension, `.txt` being `tsv`, and `.gz` looked through.
        columns: Column name for each of the roles `user`, `item` and `timestamp`; defaults `user_id`, `item_id`, `timestamp`.
            `{"timestamp": None}` is a file without times, and the row number (from 0) takes their place.
        names: Column names of a file without a header; `.dat` and `.data` default to `user_id, item_id, rating, timestamp`.
        on_error: `"raise"`, or `"skip"` to leave out lines that are no interaction and count them (a file that has some is read
            line by line, several times slower).
        rejected: With `"skip"`, a TSV to write with one line for each that was left out: `file, line, reason, text`.

    Raises:
        ConfigError: If an option is not one of its choices.
        DataError: If the file is missing or damaged, has no such column or no interaction, or has a line that is none.
    """
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"data.on_error must be 'raise' or 'skip', got {on_error!r}.")
    path, wanted, skip = Path(path), _wanted(columns), on_error == "skip"
    kind = _format_of(path, format)
    try:
        frame, bad = _read_parquet(path, wanted) if kind == "parquet" else _text_source(path, kind, wanted, names).read(skip)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if bad and not skip:
        unit = "row" if kind == "parquet" else "line"
        raise DataError(f"{path}, {unit} {bad[0].line}: {bad[0].reason}; correct it, or leave such lines out with data.on_error=skip.")
    if skip and rejected is not None:
        _write_rejected(Path(rejected), path, bad)
    if not frame.height:
        why = f": all {len(bad)} lines were rejected, line {bad[0].line} because of this: {bad[0].reason}" if bad else ""
        raise DataError(f"{path} holds no interactions{why}.")
    if wanted["timestamp"] is None:
        frame = frame.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64))
    return ReadResult(frame, len(bad))


def _wanted(columns: Mapping[str, str | None] | None) -> dict[str, str | None]:
    wanted: dict[str, str | None] = dict(ROLES)
    for role, name in (columns or {}).items():
        if role not in ROLES:
            raise ConfigError(f"data.columns must name one of {', '.join(ROLES)}, got {role!r}{nearest(role, ROLES)}.")
        if name is None and role != "timestamp":
            raise ConfigError(f"data.columns.{role} must name a column, got null: only the timestamp can be missing.")
        wanted[role] = name
    if len(set(wanted.values())) < len(wanted):
        raise ConfigError(f"data.columns must name three different columns, got {', '.join(map(str, wanted.values()))}.")
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
    places = {ROLES[role]: found.index(name) for role, name in wanted.items() if name is not None}
    return TextSource(path, text_format, len(found), places, header=not given)


def _read_parquet(path: Path, wanted: Mapping[str, str | None]) -> tuple[pl.DataFrame, list[Rejection]]:
    try:
        table = pl.scan_parquet(path, glob=False)
        schema = table.collect_schema()
        for role, name in wanted.items():
            if name is not None:
                _require(path, name, role, schema.names())
                _require_type(path, name, role, schema[name])
        raw = table.select(**{ROLES[role]: pl.col(name) for role, name in wanted.items() if name is not None}).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}).") from error
    frame, bad = check(raw, pl.int_range(1, raw.height + 1, eager=True))
    rows = {entry.line: "\t".join(map(str, raw.row(entry.line - 1))) for entry in bad}
    return frame, [entry._replace(text=rows[entry.line]) for entry in bad]


def _require_type(path: Path, name: str, role: str, dtype: pl.DataType) -> None:
    text = dtype in (pl.String, pl.Categorical, pl.Enum)
    if role == "timestamp":
        fits, expected = text or dtype.is_numeric() or dtype in (pl.Date, pl.Datetime), "numbers, dates or text"
    else:
        fits, expected = text or dtype.is_integer(), "text or integers"
    if not fits:
        raise DataError(f"{path}, column {name!r}: expected {expected}, got {dtype}.")


def _write_rejected(target: Path, path: Path, bad: Sequence[Rejection]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "w", encoding="utf-8", newline="\n") as out:
        out.write("file\tline\treason\ttext\n")
        for entry in bad:
            out.write(f"{clean(str(path))}\t{entry.line}\t{clean(entry.reason)}\t{clean(entry.text)}\n")
