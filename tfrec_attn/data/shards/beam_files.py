"""Files of the file systems of Apache Beam, local or remote."""

import glob
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tfrec_attn.data.reading.log_parts import parts_of
from tfrec_attn.errors import ConfigError, DataError


def files(pattern: str) -> list[str]:
    """Returns the paths of all files of a pattern, in order."""
    from apache_beam.io.filesystems import FileSystems

    return sorted(found.path for found in FileSystems.match([pattern])[0].metadata_list)


def read_lines(pattern: str) -> Iterator[str]:
    """Yields the lines of all files of a pattern, in order of their names."""
    from apache_beam.io.filesystems import FileSystems

    for path in files(pattern):
        with FileSystems.open(path) as stream:
            yield from (line.decode().removesuffix("\n") for line in stream)


def read_json(pattern: str) -> list:
    """Returns the values of the JSON lines in all files of a pattern."""
    return [json.loads(line) for line in read_lines(pattern)]


def write_lines(lines: Iterable[str], path: str) -> str:
    """Writes a text file and returns its path."""
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.create(path) as out:
        for line in lines:
            out.write(f"{line}\n".encode())
    return path


def copy(source: str | Path, target: str | Path) -> None:
    """Copies a file."""
    from apache_beam.io.filesystems import CompressionTypes, FileSystems

    plain = CompressionTypes.UNCOMPRESSED
    with (
        FileSystems.open(str(source), compression_type=plain) as stream,
        FileSystems.create(str(target), compression_type=plain) as out,
    ):
        shutil.copyfileobj(stream, out, 1 << 22)


def local_copy(path: str, folder: Path) -> Path:
    """Returns the file itself if it is local, else a copy of it in a folder."""
    if "://" not in path:
        return Path(path)
    target = folder / path.rpartition("/")[2]
    copy(path, target)
    return target


@contextmanager
def working_folder(path: str) -> Iterator[str]:
    """Makes a new folder in a folder; at the end it is removed, and nothing else."""
    from apache_beam.io.filesystems import FileSystems

    own = f"{path.rstrip('/')}/tfrec-attn-{secrets.token_hex(8)}"
    is_new = not FileSystems.exists(path)
    FileSystems.mkdirs(own)
    try:
        yield own
    finally:
        if FileSystems.exists(own):
            FileSystems.delete([own])
        if is_new and "://" not in path:
            with suppress(OSError):
                Path(path).rmdir()


def parts_of_logs(logs: Sequence[str]) -> dict[str, list[str]]:
    """Returns the files of each log, in order.

    A local path that does not exist on this machine is one file, because the workers may have it.

    Raises:
        ConfigError: If a file is in two logs.
        DataError: As `tfrec_attn.data.reading.log_parts.parts_of` does.
    """
    found = {log: _remote_parts(log) if "://" in log else _local_parts(log) for log in logs}
    paths = [path for parts in found.values() for path in parts]
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
