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

from tfrec_attn.cli.progress_line import ProgressLine
from tfrec_attn.config import Data
from tfrec_attn.data.reading.interactions import count_times, read_slices
from tfrec_attn.data.reading.log_parts import all_parts, parts_of
from tfrec_attn.data.reading.rejections import write_rejected
from tfrec_attn.data.reading.time_rule import LogTimes, MixedTimes
from tfrec_attn.data.sequences.event_filters import (
    EventFilter,
    EventFilterReport,
    has_event_filters,
)
from tfrec_attn.data.sequences.filter_report import Statistics
from tfrec_attn.data.sequences.ids import IdProblems, IdReport
from tfrec_attn.data.sequences.splits import (
    period,
    require_bounds,
    require_long_enough,
)
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.data.shards.coded_log import (
    CodedLog,
    IdEncoder,
    KCore,
    count_partition_copies,
    k_core_on_disk,
    partition,
    read_partition,
)
from tfrec_attn.data.shards.manifest import VERSION, Manifest, PartitionedLog
from tfrec_attn.data.shards.preparation_folder import (
    STATE,
    check_target,
    claimed,
    complete,
    number_of_shards,
    partial_of,
)
from tfrec_attn.data.shards.prepared_log import (
    ITEMS,
    OPTIONS,
    READING,
    REJECTED,
    USERS,
    option,
)
from tfrec_attn.data.shards.shard_files import shard_of
from tfrec_attn.errors import DataError
from tfrec_attn.files.own_files import (
    remove,
)
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
    """Prepares logs into a folder, which has its name when it is complete; unfinished work of the
    same call is taken up.

    Args:
        logs: Files, folders or patterns, in order: events of a user at the same time stay in the
            order of the files and of their lines.
        to: The folder, which must not exist; `to`.partial holds the work.
        data: Of the section, the keys in `OPTIONS` count.
        shards: How many; None takes one for each million events and at least 8, but not more than
            there are users.
        restart: Whether to remove unfinished work, and to replace a folder that is complete when
            the new one is.

    Raises:
        ConfigError: If `to` exists, if unfinished work of another call is there, or if another
            process prepares it.
        DataError: If a log cannot be read, if nothing is left of it, or if there is no space. What
            there was before stays.
    """
    target, progress = Path(to), ProgressLine()
    require_bounds(data.split, valid_from=data.valid_from, test_from=data.test_from)
    order = _order(logs, data, shards)
    check_target(target, restart)
    if restart:
        _read_beginnings(logs, data)
    try:
        with claimed(target, order, restart) as work:
            partitioned = _taken_up(work.folder) or _deal_out(logs, work.folder, data, order, progress)
            _write_shards(work.folder, partitioned, progress)
            return complete(work, target, partitioned)
    except OSError as error:
        full = error.errno == errno.ENOSPC or "No space left" in str(error)
        reason = (
            "no space is left: free some, and the same command goes on"
            if full
            else error.strerror or error
        )
        raise DataError(f"{partial_of(target)} cannot be written, {reason}.") from error
    finally:
        progress.clear()
















def _read_beginnings(logs: Sequence[str], data: Data) -> None:
    """Reads the beginning of each log, so that what no log is removes nothing."""
    options = {key: option(data, key) for key in READING}
    for path in all_parts(logs):
        with (
            closing(read_slices(path, **options, seen=LogTimes(), slice_bytes=_SAMPLE)) as parts,
            suppress(MixedTimes),
        ):
            next(parts, None)




def _order(logs: Sequence[str], data: Data, shards: int | None) -> dict[str, object]:
    """What unfinished work must have been asked for, to be taken up."""
    try:
        files = [
            [str(log.resolve()), os.stat(log).st_size, os.stat(log).st_mtime_ns]
            for log in all_parts(logs)
        ]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return {
        "version": VERSION,
        "logs": files,
        "options": {key: option(data, key) for key in OPTIONS},
        "shards": shards,
    }


