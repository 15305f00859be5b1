"""Prepares logs on one machine, in passes over parts that fit into memory."""

import errno
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tfrec_attn.cli.terminal import ProgressLine
from tfrec_attn.config import Data
from tfrec_attn.data.reading.interactions import count_times, read_slices
from tfrec_attn.data.reading.log_parts import all_parts, parts_of
from tfrec_attn.data.reading.rejections import write_rejected
from tfrec_attn.data.reading.time_rule import LogTimes, MixedTimes
from tfrec_attn.data.sequences.encoding import nothing_left
from tfrec_attn.data.sequences.event_filters import (
    EventFilter,
    EventFilterReport,
    has_event_filters,
)
from tfrec_attn.data.sequences.filter_report import Statistics
from tfrec_attn.data.sequences.ids import IdProblems, IdReport
from tfrec_attn.data.sequences.k_core import KCore, k_core
from tfrec_attn.data.sequences.sessions import owners_of
from tfrec_attn.data.sequences.splits import period, require_bounds, require_long_enough
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.data.shards.coded_log import (
    CodedLog,
    IdEncoder,
    count_partition_copies,
    partition,
    read_partition,
)
from tfrec_attn.data.shards.coded_sessions import cut_users
from tfrec_attn.data.shards.manifest import VERSION, Manifest, PartitionedLog
from tfrec_attn.data.shards.preparation_folder import (
    STATE,
    check_target,
    claimed,
    complete,
    partial_of,
)
from tfrec_attn.data.shards.prepared_log import ITEMS, OPTIONS, READING, REJECTED, USERS, option
from tfrec_attn.data.shards.shard_files import make_shard, number_of_shards, shard_name, write_shard
from tfrec_attn.errors import DataError, counted
from tfrec_attn.files.work_folder import remove
from tfrec_attn.runtime.process import import_tensorflow

_THREADS = 2
_SAMPLE = 1 << 16  # bytes of a log


def prepare_log(
    logs: Sequence[str],
    to: str | Path,
    data: Data,
    shards: int | None = None,
    *,
    restart: bool = False,
) -> Manifest:
    """Prepares logs into a folder, which gets its name when it is complete.

    Unfinished work of the same call is resumed.

    Args:
        logs: Files, folders or patterns, in order. Events of a user at the same time stay in the
            order of the files and of their lines.
        to: The folder, which must not exist; `to`.partial holds the work.
        data: The section `data` of a configuration, of which the keys in `OPTIONS` are used.
        shards: Number of shards. None means one for each million events and at least 8, but not
            more than there are users.
        restart: Whether to remove unfinished work, and to replace a complete folder once the new
            one is complete.

    Raises:
        ConfigError: If `to` exists, if unfinished work of another call is there, or if another
            process prepares it.
        DataError: If a log cannot be read, if nothing is left of it, or if there is no space. What
            was there before stays.
    """
    target, progress = Path(to), ProgressLine()
    require_bounds(data.split, valid_from=data.valid_from, test_from=data.test_from)
    request = _request(logs, data, shards)
    check_target(target, restart)
    if restart:
        _read_beginnings(logs, data)
    try:
        with claimed(target, request, restart) as work:
            partitioned = _resumed(work.folder)
            if partitioned is None:
                partitioned = _partition(logs, work.folder, data, request, progress)
            _write_shards(work.folder, partitioned, progress)
            return complete(work, target, partitioned)
    except OSError as error:
        full = error.errno == errno.ENOSPC or "No space left" in str(error)
        reason = (
            "no space is left: free some, and run the same command again"
            if full
            else error.strerror or error
        )
        raise DataError(f"{partial_of(target)} cannot be written, {reason}.") from error
    finally:
        progress.clear()


def _request(logs: Sequence[str], data: Data, shards: int | None) -> dict[str, object]:
    """Returns what is to be prepared; unfinished work of an equal request is resumed."""
    try:
        files = [
            [str(log.resolve()), os.stat(log).st_size, os.stat(log).st_mtime_ns]
            for log in all_parts(logs)
        ]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error
    options = {key: option(data, key) for key in OPTIONS}
    return {"version": VERSION, "logs": files, "options": options, "shards": shards}


def _read_beginnings(logs: Sequence[str], data: Data) -> None:
    """Reads the beginning of each log, so that nothing is removed for a file that is not a log."""
    options = {key: option(data, key) for key in READING}
    for path in all_parts(logs):
        with (
            closing(read_slices(path, **options, seen=LogTimes(), slice_bytes=_SAMPLE)) as parts,
            suppress(MixedTimes),
        ):
            next(parts, None)


