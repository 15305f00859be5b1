"""Reads a log of interactions strictly: a row for each event, or an error that names the line."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tfrec_attn.data.reading.columns import wanted_columns
from tfrec_attn.data.reading.log_parts import parts_of, suffix
from tfrec_attn.data.reading.parquet_check import require_sound
from tfrec_attn.data.reading.parquet_reader import parquet_slices
from tfrec_attn.data.reading.rejections import Rejection, begin_rejected, write_rejected
from tfrec_attn.data.reading.text_formats import TEXT_FORMATS
from tfrec_attn.data.reading.text_header import open_text
from tfrec_attn.data.reading.text_slices import SLICE_BYTES
from tfrec_attn.data.reading.time_rule import ANY, FileTimes, LogTimes, MixedTimes, TimeRule
from tfrec_attn.errors import ConfigError, DataError, counted, nearest
from tfrec_attn.files.readable import readable

FORMATS = (*TEXT_FORMATS, "parquet")
# The valid rows of a part of a file, and its rejected lines.
Slice = tuple[pl.DataFrame, list[Rejection]]


@dataclass(frozen=True)
class ReadResult:
    """A log that was read.

    Attributes:
        frame: One row per event, in the order of the file. Columns: `user_id` and `item_id`
            (String); `timestamp` (Int64, or Float64 if there are fractions; in seconds for dates,
            otherwise in the unit of the file); if requested, `rating` (Float64) and `event`
            (String).
        rejected: Number of invalid lines; 0 unless `on_error="skip"`.
    """

    frame: pl.DataFrame
    rejected: int = 0


def read_interactions(
    path: str | Path | Sequence[str],
    *,
    format: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    names: Sequence[str] | None = None,
    separator: str | None = None,
    on_error: str = "raise",
    rejected: str | Path | None = None,
) -> ReadResult:
    """Reads CSV, TSV, RecBole `.inter`, MovieLens `.dat` and `.data`, or Parquet.

    Text files can be compressed as `.gz` or `.zst`.

    Ids become strings exactly as written. Timestamps are integers, decimals or ISO 8601 dates (UTC
    unless they have an offset), one kind in a file and one unit in a log (see
    `tfrec_attn.data.reading.time_rule`). Blank lines are ignored. A quote is an ordinary character
    except in CSV. A repeated header line, as in concatenated files, is invalid.

    Args:
        path: The file, a folder of parts or a pattern such as `parts/*.csv`. Parts are read as one
            log, in order of their names. A list of these is read one after the other.
        format: One of `FORMATS`. Default: the extension decides; `.txt` is `tsv`, and `.gz` and
            `.zst` are ignored.
        columns: Role -> name of its column. Roles are `user`, `item` and `timestamp`, by default
            `user_id`, `item_id` and `timestamp`. With `{"timestamp": None}` the file has no times,
            and the row numbers, from 0, replace them. The roles `rating` (a number) and `event` (a
            name) are read only if they are given.
        names: Column names of a file without a header. Default: the header line, and for `.dat` and
            `.data` `user_id, item_id, rating, timestamp`.
        separator: Separator of the fields of a text format: a name in `SEPARATORS` or a character.
            None (default): the separator of the format.
        on_error: `"raise"` (default), or `"skip"` to leave out and count invalid lines. The lines
            around an invalid line are then read one by one, which is several times slower.
        rejected: With `"skip"`, a TSV file for the invalid lines, with the columns `file, line,
            reason, text`. It replaces an earlier file. None (default): none is written.

    Raises:
        ConfigError: If an option is not one of its choices, or if `rejected` is a file of another
            kind.
        DataError: If the file is missing or damaged, has no such column or no interaction, or has
            an invalid line.
    """
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"data.on_error must be 'raise' or 'skip', got {on_error!r}.")
    wanted, skip = wanted_columns(columns), on_error == "skip"
    logs = [path] if isinstance(path, (str, Path)) else path
    parts = {log: parts_of(log) for log in logs}
    files = [file for log in logs for file in parts[log]]
    kinds = [_format_of(file, format) for file in files]
    if skip and rejected is not None:
        begin_rejected(rejected, ", ".join(map(str, logs)))
    options = {"format": format, "columns": columns, "names": names, "separator": separator}
    with readable(path):
        parquet = [file for file, kind in zip(files, kinds, strict=True) if kind == "parquet"]
        if parquet:
            require_sound(parquet, list(wanted.values()))
        found = _read_files(files, on_error=on_error, is_sound=True, **options)
        if skip and rejected is not None:
            for file, slices in found.items():
                for _, bad in slices:
                    write_rejected(Path(rejected), file, bad)
    for log in logs:
        own = {file: found[file] for file in parts[log]}
        if not any(own.values()) and not names and TEXT_FORMATS[kinds[0]].names is None:
            raise DataError(f"{log} is empty: expected the column names in its first line.")
        if not any(frame.height for slices in own.values() for frame, _ in slices):
            raise DataError(f"{log} holds no interactions{_why_none(own)}.")
    slices = [one for file in files for one in found[file]]
    frame = pl.concat([frame for frame, _ in slices], how="vertical_relaxed")
    if "timestamp" not in wanted:
        frame = frame.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64))
    return ReadResult(frame, sum(len(bad) for _, bad in slices))


def _read_files(files: Sequence[Path], **options: object) -> dict[Path, list[Slice]]:
    """Returns the slices of each file of a log."""
    seen = LogTimes()
    try:
        return {file: list(read_slices(file, seen=seen, **options)) for file in files}
    except MixedTimes:
        times = count_times(files, **options)
        rules = {file: times.rule(str(file)) for file in files}
        return {file: list(read_slices(file, rule=rules[file], **options)) for file in files}


def _why_none(found: Mapping[Path, Sequence[Slice]]) -> str:
    """Returns a clause about the rejected lines of a log without interactions, or ""."""
    bad = [(file, one) for file, slices in found.items() for _, bad in slices for one in bad]
    if not bad:
        return ""
    file, entry = bad[0]
    of_part = f" of {file}" if len(found) > 1 else ""
    lines = counted(len(bad), "line was", "lines were", form="")
    return f": all {lines} rejected, line {entry.line}{of_part} because of this: {entry.reason}"


def count_times(paths: Sequence[str | Path], **options: object) -> LogTimes:
    """Counts the kinds of times in the files of a log. The counts give the rule of the log.

    Args:
        paths: The files.
        **options: Keywords of `read_slices`.

    Raises:
        ConfigError: As for `read_slices`.
        DataError: As for `read_slices`, except for invalid lines.
    """
    log = LogTimes()
    for path in paths:
        for _, _, times in _read_parts(path, rule=ANY, **{**options, "on_error": "skip"}):
            log.add(str(path), times)
    return log


def read_slices(
    path: str | Path,
    *,
    on_error: str = "raise",
    rule: TimeRule | None = None,
    seen: LogTimes | None = None,
    **options: object,
) -> Iterator[Slice]:
    """Reads a log as `read_interactions` does, in parts that fit into memory.

    Args:
        path: The file; `parts_of` returns the files of a log.
        on_error: As for `read_interactions`.
        rule: Which numbers or dates are times. If neither `rule` nor `seen` is given, the file is
            read twice, first for its rule.
        seen: The kinds of times in the files that were read before. Those of this file are added.
            All times are accepted as long as they are of one kind.
        **options: `format`, `columns`, `names` and `separator` of `read_interactions`, and
            `slice_bytes`, the approximate number of bytes of text in a part. A part of a Parquet
            file has a row for each 16 bytes. With `is_sound`, a Parquet file is not checked first.

    Yields:
        The frame of a part, without `timestamp` if the log has no times, and its rejected lines.
        The type of the times can differ between parts.

    Raises:
        ConfigError: As for `read_interactions`.
        DataError: As for `read_interactions`, except that a file can have no interaction.
        MixedTimes: If the times in `seen` are of several kinds; `count_times` then gives the rule.
    """
    options = {**options, "on_error": on_error}
    if rule is None and seen is None:
        rule = count_times([path], **options).rule(str(path))
    with closing(_read_parts(path, rule=rule or ANY, **options)) as parts:
        for frame, bad, times in parts:
            if seen is not None:
                seen.add(str(path), times)
                seen.require_one_kind()
            if bad and on_error != "skip":
                kind = _format_of(Path(path), options.get("format"))
                unit = "row" if kind == "parquet" else "line"
                raise DataError(
                    f"{path}, {unit} {bad[0].line}: {bad[0].reason}; correct it, or leave such "
                    "lines out with data.on_error=skip."
                )
            yield frame, bad


def _read_parts(
    path: str | Path,
    *,
    rule: TimeRule,
    format: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    names: Sequence[str] | None = None,
    separator: str | None = None,
    on_error: str = "raise",
    slice_bytes: int = SLICE_BYTES,
    is_sound: bool = False,
) -> Iterator[tuple[pl.DataFrame, list[Rejection], FileTimes]]:
    """Yields the result of `check` for each part of a file."""
    path, wanted = Path(path), wanted_columns(columns)
    kind = _format_of(path, format)
    with readable(path):
        if kind == "parquet":
            rows = max(1, slice_bytes // 16)
            if not is_sound:
                require_sound([path], list(wanted.values()), rows)
            yield from parquet_slices(path, wanted, rows, rule)
        elif source := open_text(path, kind, wanted, names, separator):
            yield from source.slices(on_error == "skip", rule, slice_bytes)


def _format_of(path: Path, format: str | None) -> str:
    choices = ", ".join(FORMATS)
    if format is not None and format not in FORMATS:
        raise ConfigError(
            f"data.format must be one of {choices}, got {format!r}{nearest(format, FORMATS)}."
        )
    extension = suffix(path)
    kind = format or ("tsv" if extension == "txt" else extension)
    if kind not in FORMATS:
        raise DataError(
            f"{path} has no extension of a known format: give data.format, one of {choices}."
        )
    return kind
