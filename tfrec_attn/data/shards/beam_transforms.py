"""The functions that the workers of the Beam pipelines apply to files and to partitions of a log.

A partition has all events of some users, as Arrow tables in files of the shared folder. A worker
has one partition or one shard in memory at a time. The engine does not handle events.
"""

import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrec_attn.config import Data
from tfrec_attn.data.reading.interactions import count_times, read_slices
from tfrec_attn.data.reading.rejections import write_rejected
from tfrec_attn.data.reading.time_rule import LogTimes, MixedTimes, TimeRule
from tfrec_attn.data.sequences.copies import without_copies
from tfrec_attn.data.sequences.event_filters import EventFilter, filter_sequences
from tfrec_attn.data.sequences.ids import IdProblems, unified
from tfrec_attn.data.sequences.sessions import owners_of
from tfrec_attn.data.sequences.vocabulary import encode_ids
from tfrec_attn.data.shards.beam_files import (
    copy,
    local_copy,
    pack,
    read_frame,
    write_bytes,
    write_frame,
    write_json,
)
from tfrec_attn.data.shards.manifest import PartitionedLog
from tfrec_attn.data.shards.prepared_log import READING, REJECTED, option
from tfrec_attn.data.shards.segment_file import read_part, segment_file, unpack
from tfrec_attn.data.shards.shard_files import make_shard, shard_name, write_shard
from tfrec_attn.errors import TfrecError
from tfrec_attn.runtime.beam_runner import require_version

_FILE = 1 << 44  # more rows than a file has


def part_of(ids: pl.Series, count: int) -> np.ndarray:
    """Returns the part of each row, by its id; all spellings of an id are in the same part.

    Args:
        ids: The id of each row.
        count: Number of parts.
    """
    distinct, codes = encode_ids(ids)
    sums = (zlib.crc32(one.encode("utf-8", "surrogatepass")) for one in unified(distinct))
    return (np.fromiter(sums, np.int64, len(distinct)) % count)[codes]


def split_by(frame: pl.DataFrame, ids: str, count: int) -> Iterator[tuple[int, bytes]]:
    """Yields the number and the packed rows of each part of a frame, by a column of ids."""
    parts = frame.with_columns(part=part_of(frame[ids], count))
    for (number,), rows in parts.partition_by("part", as_dict=True, include_key=False).items():
        yield number, pack(rows)


def read_log(
    numbered: tuple[int, str],
    data: Data,
    events: str,
    work: str,
    partitions: int,
    rules: Mapping[str, TimeRule] | None,
    version: str,
) -> None:
    """Writes the events of a file by partition, and a description of the file.

    The description is {"file", "error"}, or {"file", "times", "rejected", "whole_times",
    "filtered", "partitions"}. If the times are of several kinds, some events are missing.

    Args:
        numbered: The number of the file and its path, local or remote.
        data: How to read and filter the log.
        events: Folder of the events, with a file of segments for each file of the log.
        work: Folder of the rejected lines.
        partitions: Number of partitions.
        rules: Path of a file -> its time rule. None in the first pass, before the rules are known.
        version: Version of the package in the process that started the pipeline.
    """
    number, path = numbered
    require_version(version)
    options = {key: option(data, key) for key in READING}
    event_filter, rejected, whole, seen = EventFilter(data), 0, True, LogTimes()
    with (
        tempfile.TemporaryDirectory() as folder,
        segment_file(f"{events}/{number}", partitions) as out,
    ):
        local = Path(path)
        try:
            local = local_copy(path, Path(folder))
            rule = {"seen": seen} if rules is None else {"rule": rules[path]}
            for frame, bad in read_slices(local, **options, **rule):
                if bad:
                    write_rejected(Path(folder) / REJECTED, path, bad)
                rejected += len(bad)
                if frame.height:
                    whole &= "timestamp" not in frame or frame["timestamp"].dtype.is_integer()
                    place = pl.int_range(pl.len(), dtype=pl.Int64) + event_filter.events
                    frame = event_filter(frame.with_columns(place=place + number * _FILE))
                    if frame.height:
                        part = part_of(frame["user_id"], partitions)
                        out.add(frame.drop("rating", strict=False), part)
        except MixedTimes:
            seen = count_times([local], **options)
        except TfrecError as error:
            problem = str(error).replace(str(local), path)
            write_json({"file": path, "error": problem}, f"{events}/{number}.json")
            return
        if rejected:
            copy(Path(folder) / REJECTED, f"{work}/rejected-{number:05d}.tsv")
    found = {"file": path, "times": seen.to_dict(str(local)), "rejected": rejected}
    found |= {"whole_times": whole, "filtered": event_filter.counts()}
    found["partitions"] = np.flatnonzero(out.sizes).tolist()
    write_json(found, f"{events}/{number}.json")


