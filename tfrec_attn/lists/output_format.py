"""The formats of lists and vectors: each writes parts, and joins parts to one file."""

import gzip
import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
from numpy.lib.format import write_array_header_1_0

from tfrec_attn.errors import ConfigError, DataError, shown
from tfrec_attn.files.writing import append_array


class OutputFormat(NamedTuple):
    """A format of a table.

    Attributes:
        nested: As for `list_table`: whether a user is one row with lists.
        write: Function of (table, path, whether the part is the first), which writes a part.
        join: Function of (paths of the parts in order, path), which joins the parts to a file.
        suffixes: Suffixes of the files that `join` writes: "" for the named file, and those of
            files beside it.
    """

    nested: bool
    write: Callable[[pl.DataFrame, Path, bool], None]
    join: Callable[[Sequence[Path], Path], None]
    suffixes: tuple[str, ...] = ("",)


def output_format(path: str | Path, formats: dict[str, OutputFormat], option: str) -> OutputFormat:
    """Returns the format of a file by the end of its name.

    Args:
        path: The file.
        formats: `LIST_FORMATS` or `VECTOR_FORMATS`.
        option: The option that names the file, for messages.

    Raises:
        ConfigError: If no format has this end.
    """
    for suffix, found in formats.items():
        if str(path).endswith(suffix) and Path(path).name != suffix:
            return found
    choices = ", ".join(formats)
    raise ConfigError(f"{option} must end with one of {choices}, but is {path}.")


def _write_parquet(frame: pl.DataFrame, path: Path, _: bool) -> None:
    frame.write_parquet(path)


def _write_lines(frame: pl.DataFrame, path: Path, first: bool) -> None:
    """Writes a part as Parquet, after a check that its ids can become lines."""
    ids = frame.to_series(0)
    broken = ids.filter(ids.str.contains("[\r\n]"))
    if len(broken):
        raise DataError(
            f"The ids beside an .npy are lines, but {frame.columns[0]} {shown(broken[0])} has a "
            "line break; name a .parquet."
        )
    _write_parquet(frame, path, first)


def _join_parquet(parts: Sequence[Path], target: Path) -> None:
    pl.scan_parquet(list(parts), glob=False).sink_parquet(target)


def _csv(frame: pl.DataFrame, first: bool) -> bytes:
    buffer = io.BytesIO()
    frame.write_csv(buffer, include_header=first)
    return buffer.getvalue()


def _json_lines(frame: pl.DataFrame, _: bool) -> bytes:
    buffer = io.BytesIO()
    frame.write_ndjson(buffer)
    return buffer.getvalue()


def _text(encode: Callable, compressed: bool, nested: bool) -> OutputFormat:
    def write(frame, path, first):
        data = encode(frame, first)
        # Without a time in the header, equal parts become equal files.
        path.write_bytes(gzip.compress(data, 6, mtime=0) if compressed else data)

    return OutputFormat(nested, write, _join_bytes)


def _join_bytes(parts: Sequence[Path], target: Path) -> None:
    """Concatenates parts, which also works for gzip files."""
    with open(target, "wb") as out:
        for part in parts:
            with open(part, "rb") as stream:
                shutil.copyfileobj(stream, out, 1 << 22)


def _join_npy(parts: Sequence[Path], target: Path) -> None:
    """Writes the second column as an array, and the first as lines of a file beside it."""
    tables = [pl.scan_parquet(part, glob=False) for part in parts]
    rows = sum(table.select(pl.len()).collect().item() for table in tables)
    dtype = {"descr": "<f4", "fortran_order": False}
    with open(target, "wb") as array, open(f"{target}.txt", "wb") as lines:
        for number, table in enumerate(tables):
            frame = table.collect()
            vectors = frame.to_series(1).to_numpy()
            if not number:
                write_array_header_1_0(array, {**dtype, "shape": (rows, vectors.shape[1])})
            append_array(array, vectors.astype("<f4", copy=False))
            lines.write("".join(f"{one}\n" for one in frame.to_series(0)).encode())


LIST_FORMATS = {
    ".parquet": OutputFormat(False, _write_parquet, _join_parquet),
    ".csv": _text(_csv, False, False),
    ".csv.gz": _text(_csv, True, False),
    ".jsonl": _text(_json_lines, False, True),
    ".jsonl.gz": _text(_json_lines, True, True),
}
VECTOR_FORMATS = {
    ".parquet": OutputFormat(False, _write_parquet, _join_parquet),
    ".npy": OutputFormat(False, _write_lines, _join_npy, ("", ".txt")),
}
