"""What the workers of `pipeline` do: plain functions of elements, without Apache Beam in them."""

import glob
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from tfrec_attn.data.reading.interactions import count_times, read_slices, write_rejected
from tfrec_attn.data.reading.log_parts import parts_of
from tfrec_attn.data.reading.times import LogTimes, MixedTimes, TimeRule
from tfrec_attn.data.sequences.ids import MISSING, IdFilter, unified
from tfrec_attn.data.shards.local_preparation import shard_of
from tfrec_attn.data.shards.prepared import REJECTED, Facts
from tfrec_attn.errors import ConfigError, DataError, TfrecError

_FILE = 1 << 44  # rows


class Event(NamedTuple):
    """An event and its place in the log: the number of its file times 2 to the 44th, and its row."""

    user: str
    item: str
    time: int | float
    place: int

    def line(self) -> str:
        """The event as a line of text; ids hold neither tabs nor line breaks."""
        return f"{self.user}\t{self.item}\t{self.time!r}\t{self.place}"

    @classmethod
    def parse(cls, line: str) -> "Event":
        """The event of a line."""
        user, item, time, place = line.split("\t")
        return cls(user, item, float(time) if "." in time or "e" in time else int(time), int(place))


def read_log(
    numbered: tuple[int, str],
    options: Mapping[str, object],
    ids: tuple[bool, bool],
    work: str,
    rules: Mapping[str, TimeRule] | None,
) -> Iterator[Event | dict[str, object]]:
    """Yields the events of a file, and at last what is known of it.

    That is {"file", "error"}, or {"file", "events", "times", "rejected", "whole_times", "unified",
    "missing"}. Where the `times` are not of one kind, some events are missing.

    Args:
        numbered: The number of the file and its path, local or of one of Beam's file systems.
        options: Keywords of `read_slices`.
        ids: Arguments of `IdFilter`.
        work: Folder of the rejected lines.
        rules: Which numbers or dates of each file are times, or None as long as nobody knows.
    """
    number, path = numbered
    events, stayed, rejected, whole, seen, chosen = 0, 0, 0, True, LogTimes(), IdFilter(*ids)
    with tempfile.TemporaryDirectory() as folder:
        try:
            local = _local(path, Path(folder))
            rule = {"seen": seen} if rules is None else {"rule": rules[path]}
            for frame, bad in read_slices(local, **options, **rule):
                if bad:
                    write_rejected(Path(folder) / REJECTED, path, bad)
                rejected += len(bad)
                events += frame.height
                whole &= frame["timestamp"].dtype.is_integer() or not frame.height
                stay = chosen(frame)
                rows = zip(
                    stay["user_id"], stay["item_id"], stay["timestamp"].to_list(), strict=True
                )
                yield from (
                    Event(*row, number * _FILE + place) for place, row in enumerate(rows, stayed)
                )
                stayed += stay.height
        except MixedTimes:
            seen = count_times([local], **options)
        except TfrecError as error:
            yield {"file": path, "error": str(error).replace(str(local), path)}
            return
        if rejected:
            copy(Path(folder) / REJECTED, f"{work}/rejected-{number:05d}.tsv")
    yield {
        "file": path,
        "events": events,
        "times": seen.to_dict(str(local)),
        "rejected": rejected,
        "whole_times": whole,
        "unified": chosen.unified,
        "missing": chosen.missing,
    }


def common_writing(one: str) -> list[tuple[str, str]]:
    """An id under its common writing."""
    return [(common, one) for common in unified(pl.Series([one]))]


def several_writings(group: tuple[str, Iterable[str]]) -> list[str]:
    """A line of JSON with a common writing and its several ones, none where there is one."""
    writings = sorted(set(group[1]))
    return [json.dumps([group[0], writings])] if len(writings) > 1 else []


def missing_word(one: str) -> list[str]:
    """The id where it is a word for "missing"."""
    return [one] if one.strip() in MISSING else []


def key_of_copies(event: Event, whole: bool) -> tuple[str, Event]:
    """An event under what its copies have in common."""
    return f"{event.user}\t{event.item}\t{event.time if whole else float(event.time)!r}", event


def first_of(group: tuple[str, Iterable[Event]]) -> Event:
    """Of events that are copies of each other the first."""
    return min(group[1], key=lambda event: event.place)


def enough(group: tuple[str, Iterable[Event]], least: int) -> Iterable[Event]:
    """The events of a user or item that has at least so many, none of another; they may be read
    twice.
    """
    return group[1] if sum(1 for _ in islice(group[1], least)) == least else ()


def by_place(first: list[tuple[str, int]]) -> list[str]:
    """The ids in the order of their first places."""
    return [one for one, _ in sorted(first, key=lambda pair: pair[1])]


