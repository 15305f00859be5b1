"""The folder of a prepared log while it is written: who owns it, what it holds, and how it is completed."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tfrec_attn.data.sequences.splits import (
    SplitPositions,
    require_long_enough,
    require_parts,
)
from tfrec_attn.data.sequences.transitions import save_transitions
from tfrec_attn.data.shards.manifest import MANIFEST, Manifest, PartitionedLog, file_sha256
from tfrec_attn.data.shards.prepared_log import (
    INDEX,
    ITEM_COUNTS,
    ITEMS,
    REJECTED,
    TRANSITIONS,
    USERS,
)
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.files.array_files import save_array
from tfrec_attn.files.own_files import (
    BusyFolder,
    ForeignFolder,
    Unfinished,
    in_work,
    is_marked,
    refuse_strangers,
    remove,
    replace_text,
    tidy,
)

MOST_SHARDS = 1_000


_FEWEST_SHARDS = 8


_SHARD_EVENTS = 1_000_000


STATE, _ORDER = "state.json", "order.json"


_KIND = "prepared log"


_FINISHED = (USERS, ITEMS, REJECTED, INDEX, ITEM_COUNTS, TRANSITIONS, MANIFEST, "shard-*.tfrecord")


_WORK = (
    "work/slice", "work/log/*.npy", "work/log/*.bin", "work/partitions/*.bin", "work/finish/*.bin", f"work/{STATE}", f"work/{STATE}.part",
    "beam/tfrec-attn-*/**",
)  # fmt: skip


# What a preparation writes; of a folder with anything else in it nothing is removed.
KNOWN = (*_FINISHED, *_WORK, _ORDER, f".{_ORDER}.*", f"{MANIFEST}.part", "shard-*.tfrecord.part")


@contextmanager
def claimed(target: Path, order: dict[str, object], restart: bool) -> Iterator[Unfinished]:
    """Makes the folder of unfinished work, or takes it up, and keeps other processes from it.

    Where it fails for its options or its logs, what it has just made goes; what was there stays.

    Args:
        target: The folder to write.
        order: What was asked for, as JSON holds it; unfinished work of another order is refused.
        restart: Whether to remove that.
    """
    folder = partial_of(target)
    try:
        work = Unfinished(folder, _KIND, KNOWN)
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


def check_target(target: Path, restart: bool) -> None:
    """Checks that a folder can be written, or be replaced; nothing is touched.

    Raises:
        ConfigError: If something is there that is not to be replaced.
    """
    if not os.path.lexists(target):
        return
    if not restart:
        tidy(target, _KIND, _FINISHED, notes=(_ORDER,))
        raise ConfigError(
            f"--to {target} exists; name a new one, or give --restart to replace it if it is a prepared log."
        )
    try:
        Manifest.read(target)
    except DataError:
        raise ConfigError(
            f"--to {target} exists and is no prepared log, so that --restart does not replace it; name a new one."
        ) from None
    _refuse_strangers(target, in_work((*_FINISHED, _ORDER)))


def partial_of(target: Path) -> Path:
    """The folder of unfinished work."""
    if not target.name:
        raise ConfigError(f"--to must name a folder, but is {target}.")
    return target.with_name(f"{target.name}.partial")


def complete(work: Unfinished, target: Path, partitioned: PartitionedLog) -> Manifest:
    """Finishes a folder that has its shards and vocabularies, and gives it its name."""
    folder, temporary = work.folder, work.folder / "work" / "finish"
    remove(temporary, ("*.bin",))
    temporary.mkdir(parents=True, exist_ok=True)
    manifest = finish(folder, temporary, partitioned)
    remove(folder, _WORK)
    manifest.write(folder)
    if os.path.lexists(target):
        _refuse_strangers(target, _FINISHED)
    work.finish(target, notes=(_ORDER,))
    return manifest


def _begin(work: Unfinished, order: dict[str, object], restart: bool) -> bool:
    """Whether the work begins anew, and does not go on with that of an earlier call."""
    note, wanted = work.folder / _ORDER, json.loads(json.dumps(order))
    if restart:
        _refuse_strangers(work.folder, in_work(KNOWN))
        work.clear()
    elif note.exists() and (other := _other(note, wanted)):
        raise ConfigError(
            f"{work.folder} holds unfinished work {other}; give --restart to begin anew, or name another --to."
        )
    if (work.folder / "work" / STATE).exists():
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


def _refuse_strangers(folder: Path, known: Sequence[str]) -> None:
    try:
        refuse_strangers(folder, known)
    except ForeignFolder as error:
        raise ConfigError(
            f"{error}, so that --restart removes nothing; move it away, or name another --to."
        ) from None


def number_of_shards(wanted: int | None, events: int, users: int) -> int:
    """How many shards there are: as wanted, or one for each million events, at least 8; no more
    than users.
    """
    return min(users, wanted or min(MOST_SHARDS, max(_FEWEST_SHARDS, -(-events // _SHARD_EVENTS))))


def finish(folder: Path, work: Path, partitioned: PartitionedLog) -> Manifest:
    """Writes counts and index of a folder that has all its shards and vocabularies, and returns its
    manifest, which is not written yet.

    Args:
        folder: The folder.
        work: An empty folder for temporary files.
        partitioned: What is known of it.

    Raises:
        DataError: If a part of the split is empty, or if a shard is damaged.
    """
    from tfrec_attn.data.shards.shard_files import Shard, read_shard, shard_name
    from tfrec_attn.data.shards.shard_summary import ShardSummary

    names = [shard_name(number, partitioned.shards) for number in range(partitioned.shards)]

    def shards() -> Iterator[Shard]:
        return (read_shard(folder / name, partitioned.whole_times) for name in names)

    summary = ShardSummary(
        shards, partitioned.after["users"], partitioned.after["items"], partitioned.after["events"], work
    )
    valid, test = (
        int(np.count_nonzero(places >= 0)) for places in (summary.positions.valid, summary.positions.test)
    )
    if partitioned.period is not None:
        bounds = partitioned.options["valid_from"], partitioned.options["test_from"]
        require_parts(*bounds, partitioned.period[0] > summary.span[0], valid, test, summary.span)
    else:
        require_long_enough(int(summary.lengths.max()))
    save_array(folder / ITEM_COUNTS, summary.item_counts)
    save_transitions(folder / TRANSITIONS, summary.transitions)
    np.savez(folder / INDEX, lengths=summary.lengths.astype(np.int32), **_as_int32(summary.positions))
    extra = [REJECTED] if (folder / REJECTED).exists() else []
    files = [*names, USERS, ITEMS, INDEX, ITEM_COUNTS, TRANSITIONS, *extra]
    duplicates = summary.duplicates if partitioned.duplicates is None else partitioned.duplicates
    return Manifest(
        logs=partitioned.logs,
        options=partitioned.options,
        before=partitioned.before,
        after=partitioned.after,
        rejected=partitioned.rejected,
        selection=partitioned.selection,
        duplicates=None if partitioned.options["columns"]["timestamp"] is None else duplicates,
        ids=partitioned.ids,
        train=summary.train_events,
        valid=valid,
        test=test,
        whole_times=partitioned.whole_times,
        leaks=summary.leaks.to_dict(),
        shards=names,
        sizes={name: (folder / name).stat().st_size for name in files},
        sha256={name: file_sha256(folder / name) for name in files},
    )


def _as_int32(places: SplitPositions) -> dict[str, np.ndarray]:
    return {name: values.astype(np.int32) for name, values in places._asdict().items()}
