"""What the workers of `pipeline` do: plain functions of elements, without Apache Beam in them."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from tfrec_attn.data.reading.interactions import count_times, read_slices
from tfrec_attn.data.reading.rejections import write_rejected
from tfrec_attn.data.reading.time_rule import LogTimes, MixedTimes, TimeRule
from tfrec_attn.data.sequences.ids import MISSING, IdFilter, unified
from tfrec_attn.data.shards.beam_files import copy, local_copy
from tfrec_attn.data.shards.manifest import PartitionedLog
from tfrec_attn.data.shards.prepared_log import REJECTED
from tfrec_attn.data.shards.shard_files import shard_of
from tfrec_attn.errors import TfrecError

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
            local = local_copy(path, Path(folder))
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
    grouped: tuple[int, Iterable[tuple]], partitioned: Mapping[str, object], work: str
) -> str:
    """Writes the events of a shard, tuples (place, user row, item index, time) in any order, and
    returns its name.
    """
    from tfrec_attn.data.shards.shard_files import shard_name, write_shard

    number, events = grouped
    of_log = PartitionedLog(**partitioned)
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




















