"""Prepares logs on one machine, in passes over parts that fit into memory."""

import errno
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.cli.terminal import ProgressLine
from tfrec_attn.config import Data
from tfrec_attn.data.reading.interactions import count_times, read_slices, write_rejected
from tfrec_attn.data.reading.log_parts import all_parts, parts_of
from tfrec_attn.data.reading.times import LogTimes, MixedTimes
from tfrec_attn.data.sequences.ids import Findings, IdReport
from tfrec_attn.data.sequences.preparation import Statistics
from tfrec_attn.data.sequences.selection import EventFilter, Selection, has_conditions
from tfrec_attn.data.sequences.splits import (
    hold_out_between,
    hold_out_last,
    period,
    require_bounds,
    require_long_enough,
)
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.data.shards.coded_log import (
    CodedLog,
    GrowingIds,
    Kept,
    count_dealt_copies,
    deal_out,
    dealt,
    k_core_on_disk,
)
from tfrec_attn.data.shards.manifest import MANIFEST, VERSION, Manifest
from tfrec_attn.data.shards.prepared import (
    INDEX,
    ITEM_COUNTS,
    ITEMS,
    OPTIONS,
    READING,
    REJECTED,
    TRANSITIONS,
    USERS,
    Facts,
    finish,
    option,
)
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.files.work_folder import (
    BusyFolder,
    ForeignFolder,
    WorkFolder,
    clean_up,
    is_marked,
    refuse_foreign_paths,
    remove,
    unfinished_patterns,
)
from tfrec_attn.files.writing import replace_text
from tfrec_attn.runtime.process import import_tensorflow

MOST_SHARDS = 1_000
_FEWEST_SHARDS = 8
_SHARD_EVENTS = 1_000_000
_STATE, _ORDER = "state.json", "order.json"
_THREADS = 2
_SAMPLE = 1 << 16  # bytes of a log
_KIND = "prepared log"
_FINISHED = (USERS, ITEMS, REJECTED, INDEX, ITEM_COUNTS, TRANSITIONS, MANIFEST, "shard-*.tfrecord")
_WORK = (
    "work/slice", "work/log/*.npy", "work/log/*.bin", "work/dealt/*.bin", "work/finish/*.bin", f"work/{_STATE}", f"work/{_STATE}.part",
    "beam/tfrec-attn-*/**",
)  # fmt: skip
# What a preparation writes; of a folder with anything else in it nothing is removed.
KNOWN = (*_FINISHED, *_WORK, _ORDER, f".{_ORDER}.*", f"{MANIFEST}.part", "shard-*.tfrecord.part")


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
            facts = _taken_up(work.folder) or _deal_out(logs, work.folder, data, order, progress)
            _write_shards(work.folder, facts, progress)
            return complete(work, target, facts)
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


def complete(work: WorkFolder, target: Path, facts: Facts) -> Manifest:
    """Finishes a folder that has its shards and vocabularies, and gives it its name."""
    folder, temporary = work.folder, work.folder / "work" / "finish"
    remove(temporary, ("*.bin",))
    temporary.mkdir(parents=True, exist_ok=True)
    manifest = finish(folder, temporary, facts)
    remove(folder, _WORK)
    manifest.write(folder)
    if os.path.lexists(target):
        _refuse_strangers(target, _FINISHED)
    work.finish(target, notes=(_ORDER,))
    return manifest


def partial_of(target: Path) -> Path:
    """The folder of unfinished work."""
    if not target.name:
        raise ConfigError(f"--to must name a folder, but is {target}.")
    return target.with_name(f"{target.name}.partial")


def check_target(target: Path, restart: bool) -> None:
    """Checks that a folder can be written, or be replaced; nothing is touched.

    Raises:
        ConfigError: If something is there that is not to be replaced.
    """
    if not os.path.lexists(target):
        return
    if not restart:
        clean_up(target, _KIND, _FINISHED, notes=(_ORDER,))
        raise ConfigError(
            f"--to {target} exists; name a new one, or give --restart to replace it if it is a prepared log."
        )
    try:
        Manifest.read(target)
    except DataError:
        raise ConfigError(
            f"--to {target} exists and is no prepared log, so that --restart does not replace it; name a new one."
        ) from None
    _refuse_strangers(target, unfinished_patterns((*_FINISHED, _ORDER)))


def _refuse_strangers(folder: Path, known: Sequence[str]) -> None:
    try:
        refuse_foreign_paths(folder, known)
    except ForeignFolder as error:
        raise ConfigError(
            f"{error}, so that --restart removes nothing; move it away, or name another --to."
        ) from None


@contextmanager
def claimed(target: Path, order: dict[str, object], restart: bool) -> Iterator[WorkFolder]:
    """Makes the folder of unfinished work, or takes it up, and keeps other processes from it.

    Where it fails for its options or its logs, what it has just made goes; what was there stays.

    Args:
        target: The folder to write.
        order: What was asked for, as JSON holds it; unfinished work of another order is refused.
        restart: Whether to remove that.
    """
    folder = partial_of(target)
    try:
        work = WorkFolder(folder, _KIND, KNOWN)
    except BusyFolder:
        raise ConfigError(f"{folder} is in use: another process prepares it.") from None
    except ForeignFolder as error:
        raise ConfigError(f"{error}; move it away, or name another --to.") from None
    try:
        mine = _begin(work, order, restart)
        try:
            yield work
        except (ConfigError, DataError):
            if mine and is_marked(folder, _KIND):
                work.abandon()
            raise
    finally:
        work.release()


