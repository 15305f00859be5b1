"""The folder of a prepared log while it is written: its lock, its checks and its completion."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np

from tfrec_attn.data.sequences.splits import require_long_enough, require_parts
from tfrec_attn.data.sequences.transitions import save_transitions
from tfrec_attn.data.shards.manifest import MANIFEST, FilteredLog, Manifest, PartitionedLog
from tfrec_attn.data.shards.prepared_log import (
    INDEX,
    ITEM_COUNTS,
    ITEMS,
    REJECTED,
    TRANSITIONS,
    USERS,
)
from tfrec_attn.data.shards.shard_files import Shard, read_shard, shard_name
from tfrec_attn.data.shards.shard_summary import ShardSummary
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.files.checksums import file_sha256
from tfrec_attn.files.work_folder import (
    WorkFolder,
    check_removable,
    clean_up,
    is_marked,
    open_work,
    remove,
    unfinished_patterns,
)
from tfrec_attn.files.writing import replace_text, save_array

STATE, _REQUEST = "state.json", "order.json"
_KIND, _OTHER = "prepared log", "name another --to"
_FINISHED = (USERS, ITEMS, REJECTED, INDEX, ITEM_COUNTS, TRANSITIONS, MANIFEST, "shard-*.tfrecord")
_WORK = (
    "work/log/*.arrow", "work/log/*.arrow.index", "work/partitions/events.arrow",
    "work/partitions/events.arrow.index", "work/finish/*.bin",
    f"work/{STATE}", f"work/.{STATE}.*", "beam/tfrec-attn-*/**",
)  # fmt: skip
# The files that a preparation writes. A folder with another file is not cleared.
KNOWN = (
    *_FINISHED, *_WORK, _REQUEST, f".{_REQUEST}.*", f".{MANIFEST}.*", "shard-*.tfrecord.part",
)  # fmt: skip


def partial_of(target: Path) -> Path:
    """Returns the folder of the unfinished work for a target folder."""
    if not target.name:
        raise ConfigError(f"--to must name a folder, but is {target}.")
    return target.with_name(f"{target.name}.partial")


def check_target(target: Path, restart: bool) -> None:
    """Checks that a folder can be written or replaced, without a change to it.

    Args:
        target: The folder to write.
        restart: Whether to replace a complete prepared log.

    Raises:
        ConfigError: If the folder exists and cannot be replaced.
    """
    if not os.path.lexists(target):
        return
    if not restart:
        clean_up(target, _KIND, _FINISHED, notes=(_REQUEST,))
        raise ConfigError(
            f"--to {target} exists; name a new one, or give --restart to replace it "
            "if it is a prepared log."
        )
    try:
        Manifest.read(target)
    except DataError:
        raise ConfigError(
            f"--to {target} exists and is not a prepared log, so --restart does not replace it; "
            "name a new one."
        ) from None
    check_removable(target, unfinished_patterns((*_FINISHED, _REQUEST)), _OTHER)


@contextmanager
def claimed(target: Path, request: dict[str, object], restart: bool) -> Iterator[WorkFolder]:
    """Creates or resumes the folder of unfinished work, and locks it for other processes.

    If the context raises ConfigError or DataError, a folder with new work is removed. A folder with
    resumed work stays.

    Args:
        target: The folder to write.
        request: What to prepare, as JSON. Unfinished work of another request is refused.
        restart: Whether to remove unfinished work first.

    Raises:
        ConfigError: If another process uses the folder, or if the folder holds other files or
            unfinished work of another request.
    """
    folder = partial_of(target)
    work = open_work(folder, _KIND, KNOWN, _OTHER)
    try:
        is_new = _begin(work, request, restart)
        try:
            yield work
        except (ConfigError, DataError):
            if is_new and is_marked(folder, _KIND):
                work.abandon()
            raise
    finally:
        work.release()


def _begin(work: WorkFolder, request: dict[str, object], restart: bool) -> bool:
    """Clears the folder unless its work can be resumed, and returns whether the work is new."""
    note, wanted = work.folder / _REQUEST, json.loads(json.dumps(request))
    if restart:
        check_removable(work.folder, unfinished_patterns(KNOWN), _OTHER)
        work.clear()
    elif note.exists() and (other := _difference(note, wanted)):
        raise ConfigError(
            f"{work.folder} holds unfinished work {other}; give --restart to start again, "
            "or name another --to."
        )
    if (work.folder / "work" / STATE).exists():
        return False
    work.clear()
    replace_text(note, json.dumps(wanted))
    return True


def _difference(note: Path, wanted: dict[str, object]) -> str | None:
    """Returns how the request of unfinished work differs from the wanted request, or None."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        for name, value in wanted["options"].items():
            if found["options"].get(name) != value:
                return f"with data.{name}={found['options'].get(name)}, not {value}"
        if found["shards"] != wanted["shards"]:
            return f"with --shards {found['shards']}, not {wanted['shards']}"
        return None if found == wanted else "of other logs, or the logs have changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "that cannot be read"


def complete(work: WorkFolder, target: Path, partitioned: PartitionedLog) -> Manifest:
    """Completes a folder that has its shards and vocabularies, and renames it to its target.

    Raises:
        DataError: If a part of the split is empty, or if a shard is damaged.
    """
    folder, temporary = work.folder, work.folder / "work" / "finish"
    remove(temporary, ("*.bin",))
    temporary.mkdir(parents=True, exist_ok=True)
    manifest = _write_counts(folder, temporary, partitioned)
    remove(folder, _WORK)
    manifest.write(folder)
    if os.path.lexists(target):
        check_removable(target, _FINISHED, _OTHER)
    work.finish(target, notes=(_REQUEST,))
    return manifest


def _write_counts(folder: Path, temporary: Path, partitioned: PartitionedLog) -> Manifest:
    """Writes the counts and the index of a folder, and returns its manifest without writing it."""
    names = [shard_name(number, partitioned.shards) for number in range(partitioned.shards)]

    def shards() -> Iterator[Shard]:
        return (read_shard(folder / name, partitioned.whole_times) for name in names)

    after = partitioned.after
    summary = ShardSummary(shards, after["users"], after["items"], after["events"], temporary)
    positions = summary.positions
    valid, test = (int(np.count_nonzero(one >= 0)) for one in (positions.valid, positions.test))
    if partitioned.period is None:
        require_long_enough(int(summary.lengths.max()))
    else:
        bounds = partitioned.options["valid_from"], partitioned.options["test_from"]
        sizes = partitioned.period[0] > summary.span[0], valid, test
        require_parts(*bounds, sizes, summary.span)
    save_array(folder / ITEM_COUNTS, summary.item_counts)
    save_transitions(folder / TRANSITIONS, summary.transitions)
    index = {"lengths": summary.lengths, **positions._asdict()}
    np.savez(folder / INDEX, **{name: one.astype(np.int32) for name, one in index.items()})
    duplicates = partitioned.duplicates
    if partitioned.options["columns"]["timestamp"] is None:
        duplicates = None
    elif duplicates is None:
        duplicates = summary.duplicates
    rejected = [REJECTED] if (folder / REJECTED).exists() else []
    files = [*names, USERS, ITEMS, INDEX, ITEM_COUNTS, TRANSITIONS, *rejected]
    known = {field.name: getattr(partitioned, field.name) for field in fields(FilteredLog)}
    return Manifest(
        **{**known, "duplicates": duplicates},
        train=summary.train_events,
        valid=valid,
        test=test,
        leaks=summary.leaks.to_dict(),
        shards=names,
        sizes={name: (folder / name).stat().st_size for name in files},
        sha256={name: file_sha256(folder / name) for name in files},
    )
