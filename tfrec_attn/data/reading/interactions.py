"""Reads a log of interactions strictly: one row per event, in file order, or one sentence that
names the line at fault.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tfrec_attn.data.reading.columns import NAMES, require_column, wanted_columns
from tfrec_attn.data.reading.fields import Rejection
from tfrec_attn.data.reading.log_parts import parts_of, suffix
from tfrec_attn.data.reading.parquet_check import require_sound
from tfrec_attn.data.reading.parquet_reader import parquet_slices, read_parquet
from tfrec_attn.data.reading.text_formats import SEPARATORS, TEXT_FORMATS, clean
from tfrec_attn.data.reading.text_reader import TextSource
from tfrec_attn.data.reading.text_slices import SLICE_BYTES, first_record
from tfrec_attn.data.reading.times import ANY, FileTimes, LogTimes, TimeRule, read_by_one_rule
from tfrec_attn.errors import ConfigError, DataError, nearest
from tfrec_attn.files.writing import check_output

FORMATS = (*TEXT_FORMATS, "parquet")
_REJECTED = "file\tline\treason\ttext\n"
_HEADER_WORDS = (
    "userId",
    "visitorId",
    "customerId",
    "sessionId",
    "itemId",
    "movieId",
    "productId",
    "articleId",
)


@dataclass(frozen=True)
class ReadResult:
    """A log that was read.

    Attributes:
        frame: Columns `user_id` and `item_id` (String) and `timestamp` (Int64, or Float64 where
            there are fractions; seconds for dates, otherwise the file's own unit), one row per
            event in file order; then, where they were asked for, `rating` (Float64) and `event`
            (String).
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
    separator: str | None = None,
    on_error: str = "raise",
    rejected: str | Path | None = None,
    rule: TimeRule | None = None,
) -> ReadResult:
    """Reads CSV, TSV, RecBole `.inter`, MovieLens `.dat` / `.data` or Parquet; the text formats
    also compressed as `.gz` or `.zst`.

    Ids become strings exactly as written. Timestamps are integers, decimals or ISO 8601 dates (UTC
    unless they carry an offset), one kind in a file and one unit in a log (see
    `tfrec_attn.data.reading.times`). Blank lines are left out. A quote is an ordinary character
    except in CSV. A header line that comes again, as in files put together, is no interaction.

    Args:
        path: The file, a folder of parts or a pattern such as `parts/*.csv`; parts are read as one
            log, in order of their names.
        format: One of `FORMATS`; by default told by the extension, `.txt` being `tsv`, and `.gz`
            and `.zst` looked through.
        columns: Column name for each of the roles `user`, `item` and `timestamp`; defaults
            `user_id`, `item_id`, `timestamp`. `{"timestamp": None}` is a file without times, and
            the row number (from 0) takes their place. `rating` and `event`, a number and a name
            that go with each interaction, are read only where they are given.
        names: Column names of a file without a header; `.dat` and `.data` default to `user_id,
            item_id, rating, timestamp`.
        separator: What stands between two fields of a text format, a name in `SEPARATORS` or the
            character; None: as the format has it.
        on_error: `"raise"`, or `"skip"` to leave out lines that are no interaction and count them
            (a file that has some is read line by line, several times slower).
        rejected: With `"skip"`, a TSV to write with one line for each that was left out: `file,
            line, reason, text`. An earlier one is replaced.
        rule: Which numbers or dates are times, where the file is a part of a log; None takes the
            rule that the file makes.

    Raises:
        ConfigError: If an option is not one of its choices, or if `rejected` is a file of another
            kind.
        DataError: If the file is missing or damaged, has no such column or no interaction, or has a
            line that is none.
    """
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"data.on_error must be 'raise' or 'skip', got {on_error!r}.")
    wanted, skip, parts = wanted_columns(columns), on_error == "skip", parts_of(path)
    kinds = {str(part): _format_of(part, format) for part in parts}
    if skip and rejected is not None:
        begin_rejected(rejected, path)

    def read(part: str, own: TimeRule | None) -> _ReadPart:
        kind = kinds[part]
        if kind == "parquet":
            found = read_parquet(Path(part), wanted, own)
        else:
            source = _text_source(Path(part), kind, wanted, names, separator)
            found = source.read(skip, own) if source else (None, [], FileTimes())
        if found[1] and not skip:
            raise DataError(_complaint(Path(part), kind, found[1][0]))
        return _ReadPart(*found)

    with _one_sentence(path):
        _require_sound(parts, list(kinds.values()), wanted)
        results = (
            read_by_one_rule(list(kinds), read)
            if rule is None
            else [read(part, rule) for part in kinds]
        )
        bad = [
            (part, entry)
            for part, result in zip(parts, results, strict=True)
            for entry in result.bad
        ]
        if skip and rejected is not None:
            for part, result in zip(parts, results, strict=True):
                write_rejected(Path(rejected), part, result.bad)
    frames = [result.frame for result in results if result.frame is not None]
    if not frames and not names and TEXT_FORMATS[next(iter(kinds.values()))].names is None:
        raise DataError(f"{path} is empty: expected the column names in its first line.")
    if not any(frame.height for frame in frames):
        why = ""
        if bad:
            part, entry = bad[0]
            of = f" of {part}" if len(parts) > 1 else ""
            why = f": all {len(bad)} lines were rejected, line {entry.line}{of} because of this: {entry.reason}"
        raise DataError(f"{path} holds no interactions{why}.")
    frame = pl.concat(frames, how="vertical_relaxed")
    if wanted["timestamp"] is None:
        frame = frame.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64))
    return ReadResult(frame, len(bad), sum((result.times for result in results), FileTimes()))


