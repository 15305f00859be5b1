"""Files in the file systems of Apache Beam, local or remote."""

import glob
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import polars as pl

from tfrec_attn.data.reading.log_parts import parts_of
from tfrec_attn.errors import ConfigError, DataError

_AS_IT_IS = "uncompressed"  # Beam's CompressionTypes.UNCOMPRESSED


def files(pattern: str) -> list[str]:
    """Returns the paths of all files of a pattern, in order."""
    return sorted(found.path for found in _systems().match([pattern])[0].metadata_list)


def read_lines(pattern: str) -> Iterator[str]:
    """Yields the lines of all files of a pattern, in order of their names."""
    for path in files(pattern):
        with _systems().open(path) as stream:
            yield from (line.decode().removesuffix("\n") for line in stream)


def read_json(pattern: str) -> list:
    """Returns the values of all JSON files of a pattern, in order of their names."""
    return [json.loads("".join(read_lines(path))) for path in files(pattern)]


def read_frame(path: str, columns: list[str] | None = None) -> pl.DataFrame:
    """Reads a frame that `write_frame` has written."""
    with opened(path) as stream:
        return pl.read_ipc(io.BytesIO(stream.read()), columns=columns)


def write_frame(frame: pl.DataFrame, path: str) -> str:
    """Writes a frame as an Arrow file, and returns the path."""
    return write_bytes(pack(frame), path)


def pack(frame: pl.DataFrame) -> bytes:
    """Returns a frame as the bytes of an Arrow file."""
    out = io.BytesIO()
    frame.write_ipc(out, compression="lz4")
    return out.getvalue()


def write_bytes(content: bytes, path: str) -> str:
    """Writes a file that gets its name only when it is complete, and returns its path."""
    with complete_file(path) as out:
        out.write(content)
    return path


@contextmanager
def complete_file(path: str) -> Iterator[BinaryIO]:
    """Opens a file for writing, which gets its name only at the end of the context.

    If another worker has already written the file, that file stays.
    """
    part = f"{path}.{secrets.token_hex(4)}.part"
    try:
        with _created(part) as out:
            yield out
        if not _systems().exists(path):
            _systems().rename([part], [path])
    finally:
        if _systems().exists(part):
            _systems().delete([part])


def write_json(value: object, path: str) -> str:
    """Writes a value as JSON with `write_bytes`, and returns the path."""
    return write_bytes(json.dumps(value).encode(), path)


def size(path: str) -> int:
    """Returns the size of a file in bytes; 0 if this machine cannot see the file."""
    return sum(found.size_in_bytes for found in _systems().match([path])[0].metadata_list)


def copy(source: str | Path, target: str | Path) -> None:
    """Copies a file."""
    with opened(str(source)) as stream, _created(str(target)) as out:
        shutil.copyfileobj(stream, out, 1 << 22)


def opened(path: str) -> BinaryIO:
    """Opens a file for reading, without decompression."""
    return _systems().open(path, compression_type=_AS_IT_IS)


def _created(path: str) -> BinaryIO:
    return _systems().create(path, compression_type=_AS_IT_IS)


def _systems() -> type:
    """Returns Beam's file systems, which are imported late because the import is slow."""
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def local_copy(path: str, folder: Path) -> Path:
    """Returns the path of a local file, or of a copy of a remote file in a folder."""
    if "://" not in path:
        return Path(path)
    target = folder / path.rpartition("/")[2]
    copy(path, target)
    return target


@contextmanager
def working_folder(path: str) -> Iterator[str]:
    """Creates a new folder in a folder, and removes it at the end of the context.

    The outer folder is removed too, if it is local, new and empty.
    """
    own = f"{path.rstrip('/')}/tfrec-attn-{secrets.token_hex(8)}"
    is_new = not _systems().exists(path)
    _systems().mkdirs(own)
    try:
        yield own
    finally:
        if _systems().exists(own):
            _systems().delete([own])
        if is_new and "://" not in path:
            with suppress(OSError):
                Path(path).rmdir()


def parts_of_logs(logs: Sequence[str]) -> dict[str, list[str]]:
    """Returns the files of each log, in order.

    A local path that does not exist on this machine is taken as one file, because the workers can
    have it.

    Raises:
        ConfigError: If a file is given twice.
        DataError: As for `tfrec_attn.data.reading.log_parts.parts_of`.
    """
    found = {log: _remote_parts(log) if "://" in log else _local_parts(log) for log in logs}
    paths = [path for parts in found.values() for path in parts]
    paths = [path if "://" in path else os.path.realpath(path) for path in paths]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ConfigError(f"{twice} is given twice.")
    return found


def _local_parts(log: str) -> list[str]:
    log = os.path.expanduser(log)
    is_here = os.path.exists(log) or glob.escape(log) != log
    return [str(part) for part in parts_of(log)] if is_here else [log]


def _remote_parts(log: str) -> list[str]:
    found = files(log)
    if found == [log]:
        return found
    found = found or files(f"{log.rstrip('/')}/*")
    parts = [path for path in found if not path.rpartition("/")[2].startswith((".", "_"))]
    if not parts:
        raise DataError(f"{log} does not exist: expected a file, a folder of parts or a pattern.")
    return parts