def with_user_rows(joined: tuple[str, Mapping[str, Iterable]]) -> Iterator[tuple[str, tuple]]:
    """Yields (item, (place, user row, time)) for the events of a user joined with his row."""
    (row,) = joined[1]["rows"]
    return ((item, (place, row, time)) for item, time, place in joined[1]["events"])


def with_item_indices(
    joined: tuple[str, Mapping[str, Iterable]], shards: int
) -> Iterator[tuple[int, tuple]]:
    """Yields (shard, (place, user row, item index, time)) for the events of an item joined with its
    row.
    """
    (item,) = joined[1]["rows"]
    return (
        (row % shards, (place, row, item + 1, time)) for place, row, time in joined[1]["events"]
    )


def write_one_shard(
    grouped: tuple[int, Iterable[tuple]], facts: Mapping[str, object], work: str
) -> str:
    """Writes the events of a shard, tuples (place, user row, item index, time) in any order, and
    returns its name.
    """
    from tfrec_attn.data.shards.shard_files import shard_name, write_shard

    number, events = grouped
    of_log = Facts(**facts)
    _, rows, items, times = (np.array(column) for column in zip(*sorted(events), strict=True))
    times = times.astype(np.int64 if of_log.whole_times else np.float64)
    name = shard_name(number, of_log.shards)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write_shard(
            path, shard_of(number, of_log, rows.astype(np.int64), items.astype(np.int32), times)
        )
        copy(path, f"{work}/{name}")
    return name


def write_lines(lines: Iterable[str], path: str) -> str:
    """Writes a text file and returns its path."""
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.create(path) as out:
        for line in lines:
            out.write(f"{line}\n".encode())
    return path


def files(pattern: str) -> list[str]:
    """The paths of all files of a pattern, in order."""
    from apache_beam.io.filesystems import FileSystems

    return sorted(found.path for found in FileSystems.match([pattern])[0].metadata_list)


def read_lines(pattern: str) -> Iterator[str]:
    """Yields the lines of all files of a pattern, in order of their names."""
    from apache_beam.io.filesystems import FileSystems

    for path in files(pattern):
        with FileSystems.open(path) as stream:
            yield from (line.decode().removesuffix("\n") for line in stream)


def read_json(pattern: str) -> list[dict[str, object]]:
    """The objects in files of one a line."""
    return [json.loads(line) for line in read_lines(pattern)]


def copy(source: str | Path, target: str | Path) -> None:
    """Copies a file from one of Beam's file systems to another."""
    from apache_beam.io.filesystems import CompressionTypes, FileSystems

    plain = CompressionTypes.UNCOMPRESSED
    with (
        FileSystems.open(str(source), compression_type=plain) as stream,
        FileSystems.create(str(target), compression_type=plain) as out,
    ):
        shutil.copyfileobj(stream, out, 1 << 22)


def _local(path: str, folder: Path) -> Path:
    """The file itself where it is local, else a copy in a folder."""
    if "://" not in path:
        return Path(path)
    target = folder / path.rpartition("/")[2]
    copy(path, target)
    return target


def parts_of_logs(logs: Sequence[str]) -> dict[str, list[str]]:
    """The files of each log, in order; one that is not on this machine is taken as it is, for the
    workers may see it.

    Raises:
        ConfigError: If a file is in two logs.
        DataError: As `tfrec_attn.data.reading.log_parts.parts_of` does.
    """
    found = {log: _remote_parts(log) if "://" in log else _local_parts(log) for log in logs}
    paths = [path for parts in found.values() for path in parts]
    if len(set(paths)) < len(paths):
        raise ConfigError(
            f"{next(path for path in paths if paths.count(path) > 1)} is given twice."
        )
    return found


def _local_parts(log: str) -> list[str]:
    log = os.path.expanduser(log)
    here = os.path.exists(log) or glob.escape(log) != log
    return [str(part) for part in parts_of(log)] if here else [log]


def _remote_parts(log: str) -> list[str]:
    found = files(log)
    if found == [log]:
        return found
    parts = [
        path
        for path in found or files(f"{log.rstrip('/')}/*")
        if not path.rpartition("/")[2].startswith((".", "_"))
    ]
    if not parts:
        raise DataError(f"{log} does not exist: expected a file, a folder of parts or a pattern.")
    return parts


@contextmanager
def working_folder(path: str) -> Iterator[str]:
    """A new folder in a folder of one of Beam's file systems, removed at the end with nothing else
    of what lies there.
    """
    from apache_beam.io.filesystems import FileSystems

    own = f"{path.rstrip('/')}/tfrec-attn-{secrets.token_hex(8)}"
    made = not FileSystems.exists(path)
    FileSystems.mkdirs(own)
    try:
        yield own
    finally:
        if FileSystems.exists(own):
            FileSystems.delete([own])
        if made and "://" not in path:
            with suppress(OSError):
                Path(path).rmdir()