def _begin(work: WorkFolder, order: dict[str, object], restart: bool) -> bool:
    """Whether the work begins anew, and does not go on with that of an earlier call."""
    note, wanted = work.folder / _ORDER, json.loads(json.dumps(order))
    if restart:
        _refuse_strangers(work.folder, unfinished_patterns(KNOWN))
        work.clear()
    elif note.exists() and (other := _other(note, wanted)):
        raise ConfigError(
            f"{work.folder} holds unfinished work {other}; give --restart to begin anew, or name another --to."
        )
    if (work.folder / "work" / _STATE).exists():
        return False
    work.clear()
    replace_text(note, json.dumps(wanted))
    return True


def _other(note: Path, wanted: dict[str, object]) -> str | None:
    """What unfinished work was begun with that is not wanted now, as a clause."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        for name, value in wanted["options"].items():
            if found["options"].get(name) != value:
                return f"with data.{name}={found['options'].get(name)}, not {value}"
        if found["shards"] != wanted["shards"]:
            return f"with --shards {found['shards']}, not {wanted['shards']}"
        return None if found == wanted else "of other logs, or of what they were then"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "that cannot be read"


def _read_beginnings(logs: Sequence[str], data: Data) -> None:
    """Reads the beginning of each log, so that what no log is removes nothing."""
    options = {key: option(data, key) for key in READING}
    for path in all_parts(logs):
        with (
            closing(read_slices(path, **options, seen=LogTimes(), slice_bytes=_SAMPLE)) as parts,
            suppress(MixedTimes),
        ):
            next(parts, None)


def number_of_shards(wanted: int | None, events: int, users: int) -> int:
    """How many shards there are: as wanted, or one for each million events, at least 8; no more
    than users.
    """
    return min(users, wanted or min(MOST_SHARDS, max(_FEWEST_SHARDS, -(-events // _SHARD_EVENTS))))


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


def _taken_up(partial: Path) -> Facts | None:
    """The facts of unfinished work whose events are dealt out."""
    try:
        return Facts(**json.loads((partial / "work" / _STATE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _deal_out(
    logs: Sequence[str], partial: Path, data: Data, order: dict[str, object], progress: ProgressLine
) -> Facts:
    """Reads and filters the logs, writes the vocabularies, and deals the events out to their
    shards.
    """
    work, wanted = partial / "work", order["shards"]
    for folder in (work / "log", work / "dealt"):
        folder.mkdir(parents=True, exist_ok=True)
    log, users, items, rejected, selection = _read(logs, partial, data, progress)
    if data.duplicates == "drop":
        selection = replace(selection, duplicates=log.drop_copies())
    before = Statistics(log.events, log.users, log.items)
    found = (
        Findings.of(one.ids, lambda name=name: log.counts(name))
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
    times = deal_out(log, kept, work / "dealt", shards)
    temporal = data.split == "temporal"
    facts = Facts(
        logs=[path.name for path in all_parts(logs)],
        options=order["options"],
        before=asdict(before),
        after=asdict(after),
        rejected=rejected,
        whole_times=log.whole_times,
        shards=shards,
        period=period(data.valid_from, data.test_from, times.quantile) if temporal else None,
        selection=selection.to_dict() if has_conditions(data) else None,
        duplicates=count_dealt_copies(work / "dealt", shards, log.whole_times)
        if log.typed
        else None,
        ids=ids,
    )
    remove(work / "log", ("*.npy",))
    state = work / f"{_STATE}.part"
    state.write_text(json.dumps(asdict(facts)), encoding="utf-8")
    state.rename(work / _STATE)
    return facts


def _read(
    logs: Sequence[str], partial: Path, data: Data, progress: ProgressLine
) -> tuple[CodedLog, GrowingIds, GrowingIds, int, Selection]:
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
) -> tuple[CodedLog, GrowingIds, GrowingIds, int, Selection]:
    """The same by the rule of these times, or, without any, as long as all times are of one kind."""
    log, ids, types, rejected = (
        CodedLog(partial / "work" / "log"),
        (GrowingIds(), GrowingIds()),
        GrowingIds(),
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


def _size(kept: Kept, before: Statistics, data: Data) -> Statistics:
    """The size of what is left, of which there must be enough."""
    if not len(kept.user_codes):
        rule = f"data.min_user_events={data.min_user_events} and data.min_item_events={data.min_item_events}"
        raise DataError(f"{rule} leave nothing of {before}: lower them.")
    if data.split == "leave-one-out":
        require_long_enough(int(kept.lengths.max()))
    return Statistics(int(kept.lengths.sum()), len(kept.user_codes), len(kept.item_codes))


def _write_shards(partial: Path, facts: Facts, progress: ProgressLine) -> None:
    """Writes the shards that are not there yet."""
    import_tensorflow()
    from tfrec_attn.data.shards.shard_files import shard_name, write_shard

    def write(number: int) -> None:
        path = partial / shard_name(number, facts.shards)
        if not path.exists():
            write_shard(
                path,
                shard_of(
                    number, facts, *dealt(partial / "work" / "dealt", number, facts.whole_times)
                ),
            )

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for done, _ in enumerate(pool.map(write, range(facts.shards))):
                progress("writing", done, facts.shards)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def shard_of(number: int, facts: Facts, rows: np.ndarray, items: np.ndarray, times: np.ndarray):
    """The shard of some events in file order.

    Args:
        number: Of the shard.
        facts: Of the log.
        rows: User row of each event, which is `number` modulo the number of shards.
        items: Item index 1..N of each event, int32.
        times: Time of each event.
    """
    from tfrec_attn.data.shards.shard_files import Shard

    users = np.arange(number, facts.after["users"], facts.shards)
    local = rows // facts.shards
    order = np.lexsort((times, local))
    lengths, times = np.bincount(local, minlength=len(users)), times[order]
    places = (
        hold_out_last(lengths)
        if facts.period is None
        else hold_out_between(lengths, times, *facts.period)
    )
    return Shard(users + 1, lengths, items[order], times, *places)
