"""Prepares logs on one machine, in passes over parts that fit into memory."""

import errno
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path

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
    filter_users,
    partition,
    read_segments,
)
from tfrec_attn.data.shards.manifest import VERSION, Manifest, PartitionedLog
from tfrec_attn.data.shards.order_statistics import quantile
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
from tfrec_attn.files.writing import replace_text
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
    """Prepares logs into a folder, which gets its name only when it is complete.

    Unfinished work of the same call is resumed.

    Args:
        logs: Files, folders or patterns, in order. Events of a user at the same time stay in the
            order of the files and of their lines.
        to: The folder, which must not exist. `to`.partial has the unfinished work.
        data: Section `data` of a configuration. Only its keys in `OPTIONS` are used.
        shards: Number of shards. None (default): one for each million events, at least 8 and at
            most the number of users.
        restart: Whether to remove unfinished work, and to replace a complete folder after the new
            folder is complete. Default False.

    Raises:
        ConfigError: If `to` exists, if there is unfinished work of another call, or if another
            process writes the folder.
        DataError: If a log cannot be read, if nothing of it is left, or if the folder cannot be
            written. A complete folder then stays.
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
    """Returns what to prepare. Unfinished work of an equal request is resumed."""
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
    """Reads the beginning of each log, so that a bad file is refused before anything is removed."""
    options = {key: option(data, key) for key in READING}
    for path in all_parts(logs):
        with (
            closing(read_slices(path, **options, seen=LogTimes(), slice_bytes=_SAMPLE)) as parts,
            suppress(MixedTimes),
        ):
            next(parts, None)


def _resumed(partial: Path) -> PartitionedLog | None:
    """Returns the description of unfinished work with partitioned events, or None."""
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
    log, rejected, filtered = _read(logs, partial, data, progress)
    if data.duplicates == "drop" or data.session_gap is not None or data.repeats == "collapse":
        log, found = filter_users(log, data)
        filtered = replace(filtered, **found)
    before = Statistics(log.events, len(log.user_ids), len(log.item_ids))
    owners = log.user_ids if data.session_gap is None else owners_of(log.user_ids)
    ids = IdReport(
        IdProblems.of(owners, lambda: log.counts("user_id")),
        IdProblems.of(log.item_ids, lambda: log.counts("item_id")),
    )
    progress("filtering", 0, 1)
    least = data.min_user_events, data.min_item_events
    core = k_core(log.codes, (before.users, before.items), least)
    after = _size(core, before, data)
    Vocabulary(log.user_ids.gather(core.user_codes)).save(partial / USERS)
    Vocabulary(log.item_ids.gather(core.item_codes)).save(partial / ITEMS)
    shards = number_of_shards(request["shards"], after.events, after.users)
    path, bounds, duplicates = _partitions(partial), None, None
    times = partition(log, core, path, shards)
    if data.split == "temporal":
        bounds = period(data.valid_from, data.test_from, lambda share: quantile(times, share))
    if data.columns.event is not None:
        parts = (read_segments(path, number) for number in range(shards))
        duplicates = sum(
            part.height - part.drop("weight", strict=False).n_unique() for part in parts
        )
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
    remove(work / "log", ("*.arrow", "*.arrow.index"))
    replace_text(work / STATE, json.dumps(asdict(partitioned)))
    return partitioned


# A log on disk, the number of its rejected lines, and the report of the event filters.
_Read = tuple[CodedLog, int, EventFilterReport]


def _read(logs: Sequence[str], partial: Path, data: Data, progress: ProgressLine) -> _Read:
    """Reads all logs, and writes the codes of the events that stay."""
    try:
        return _read_once(logs, partial, data, progress, None)
    except MixedTimes:
        (partial / REJECTED).unlink(missing_ok=True)
        options = {key: option(data, key) for key in READING}
        return _read_once(logs, partial, data, progress, count_times(all_parts(logs), **options))


def _read_once(
    logs: Sequence[str], partial: Path, data: Data, progress: ProgressLine, times: LogTimes | None
) -> _Read:
    """Reads all logs by the rule of `times`; if that is None, all times must be of one kind."""
    log, event_filter, seen = CodedLog(partial / "work" / "log"), EventFilter(data), LogTimes()
    rejected = 0
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
                    log.append(event_filter(frame))
                progress("reading", done, total)
            done += os.stat(path).st_size
        if event_filter.events == events:
            raise DataError(no_interactions(name, rejected))
    return log, rejected, event_filter.report()


def no_interactions(log: str, rejected: int) -> str:
    """Returns the error message for a log without events."""
    were = ("line was", "lines were")
    lines = f": all {counted(rejected, *were, form='')} rejected" if rejected else ""
    return f"{log} holds no interactions{lines}."


def _partitions(partial: Path) -> str:
    """Returns the path of the file with the events of each shard."""
    return str(partial / "work" / "partitions" / "events.arrow")


def _size(core: KCore, before: Statistics, data: Data) -> Statistics:
    """Returns the size of the log that is left, after a check that it is enough for the split."""
    if not len(core.user_codes):
        raise DataError(nothing_left(data.min_user_events, data.min_item_events, before))
    if data.split == "leave-one-out":
        require_long_enough(int(core.lengths.max()))
    return Statistics(int(core.lengths.sum()), len(core.user_codes), len(core.item_codes))


def _write_shards(partial: Path, log: PartitionedLog, progress: ProgressLine) -> None:
    """Writes the shards that do not exist yet."""
    import_tensorflow()

    def write(number: int) -> None:
        path = partial / shard_name(number, log.shards)
        if not path.exists():
            write_shard(path, make_shard(number, log, read_segments(_partitions(partial), number)))

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for done, _ in enumerate(pool.map(write, range(log.shards))):
                progress("writing", done, log.shards)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
