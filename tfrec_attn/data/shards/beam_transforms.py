"""The functions that the workers of the Beam pipelines apply to elements."""

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
from tfrec_attn.data.shards.shard_files import make_shard, shard_name, write_shard
from tfrec_attn.errors import TfrecError

KINDS = ("users", "items")
_FILE = 1 << 44  # rows


class Event(NamedTuple):
    """An event, and its place in the log: the number of its file times 2^44 plus its row."""

    user: str
    item: str
    time: int | float
    place: int

    def line(self) -> str:
        """Returns the event as a line of text; ids hold neither tabs nor line breaks."""
        return f"{self.user}\t{self.item}\t{self.time!r}\t{self.place}"

    @classmethod
    def parse(cls, line: str) -> "Event":
        """Returns the event of a line."""
        user, item, time, place = line.split("\t")
        return cls(user, item, float(time) if "." in time or "e" in time else int(time), int(place))


def read_log(
    numbered: tuple[int, str],
    options: Mapping[str, object],
    ids: tuple[bool, bool],
    work: str,
    rules: Mapping[str, TimeRule] | None,
) -> Iterator[Event | dict[str, object]]:
    """Yields the events of a file, and then what is known of the file.

    The latter is {"file", "error"}, or {"file", "events", "times", "rejected", "whole_times",
    "unified", "missing"}. If the times are not of one kind, some events are missing.

    Args:
        numbered: The number of the file and its path, local or remote.
        options: Keywords of `read_slices`.
        ids: Arguments of `IdFilter`.
        work: Folder of the rejected lines.
        rules: The time rule of each file, or None in the first pass, before it is known.
    """
    number, path = numbered
    events, kept, rejected, whole = 0, 0, 0, True
    seen, id_filter = LogTimes(), IdFilter(*ids)
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
                frame = id_filter(frame)
                columns = (frame[name].to_list() for name in ("user_id", "item_id", "timestamp"))
                rows = enumerate(zip(*columns, strict=True), kept)
                yield from (Event(*row, number * _FILE + place) for place, row in rows)
                kept += frame.height
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
        "unified": id_filter.unified,
        "missing": id_filter.missing,
    }


def common_spelling(one: tuple[str, str]) -> list[tuple[tuple[str, str], str]]:
    """Returns an id with its kind and its common spelling as the key."""
    kind, spelling = one
    return [((kind, common), spelling) for common in unified(pl.Series([spelling]))]


def several_spellings(group: tuple[tuple[str, str], Iterable[str]]) -> list[tuple]:
    """Returns a common spelling with its spellings, if there are several."""
    spellings = sorted(set(group[1]))
    return [(group[0], spellings)] if len(spellings) > 1 else []


def is_missing_word(one: tuple[str, str]) -> bool:
    """Returns whether an id is a word for "missing"."""
    return one[1].strip() in MISSING


def key_of_copies(event: Event, whole: bool) -> tuple[str, Event]:
    """Returns an event with a key that its copies share."""
    return f"{event.user}\t{event.item}\t{event.time if whole else float(event.time)!r}", event


def first_of(group: tuple[str, Iterable[Event]]) -> Event:
    """Returns the first of several copies of an event."""
    return min(group[1], key=lambda event: event.place)


def enough(group: tuple[str, Iterable[Event]], least: int) -> Iterable[Event]:
    """Returns the events of a user or item if there are at least `least`, else none."""
    return group[1] if sum(1 for _ in islice(group[1], least)) == least else ()


def by_place(first: list[tuple[str, int]]) -> list[str]:
    """Returns the ids in the order of their first places."""
    return [one for one, _ in sorted(first, key=lambda pair: pair[1])]


def with_user_rows(joined: tuple[str, Mapping[str, Iterable]]) -> Iterator[tuple[str, tuple]]:
    """Yields (item, (place, user row, time)) for the events of a user."""
    (row,) = joined[1]["rows"]
    return ((item, (place, row, time)) for item, time, place in joined[1]["events"])


def with_item_indices(
    joined: tuple[str, Mapping[str, Iterable]], shards: int
) -> Iterator[tuple[int, tuple]]:
    """Yields (shard, (place, user row, item index, time)) for the events of an item."""
    (item,) = joined[1]["rows"]
    return (
        (row % shards, (place, row, item + 1, time)) for place, row, time in joined[1]["events"]
    )


def write_one_shard(
    grouped: tuple[int, Iterable[tuple]], partitioned: Mapping[str, object], work: str
) -> str:
    """Writes the events of a shard and returns its name.

    Args:
        grouped: The number of the shard, and tuples (place, user row, item index, time) in any
            order.
        partitioned: Keywords of `PartitionedLog`.
        work: Folder of the shards.
    """
    (number, events), log = grouped, PartitionedLog(**partitioned)
    _, rows, items, times = (np.array(column) for column in zip(*sorted(events), strict=True))
    times = times.astype(np.int64 if log.whole_times else np.float64)
    shard = make_shard(number, log, rows.astype(np.int64), items.astype(np.int32), times)
    name = shard_name(number, log.shards)
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / name, shard)
        copy(Path(folder) / name, f"{work}/{name}")
    return name