def filter_users(
    number: int,
    data: Data,
    source: Sequence[str],
    target: str,
    whole: bool,
    begins: Sequence[int],
    items: int,
) -> Iterator[Any]:
    """Applies `filter_sequences` to a partition, and measures the events that stay.

    Args:
        number: Number of the partition.
        data: As for `filter_sequences`.
        source: Files of the events, in the order of the log.
        target: Folder of the filtered partitions.
        whole: Whether all times of the log are integers.
        begins: Number of events before each file, for a log without times.
        items: Number of parts of the items.

    Yields:
        (part, ids of items and their events), and in the output "filtered" the number of the
        partition.
    """
    from apache_beam.pvalue import TaggedOutput

    frame = _with_times(read_part(source, number), whole, np.array(begins, np.int64))
    frame, found = filter_sequences(frame, data)
    write_frame(frame, f"{target}/{number}")
    users, codes = encode_ids(frame["user_id"])
    owners = owners_of(users) if data.session_gap is not None else users
    problems = IdProblems.of(owners, lambda: np.bincount(codes))
    known = {"events": frame.height, "users": len(users), "ids": asdict(problems)}
    write_json({**known, "filtered": found}, f"{target}/{number}.json")
    yield TaggedOutput("filtered", number)
    yield from split_by(frame["item_id"].value_counts(name="events"), "item_id", items)