class _ReadPart(NamedTuple):
    """What `check` returns of a part of a log; without a frame where the part holds nothing."""

    frame: pl.DataFrame | None
    bad: list[Rejection]
    times: FileTimes


def count_times(paths: Sequence[str | Path], **options: object) -> LogTimes:
    """Counts what kinds of times the files of a log hold, which makes its rule.

    Args:
        paths: The files.
        **options: Keywords of `read_slices`.

    Raises:
        ConfigError, DataError: As `read_slices` does, except that a line that is no interaction is
            no error.
    """
    log = LogTimes()
    for path in paths:
        for _, _, times in _read_parts(path, rule=ANY, **{**options, "on_error": "skip"}):
            log.add(str(path), times)
    return log


def read_slices(
    path: str | Path,
    *,
    format: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    names: Sequence[str] | None = None,
    separator: str | None = None,
    on_error: str = "raise",
    slice_bytes: int = SLICE_BYTES,
    rule: TimeRule | None = None,
    seen: LogTimes | None = None,
) -> Iterator[tuple[pl.DataFrame, list[Rejection]]]:
    """Reads a log as `read_interactions` does, a part at a time, so that it need not fit into
    memory.

    Args:
        path: The file; `parts_of` tells those of a log.
        format: As for `read_interactions`, and so are `columns`, `names`, `separator` and
            `on_error`.
        slice_bytes: About how many bytes of text a part has; one of Parquet has a row for each 16.
        rule: Which numbers or dates are times. Without it, and without `seen`, the file is read
            twice: first for its rule.
        seen: The times of what was read before this file; adds the file's. All are taken as long as
            they are of one kind.

    Yields:
        The frame of a part, without times where the log has none, and the lines left out of it. The
        type of the times may change.

    Raises:
        ConfigError: As `read_interactions` does.
        DataError: As `read_interactions` does, except that a file without an interaction is no
            error.
        MixedTimes: If the times that `seen` has seen are not of one kind: then `count_times` tells
            the rule.
    """
    options = {
        "format": format,
        "columns": columns,
        "names": names,
        "separator": separator,
        "on_error": on_error,
        "slice_bytes": slice_bytes,
    }
    if rule is None and seen is None:
        rule = count_times([path], **options).rule(str(path))
    with closing(_read_parts(path, rule=rule or ANY, **options)) as parts:
        for frame, bad, times in parts:
            if seen is not None:
                seen.add(str(path), times)
                seen.require_one_kind()
            if bad and on_error != "skip":
                raise DataError(_complaint(Path(path), _format_of(Path(path), format), bad[0]))
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
) -> Iterator[tuple[pl.DataFrame, list[Rejection], FileTimes]]:
    """Yields what `check` returns of each part of a file."""
    path, wanted, skip = Path(path), wanted_columns(columns), on_error == "skip"
    kind = _format_of(path, format)
    with _one_sentence(path):
        if kind == "parquet":
            rows = max(1, slice_bytes // 16)
            _require_sound([path], [kind], wanted, rows)
            slices = parquet_slices(path, wanted, rows, rule)
        else:
            source = _text_source(path, kind, wanted, names, separator)
            slices = source.slices(skip, rule, slice_bytes) if source else iter(())
        yield from slices


@contextmanager
def _one_sentence(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _require_sound(
    parts: Sequence[Path],
    kinds: Sequence[str],
    wanted: Mapping[str, str | None],
    rows: int | None = None,
) -> None:
    parquet = [part for part, kind in zip(parts, kinds, strict=True) if kind == "parquet"]
    if parquet:
        require_sound(parquet, [name for name in wanted.values() if name is not None], rows)


def _complaint(path: Path, kind: str, entry: Rejection) -> str:
    unit = "row" if kind == "parquet" else "line"
    return f"{path}, {unit} {entry.line}: {entry.reason}; correct it, or leave such lines out with data.on_error=skip."


def _format_of(path: Path, format: str | None) -> str:
    if format is not None and format not in FORMATS:
        raise ConfigError(
            f"data.format must be one of {', '.join(FORMATS)}, got {format!r}{nearest(format, FORMATS)}."
        )
    extension = suffix(path)
    kind = format or ("tsv" if extension == "txt" else extension)
    if kind not in FORMATS:
        raise DataError(
            f"{path} has no extension that tells its format: give data.format, one of {', '.join(FORMATS)}."
        )
    return kind


def _text_source(
    path: Path,
    kind: str,
    wanted: Mapping[str, str | None],
    names: Sequence[str] | None,
    separator: str | None,
) -> TextSource | None:
    """The log with the places of its columns; None where it holds nothing."""
    text_format = TEXT_FORMATS[kind].separated_by(separator)
    given = names or text_format.names
    first = first_record(path, text_format)
    if first is None:
        return None
    if first.problem and not given:
        raise DataError(
            f"{path}, line {first.line}: {first.problem}, where the column names should be."
        )
    found = list(given) if given else text_format.column_names(first)
    hint = _other_separator(
        text_format.separator, first.text, [name for name in wanted.values() if name is not None]
    )
    for role, name in wanted.items():
        if name is not None:
            require_column(path, name, role, found, hint)
    places = {NAMES[role]: found.index(name) for role, name in wanted.items() if name is not None}
    if given and _names_columns(text_format.column_names(first), found, places):
        remedy = "leave out data.names" if names else "give data.format, or delete that line"
        raise DataError(f"{path}, line {first.line}: expected an event, got a header: {remedy}.")
    return TextSource(path, text_format, found, places, 0 if given else first.end)


def _other_separator(separator: str, header: str, names: Sequence[str]) -> str:
    """How to read a log whose header has all names between other separators, or nothing."""
    for name, other in SEPARATORS.items():
        if other != separator and {field.strip(' "') for field in header.split(other)} >= set(
            names
        ):
            return f"its fields are separated by {name}s, so give data.separator={name}"
    return ""


def _names_columns(fields: Sequence[str], names: Sequence[str], places: Mapping[str, int]) -> bool:
    """Tells whether the first record of a log whose columns are named elsewhere names them too, be
    it in other words.
    """
    if len(fields) != len(names):
        return False
    words = {_bare_word(name) for name in (*names, *NAMES, *NAMES.values(), *_HEADER_WORDS)}
    return all(_bare_word(fields[places[name]]) in words for name in ("user_id", "item_id"))


def _bare_word(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()


def begin_rejected(target: str | Path, path: object) -> None:
    """Begins a TSV of rejections, in the place of an earlier one.

    Raises:
        ConfigError: If it is a file of another kind.
    """
    check_output(target, _REJECTED, "rejected")
    Path(target).unlink(missing_ok=True)
    write_rejected(Path(target), str(path), [])


def write_rejected(target: Path, path: str | Path, bad: Sequence[Rejection]) -> None:
    """Adds a line for each rejection to a TSV: `file, line, reason, text`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "a", encoding="utf-8", newline="\n") as out:
        if not out.tell():
            out.write(_REJECTED)
        for entry in bad:
            out.write(
                f"{clean(str(path))}\t{entry.line}\t{clean(entry.reason)}\t{clean(entry.text)}\n"
            )