def _taken_up(partial: Path) -> PartitionedLog | None:
    """The partitioned of unfinished work whose events are dealt out."""
    try:
        return PartitionedLog(**json.loads((partial / "work" / STATE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _deal_out(
    logs: Sequence[str], partial: Path, data: Data, order: dict[str, object], progress: ProgressLine
) -> PartitionedLog:
    """Reads and filters the logs, writes the vocabularies, and deals the events out to their
    shards.
    """
    work, wanted = partial / "work", order["shards"]
    for folder in (work / "log", work / "partitions"):
        folder.mkdir(parents=True, exist_ok=True)
    log, users, items, rejected, selection = _read(logs, partial, data, progress)
    if data.duplicates == "drop":
        selection = replace(selection, duplicates=log.drop_copies())
    before = Statistics(log.events, log.users, log.items)
    found = (
        IdProblems.of(one.ids, lambda name=name: log.counts(name))
        for name, one in (("users", users), ("items", items))
    )
    ids = IdReport(*found).to_dict()
    progress("filtering", 0, 1)
    kept = k_core_on_disk(log, data.min_user_events, data.min_item_events)
    after = _size(kept, before, data)
    Vocabulary(users.ids.gather(kept.user_codes)).save(partial / USERS)
    Vocabulary(items.ids.gather(kept.item_codes)).save(partial / ITEMS)
    del users, items
    shards = number_of_shards(wanted, after.events, after.users)
    times = partition(log, kept, work / "partitions", shards)
    temporal = data.split == "temporal"
    partitioned = PartitionedLog(
        logs=[path.name for path in all_parts(logs)],
        options=order["options"],
        before=asdict(before),
        after=asdict(after),
        rejected=rejected,
        whole_times=log.whole_times,
        shards=shards,
        period=period(data.valid_from, data.test_from, times.quantile) if temporal else None,
        selection=selection.to_dict() if has_event_filters(data) else None,
        duplicates=count_partition_copies(work / "partitions", shards, log.whole_times)
        if log.typed
        else None,
        ids=ids,
    )
    remove(work / "log", ("*.npy",))
    state = work / f"{STATE}.part"
    state.write_text(json.dumps(asdict(partitioned)), encoding="utf-8")
    state.rename(work / STATE)
    return partitioned


def _read(
    logs: Sequence[str], partial: Path, data: Data, progress: ProgressLine
) -> tuple[CodedLog, IdEncoder, IdEncoder, int, EventFilterReport]:
    """Writes the events of all logs that stay as codes.

    Returns:
        Also the ids of users and of items, how many lines were left out, and what the side
        conditions did.
    """
    try:
        return _read_once(logs, partial, data, progress, None)
    except MixedTimes:
        for path in [partial / REJECTED, *(partial / "work" / "log").iterdir()]:
            path.unlink(missing_ok=True)
        options = {key: option(data, key) for key in READING}
        return _read_once(logs, partial, data, progress, count_times(all_parts(logs), **options))


def _read_once(
    logs: Sequence[str], partial: Path, data: Data, progress: ProgressLine, times: LogTimes | None
) -> tuple[CodedLog, IdEncoder, IdEncoder, int, EventFilterReport]:
    """The same by the rule of these times, or, without any, as long as all times are of one kind."""
    log, ids, types, rejected = (
        CodedLog(partial / "work" / "log"),
        (IdEncoder(), IdEncoder()),
        IdEncoder(),
        0,
    )
    chosen, seen = EventFilter(data), LogTimes()
    options = {key: option(data, key) for key in READING}
    done, total = 0, sum(os.stat(path).st_size for path in all_parts(logs))
    for name in logs:
        events = chosen.events
        for path in parts_of(name):
            rule = {"seen": seen} if times is None else {"rule": times.rule(str(path))}
            for frame, bad in read_slices(path, **options, **rule):
                rejected += len(bad)
                if bad:
                    write_rejected(partial / REJECTED, path, bad)
                if frame.height:
                    if "timestamp" not in frame.columns:
                        frame = frame.with_columns(
                            timestamp=pl.int_range(pl.len(), dtype=pl.Int64) + chosen.events
                        )
                    stay = chosen(frame)
                    codes = (
                        one.encode(stay[column])
                        for one, column in zip(ids, ("user_id", "item_id"), strict=True)
                    )
                    log.append(
                        *codes,
                        stay["timestamp"].to_numpy(),
                        types.encode(stay["event"]) if "event" in stay.columns else None,
                    )
                progress("reading", done, total)
            done += os.stat(path).st_size
        if chosen.events == events:
            raise DataError(
                f"{name} holds no interactions{f': all {rejected} lines were rejected' if rejected else ''}."
            )
    log.users, log.items = map(len, ids)
    return log, *ids, rejected, chosen.selection()


def _size(kept: KCore, before: Statistics, data: Data) -> Statistics:
    """The size of what is left, of which there must be enough."""
    if not len(kept.user_codes):
        rule = f"data.min_user_events={data.min_user_events} and data.min_item_events={data.min_item_events}"
        raise DataError(f"{rule} leave nothing of {before}: lower them.")
    if data.split == "leave-one-out":
        require_long_enough(int(kept.lengths.max()))
    return Statistics(int(kept.lengths.sum()), len(kept.user_codes), len(kept.item_codes))


def _write_shards(partial: Path, partitioned: PartitionedLog, progress: ProgressLine) -> None:
    """Writes the shards that are not there yet."""
    import_tensorflow()
    from tfrec_attn.data.shards.shard_files import shard_name, write_shard

    def write(number: int) -> None:
        path = partial / shard_name(number, partitioned.shards)
        if not path.exists():
            write_shard(
                path,
                shard_of(
                    number, partitioned, *read_partition(partial / "work" / "partitions", number, partitioned.whole_times)
                ),
            )

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for done, _ in enumerate(pool.map(write, range(partitioned.shards))):
                progress("writing", done, partitioned.shards)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