def _resumed(partial: Path) -> PartitionedLog | None:
    """Returns what is known of unfinished work whose events are partitioned."""
    try:
        return PartitionedLog(**json.loads((partial / "work" / STATE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _partition(
    logs: Sequence[str],
    partial: Path,
    data: Data,
    request: dict[str, object],
    progress: ProgressLine,
) -> PartitionedLog:
    """Reads and filters the logs, writes the vocabularies, and partitions the events."""
    work = partial / "work"
    for folder in (work / "log", work / "partitions"):
        folder.mkdir(parents=True, exist_ok=True)
    log, users, items, rejected, filtered = _read(logs, partial, data, progress)
    if data.duplicates == "drop":
        filtered = replace(filtered, duplicates=log.drop_copies())
    user_ids, filtered = _cut_users(log, users.ids, data, filtered)
    before = Statistics(log.events, log.users, log.items)
    owners = user_ids if data.session_gap is None else owners_of(user_ids)
    ids = IdReport(
        IdProblems.of(owners, lambda: log.counts("users")),
        IdProblems.of(items.ids, lambda: log.counts("items")),
    )
    progress("filtering", 0, 1)
    least = data.min_user_events, data.min_item_events
    core = k_core(log.codes, (log.users, log.items), least)
    after = _size(core, before, data)
    Vocabulary(user_ids.gather(core.user_codes)).save(partial / USERS)
    Vocabulary(items.ids.gather(core.item_codes)).save(partial / ITEMS)
    del users, user_ids, owners, items
    shards = number_of_shards(request["shards"], after.events, after.users)
    times = partition(log, core, work / "partitions", shards)
    bounds, duplicates = None, None
    if data.split == "temporal":
        bounds = period(data.valid_from, data.test_from, times.quantile)
    if "type" in log.others:
        duplicates = count_partition_copies(work / "partitions", shards, log.whole_times)
    partitioned = PartitionedLog(
        logs=[path.name for path in all_parts(logs)],
        options=request["options"],
        before=asdict(before),
        after=asdict(after),
        rejected=rejected,
        whole_times=log.whole_times,
        shards=shards,
        period=bounds,
        selection=filtered.to_dict() if has_event_filters(data) else None,
        duplicates=duplicates,
        ids=ids.to_dict(),
    )
    remove(work / "log", ("*.npy",))
    state = work / f"{STATE}.part"
    state.write_text(json.dumps(asdict(partitioned)), encoding="utf-8")
    state.rename(work / STATE)
    return partitioned


def _cut_users(
    log: CodedLog, ids: pl.Series, data: Data, filtered: EventFilterReport
) -> tuple[pl.Series, EventFilterReport]:
    """Splits sessions and collapses repeats; returns the ids of the users, and what was done."""
    if data.session_gap is None and data.repeats == "keep":
        return ids, filtered
    ids, repeats = cut_users(log, ids, data.session_gap, data.repeats == "collapse")
    sessions = None if data.session_gap is None else log.users
    repeats = None if data.repeats == "keep" else repeats
    return ids, replace(filtered, sessions=sessions, repeats=repeats)


class _Read(NamedTuple):
    """A log on disk, the ids of its codes, its lines in error, and what the event filters did."""

    log: CodedLog
    users: IdEncoder
    items: IdEncoder
    rejected: int
    filtered: EventFilterReport


def _read(logs: Sequence[str], partial: Path, data: Data, progress: ProgressLine) -> _Read:
    """Reads all logs, and writes the codes of the events that stay."""
    try:
        return _read_once(logs, partial, data, progress, None)
    except MixedTimes:
        for path in [partial / REJECTED, *(partial / "work" / "log").iterdir()]:
            path.unlink(missing_ok=True)
        options = {key: option(data, key) for key in READING}
        return _read_once(logs, partial, data, progress, count_times(all_parts(logs), **options))


def _read_once(
    logs: Sequence[str], partial: Path, data: Data, progress: ProgressLine, times: LogTimes | None
) -> _Read:
    """Reads all logs by the rule of these times, or by their own while these are of one kind."""
    log, users, items, types = (
        CodedLog(partial / "work" / "log"),
        IdEncoder(),
        IdEncoder(),
        IdEncoder(),
    )
    event_filter, seen, rejected = EventFilter(data), LogTimes(), 0
    options = {key: option(data, key) for key in READING}
    done, total = 0, sum(os.stat(path).st_size for path in all_parts(logs))
    for name in logs:
        events = event_filter.events
        for path in parts_of(name):
            rule = {"seen": seen} if times is None else {"rule": times.rule(str(path))}
            for frame, bad in read_slices(path, **options, **rule):
                rejected += len(bad)
                if bad:
                    write_rejected(partial / REJECTED, path, bad)
                if frame.height:
                    if "timestamp" not in frame.columns:
                        row = pl.int_range(pl.len(), dtype=pl.Int64) + event_filter.events
                        frame = frame.with_columns(timestamp=row)
                    frame = event_filter(frame)
                    others = {}
                    if "event" in frame.columns:
                        others["type"] = types.encode(frame["event"])
                    if "weight" in frame.columns:
                        others["weight"] = frame["weight"].to_numpy()
                    codes = users.encode(frame["user_id"]), items.encode(frame["item_id"])
                    log.append(*codes, frame["timestamp"].to_numpy(), **others)
                progress("reading", done, total)
            done += os.stat(path).st_size
        if event_filter.events == events:
            raise DataError(no_interactions(name, rejected))
    log.users, log.items = len(users), len(items)
    return _Read(log, users, items, rejected, event_filter.report())


def no_interactions(log: str, rejected: int) -> str:
    """Returns the error message for a log without events."""
    were = ("line was", "lines were")
    lines = f": all {counted(rejected, *were, form='')} rejected" if rejected else ""
    return f"{log} holds no interactions{lines}."


def _size(core: KCore, before: Statistics, data: Data) -> Statistics:
    """Returns the size of what is left, which must be enough for the split."""
    if not len(core.user_codes):
        raise DataError(nothing_left(data.min_user_events, data.min_item_events, before))
    if data.split == "leave-one-out":
        require_long_enough(int(core.lengths.max()))
    return Statistics(int(core.lengths.sum()), len(core.user_codes), len(core.item_codes))


def _write_shards(partial: Path, log: PartitionedLog, progress: ProgressLine) -> None:
    """Writes the shards that are not there yet."""
    import_tensorflow()

    def write(number: int) -> None:
        path = partial / shard_name(number, log.shards)
        if not path.exists():
            events = read_partition(partial / "work" / "partitions", number, log.whole_times)
            write_shard(path, make_shard(number, log, *events))

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for done, _ in enumerate(pool.map(write, range(log.shards))):
                progress("writing", done, log.shards)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