def _with_times(frame: pl.DataFrame, whole: bool, begins: np.ndarray) -> pl.DataFrame:
    if "timestamp" not in frame.columns:
        place = frame["place"].to_numpy()
        return frame.with_columns(timestamp=pl.Series(begins[place // _FILE] + place % _FILE))
    return frame.with_columns(pl.col("timestamp").cast(pl.Int64 if whole else pl.Float64))


def write_item_sizes(grouped: tuple[int, Iterable[bytes]], folder: str) -> None:
    """Writes the number of items in a part and the problems of their ids."""
    number, chunks = grouped
    counts = unpack(chunks).group_by("item_id").agg(pl.col("events").sum())
    problems = IdProblems.of(counts["item_id"], lambda: counts["events"].to_numpy())
    write_json({"items": counts.height, "ids": asdict(problems)}, f"{folder}/{number}.json")


def kept_events(path: str, kept: Sequence[str] | None, least: int) -> pl.DataFrame:
    """Returns the events of a partition with frequent items, of users with enough such events.

    Args:
        path: File of the partition.
        kept: Files of the items that stay. None: all items stay.
        least: Fewest events of a user that stays.
    """
    frame = read_frame(path)
    if kept is not None:
        items = pl.concat(
            [pl.DataFrame({"item_id": []}, {"item_id": pl.String}), *map(read_frame, kept)]
        )
        frame = frame.join(items, on="item_id", how="semi", maintain_order="left")
    return frame.filter(pl.len().over("user_id") >= least) if least > 1 else frame


def count_items(
    number: int, kept: Sequence[str] | None, folder: str, known: str, least: int, items: int
) -> Iterator[Any]:
    """Yields (part, items and their events) for the events that a round of the filter leaves.

    Args:
        number: Number of the partition.
        kept: Files of the items that stayed in the previous round; None in the first round.
        folder: Folder of the partitions.
        known: Folder for the numbers of events and users that are left.
        least: Fewest events of a user that stays.
        items: Number of parts of the items.
    """
    frame = kept_events(f"{folder}/{number}", kept, least)
    size = {"events": frame.height, "users": frame["user_id"].n_unique()}
    write_json(size, f"{known}/{number}.json")
    yield from split_by(frame["item_id"].value_counts(name="events"), "item_id", items)


def write_kept(grouped: tuple[int, Iterable[bytes]], folder: str, least: int) -> str:
    """Writes the frequent items of a part, and returns the file."""
    number, chunks = grouped
    counts = unpack(chunks).group_by("item_id").agg(pl.col("events").sum())
    items = counts.filter(pl.col("events") >= least).select("item_id")
    path = write_frame(items, f"{folder}/{number}")
    write_json({"file": path, "items": items.height}, f"{path}.json")
    return path


def write_kept_events(
    number: int, kept: Sequence[str] | None, source: str, target: str, least: int, items: int
) -> Iterator[Any]:
    """Writes the events of a partition that stay, and yields the first place of each id.

    Yields:
        (part, packed items), in the output "users" (0, packed users), and in the output "kept" the
        number of the partition.
    """
    from apache_beam.pvalue import TaggedOutput

    frame = kept_events(f"{source}/{number}", kept, least)
    write_frame(frame, f"{target}/{number}")
    left = without_copies(frame).height if "event" in frame.columns else frame.height
    write_json({"copies": frame.height - left}, f"{target}/{number}.json")
    yield TaggedOutput("kept", number)
    users = frame.group_by("user_id").agg(pl.col("place").min())
    yield TaggedOutput("users", (0, pack(users.with_columns(partition=pl.lit(number)))))
    yield from split_by(frame.group_by("item_id").agg(pl.col("place").min()), "item_id", items)


def first_places(grouped: tuple[int, Iterable[bytes]]) -> tuple[int, bytes]:
    """Returns the first place of each item of a part, with the same key for all parts."""
    return 0, pack(unpack(grouped[1]).group_by("item_id").agg(pl.col("place").min()))


def write_items(grouped: tuple[int, Iterable[bytes]], vocabulary: str, table: str) -> str:
    """Writes the vocabulary of the items by first appearance, and a table of their indices."""
    frame = unpack(grouped[1]).sort("place")
    write_vocabulary(frame["item_id"], vocabulary)
    index = pl.int_range(1, pl.len() + 1, dtype=pl.Int32)
    return write_frame(frame.select("item_id", index=index), table)


def write_users(grouped: tuple[int, Iterable[bytes]], vocabulary: str, folder: str) -> str:
    """Writes the vocabulary of the users by first appearance, and the rows of each partition."""
    frame = unpack(grouped[1]).sort("place")
    write_vocabulary(frame["user_id"], vocabulary)
    frame = frame.select("user_id", "partition", row=pl.int_range(pl.len(), dtype=pl.Int64))
    for (number,), rows in frame.partition_by("partition", as_dict=True).items():
        write_frame(rows.drop("partition"), f"{folder}/{number}")
    return folder


def write_vocabulary(ids: pl.Series, path: str) -> None:
    """Writes ids, one per line."""
    write_bytes("".join(f"{one}\n" for one in ids).encode("utf-8"), path)


def split_by_shard(
    number: int, events: str, users: str, table: str, target: str, shards: int
) -> Iterator[str]:
    """Writes the events of a partition by shard, with user rows and item indices instead of ids.

    Args:
        number: Number of the partition.
        events: Folder of the partitions.
        users: Folder of the user rows of each partition.
        table: File of the indices of the items.
        target: Folder of the files of segments.
        shards: Number of shards.

    Yields:
        The path of the written file, unless the partition is empty.
    """
    frame = read_frame(f"{events}/{number}")
    if not frame.height:
        return
    rows = frame.select("user_id").join(
        read_frame(f"{users}/{number}"), on="user_id", how="left", maintain_order="left"
    )["row"]
    items = frame.select("item_id").join(
        read_frame(table), on="item_id", how="left", maintain_order="left"
    )["index"]
    names = [name for name in ("timestamp", "weight") if name in frame.columns]
    path = f"{target}/{number}"
    with segment_file(path, shards) as out:
        events_of = frame.select(names).with_columns(row=rows, item=items)
        out.add(events_of, rows.to_numpy() % shards)
    yield path


def write_one_shard(
    number: int, files: Sequence[str], partitioned: Mapping[str, object], work: str
) -> str:
    """Writes the events of a shard, and returns the name of the shard.

    One partition has all events of a user, in the order of the log.

    Args:
        number: Number of the shard.
        files: The files of segments, in any order.
        partitioned: Keywords of `PartitionedLog`.
        work: Folder of the shards.
    """
    log = PartitionedLog(**partitioned)
    name = shard_name(number, log.shards)
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / name, make_shard(number, log, read_part(files, number)))
        write_bytes((Path(folder) / name).read_bytes(), f"{work}/{name}")
    return name
