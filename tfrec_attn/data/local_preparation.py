"""Prepares logs on one machine, in passes over parts that fit into memory."""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.config import Data
from tfrec_attn.data.coded_log import CodedLog, GrowingIds, Kept, deal_out, dealt, k_core_on_disk
from tfrec_attn.data.interactions import read_slices, write_rejected
from tfrec_attn.data.log_parts import all_parts, parts_of
from tfrec_attn.data.manifest import VERSION, Manifest
from tfrec_attn.data.preparation import Statistics
from tfrec_attn.data.prepared import ITEMS, OPTIONS, READING, REJECTED, USERS, Facts, finish, option
from tfrec_attn.data.progress_line import ProgressLine
from tfrec_attn.data.selection import EventFilter, Selection, has_conditions
from tfrec_attn.data.splits import hold_out_between, hold_out_last, period, require_bounds, require_long_enough
from tfrec_attn.data.time_units import TimeUnits
from tfrec_attn.data.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.runtime import import_tensorflow

MOST_SHARDS = 1_000
_FEWEST_SHARDS = 8
_SHARD_EVENTS = 1_000_000
_STATE = "state.json"
_THREADS = 2


def prepare_log(logs: Sequence[str], to: str | Path, data: Data, shards: int | None = None) -> Manifest:
    """Prepares logs into a folder, which has its name when it is complete; unfinished work of the same call is taken up.

    Args:
        logs: Files, folders or patterns, in order: events of a user at the same time stay in the order of the files and of their lines.
        to: The folder, which must not exist; `to`.partial holds the work.
        data: Of the section, the keys in `OPTIONS` count.
        shards: How many; None takes one for each million events and at least 8, but not more than there are users.

    Raises:
        ConfigError: If `to` exists, or if another process prepares it.
        DataError: If a log cannot be read, if nothing is left of it, or if there is no space.
    """
    target, progress = Path(to), ProgressLine()
    if target.exists():
        raise ConfigError(f"--to {target} exists; name a new one, or remove it.")
    partial = target.with_name(f"{target.name}.partial")
    try:
        with _claimed(partial):
            try:
                facts = _taken_up(logs, partial, data, shards) or _deal_out(logs, partial, data, shards, progress)
                _write_shards(partial, facts, progress)
                return complete(partial, target, facts)
            except (ConfigError, DataError):
                shutil.rmtree(partial)
                raise
    except OSError as error:
        full = error.errno == errno.ENOSPC or "No space left" in str(error)
        reason = "no space is left: free some, and the same command goes on" if full else error.strerror or error
        raise DataError(f"{partial} cannot be written, {reason}.") from error
    finally:
        progress.clear()


def complete(partial: Path, target: Path, facts: Facts) -> Manifest:
    """Finishes a folder that has its shards and vocabularies, and gives it its name."""
    work = partial / "work"
    shutil.rmtree(work / "finish", ignore_errors=True)
    (work / "finish").mkdir(parents=True)
    manifest = finish(partial, work / "finish", facts)
    shutil.rmtree(work)
    manifest.write(partial)
    partial.rename(target)
    return manifest


def number_of_shards(wanted: int | None, events: int, users: int) -> int:
    """How many shards there are: as wanted, or one for each million events, at least 8; no more than users."""
    return min(users, wanted or min(MOST_SHARDS, max(_FEWEST_SHARDS, -(-events // _SHARD_EVENTS))))


@contextmanager
def _claimed(partial: Path) -> Iterator[None]:
    """Makes the folder and keeps other processes from it."""
    partial.mkdir(parents=True, exist_ok=True)
    folder = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise ConfigError(f"{partial} is in use: another process prepares it.") from None
    try:
        yield
    finally:
        os.close(folder)


def _order(logs: Sequence[str], data: Data, shards: int | None) -> dict[str, object]:
    """What unfinished work must have been asked for, to be taken up."""
    try:
        files = [[str(log.resolve()), os.stat(log).st_size, os.stat(log).st_mtime_ns] for log in all_parts(logs)]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return {"version": VERSION, "logs": files, "options": {key: option(data, key) for key in OPTIONS}, "shards": shards}


def _taken_up(logs: Sequence[str], partial: Path, data: Data, shards: int | None) -> Facts | None:
    """The facts of unfinished work whose events are dealt out; None leaves an empty folder."""
    order, state = _order(logs, data, shards), partial / "work" / _STATE
    if state.is_file():
        tree = json.loads(state.read_text(encoding="utf-8"))
        if tree["order"] == order:
            return Facts(**tree["facts"])
    for entry in list(partial.iterdir()):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return None


def _deal_out(logs: Sequence[str], partial: Path, data: Data, wanted: int | None, progress: ProgressLine) -> Facts:
    """Reads and filters the logs, writes the vocabularies, and deals the events out to their shards."""
    require_bounds(data.split, valid_from=data.valid_from, test_from=data.test_from)
    order, work = _order(logs, data, wanted), partial / "work"
    for folder in (work / "log", work / "dealt"):
        folder.mkdir(parents=True)
    log, users, items, rejected, selection = _read(logs, partial, data, progress)
    before = Statistics(log.events, log.users, log.items)
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
    )
    shutil.rmtree(work / "log")
    state = work / f"{_STATE}.part"
    state.write_text(json.dumps({"order": order, "facts": asdict(facts)}), encoding="utf-8")
    state.rename(work / _STATE)
    return facts


def _read(
    logs: Sequence[str], partial: Path, data: Data, progress: ProgressLine
) -> tuple[CodedLog, GrowingIds, GrowingIds, int, Selection]:
    """Writes the events of all logs that stay as codes.

    Returns:
        Also the ids of users and of items, how many lines were left out, and what the side conditions did.
    """
    log, ids, units, rejected = CodedLog(partial / "work" / "log"), (GrowingIds(), GrowingIds()), TimeUnits(), 0
    chosen = EventFilter(data)
    options = {key: option(data, key) for key in READING}
    sizes = [os.stat(path).st_size for path in all_parts(logs)]
    number = 0
    for name in logs:
        events = chosen.events
        for path in parts_of(name):
            for frame, bad in read_slices(path, **options):
                rejected += len(bad)
                if bad:
                    write_rejected(partial / REJECTED, path, bad)
                if frame.height:
                    if "timestamp" not in frame.columns:
                        rows = pl.int_range(chosen.events, chosen.events + frame.height, dtype=pl.Int64)
                        frame = frame.with_columns(timestamp=rows)
                    units.add(str(path), frame["timestamp"].to_numpy())
                    stay = chosen(frame)
                    codes = (one.encode(stay[column]) for one, column in zip(ids, ("user_id", "item_id"), strict=True))
                    log.append(*codes, stay["timestamp"].to_numpy())
                progress("reading", sum(sizes[:number]), sum(sizes))
            number += 1
        if chosen.events == events:
            raise DataError(f"{name} holds no interactions{f': all {rejected} lines were rejected' if rejected else ''}.")
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
    from tfrec_attn.data.shards import shard_name, write_shard

    def write(number: int) -> None:
        path = partial / shard_name(number, facts.shards)
        if not path.exists():
            write_shard(path, shard_of(number, facts, *dealt(partial / "work" / "dealt", number, facts.whole_times)))

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
    from tfrec_attn.data.shards import Shard

    users = np.arange(number, facts.after["users"], facts.shards)
    local = rows // facts.shards
    order = np.lexsort((times, local))
    lengths, times = np.bincount(local, minlength=len(users)), times[order]
    places = hold_out_last(lengths) if facts.period is None else hold_out_between(lengths, times, *facts.period)
    return Shard(users + 1, lengths, items[order], times, *places)
