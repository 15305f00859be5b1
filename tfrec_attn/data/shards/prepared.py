"""A prepared log: a folder of shards, vocabularies and counts under a manifest, and how it is
finished and loaded.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from tfrec_attn.config import Data
from tfrec_attn.data.sequences.ids import IdReport
from tfrec_attn.data.sequences.preparation import Report, Sequences, Statistics
from tfrec_attn.data.sequences.selection import Selection
from tfrec_attn.data.sequences.splits import (
    LeakReport,
    Places,
    Split,
    require_long_enough,
    require_parts,
    split_at,
)
from tfrec_attn.data.sequences.transitions import Transitions, load_transitions, save_transitions
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.data.shards.manifest import MANIFEST, Manifest, file_sha256
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.files.writing import save_array

USERS, ITEMS = "users.txt", "items.txt"
INDEX, ITEM_COUNTS, TRANSITIONS = "index.npz", "item_counts.npy", "transitions.npz"
REJECTED = "rejected.tsv"
# What of the section `data` shapes a prepared log.
OPTIONS = (
    "format", "names", "separator", "columns", "on_error", "min_rating", "event_types", "ids", "missing_ids", "duplicates",
    "min_user_events", "min_item_events", "split", "valid_from", "test_from",
)  # fmt: skip
READING = ("format", "names", "separator", "columns", "on_error")
_IN_MEMORY = 20_000_000  # events: some 2.5 GB with what the batches are gathered from
_OF_TRAINING = ("source", "cache", "max_length", "targets", "events", "seed")


@dataclass(frozen=True)
class Facts:
    """What is known of a log once its events are dealt out to shards.

    Attributes:
        logs: Names of its files.
        options: Keys of the section `data` that shaped it.
        before: Events, users and items before the frequency filter.
        after: The same after it.
        rejected: Lines that were left out.
        whole_times: Whether the times are int64.
        shards: How many shards there are.
        period: The two points in time of a temporal split, or None.
        selection: What the side conditions dropped, as `Selection.to_dict`, or None where there are
            none.
        duplicates: Events that are copies of another, or None where the shards tell.
        ids: What there is to say of the ids, as `IdReport.to_dict`.
    """

    logs: list[str]
    options: dict[str, object]
    before: dict[str, int]
    after: dict[str, int]
    rejected: int
    whole_times: bool
    shards: int
    period: tuple[float, float] | None
    selection: dict[str, object] | None = None
    duplicates: int | None = None
    ids: dict[str, dict] | None = None


def finish(folder: Path, work: Path, facts: Facts) -> Manifest:
    """Writes counts and index of a folder that has all its shards and vocabularies, and returns its
    manifest, which is not written yet.

    Args:
        folder: The folder.
        work: An empty folder for temporary files.
        facts: What is known of it.

    Raises:
        DataError: If a part of the split is empty, or if a shard is damaged.
    """
    from tfrec_attn.data.shards.shard_files import Shard, read_shard, shard_name
    from tfrec_attn.data.shards.shard_summary import ShardSummary

    names = [shard_name(number, facts.shards) for number in range(facts.shards)]

    def shards() -> Iterator[Shard]:
        return (read_shard(folder / name, facts.whole_times) for name in names)

    summary = ShardSummary(
        shards, facts.after["users"], facts.after["items"], facts.after["events"], work
    )
    valid, test = (
        int(np.count_nonzero(places >= 0)) for places in (summary.places.valid, summary.places.test)
    )
    if facts.period is not None:
        bounds = facts.options["valid_from"], facts.options["test_from"]
        require_parts(*bounds, facts.period[0] > summary.span[0], valid, test, summary.span)
    else:
        require_long_enough(int(summary.lengths.max()))
    save_array(folder / ITEM_COUNTS, summary.item_counts)
    save_transitions(folder / TRANSITIONS, summary.transitions)
    np.savez(folder / INDEX, lengths=summary.lengths.astype(np.int32), **_as_int32(summary.places))
    extra = [REJECTED] if (folder / REJECTED).exists() else []
    files = [*names, USERS, ITEMS, INDEX, ITEM_COUNTS, TRANSITIONS, *extra]
    duplicates = summary.duplicates if facts.duplicates is None else facts.duplicates
    return Manifest(
        logs=facts.logs,
        options=facts.options,
        before=facts.before,
        after=facts.after,
        rejected=facts.rejected,
        selection=facts.selection,
        duplicates=None if facts.options["columns"]["timestamp"] is None else duplicates,
        ids=facts.ids,
        train=summary.train_events,
        valid=valid,
        test=test,
        whole_times=facts.whole_times,
        leaks=summary.leaks.to_dict(),
        shards=names,
        sizes={name: (folder / name).stat().st_size for name in files},
        sha256={name: file_sha256(folder / name) for name in files},
    )


def _as_int32(places: Places) -> dict[str, np.ndarray]:
    return {name: values.astype(np.int32) for name, values in places._asdict().items()}


class PreparedLog:
    """A folder that `tfrec_attn.data.prepare` has finished, with every file checked.

    Args:
        folder: The folder.

    Raises:
        DataError: If it is none, or if a file is missing or damaged.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder)
        self.manifest.check(self.folder)

    def report(self) -> Report:
        """What the side conditions and the frequency filter left."""
        return report_of(self.manifest)

    def vocabularies(self) -> tuple[Vocabulary, Vocabulary]:
        """Of the users and of the items."""
        return Vocabulary.load(self.folder / USERS), Vocabulary.load(self.folder / ITEMS)

    def leaks(self) -> LeakReport:
        """What training knows of the time after the tests."""
        return LeakReport(**self.manifest.leaks)

    def item_counts(self) -> np.ndarray:
        """Training events of each item, int64 [N]."""
        return np.load(self.folder / ITEM_COUNTS)

    def transitions(self) -> Transitions:
        """How often an item follows another in the training events."""
        return load_transitions(self.folder / TRANSITIONS)

    def checksum(self) -> str:
        """SHA-256 that tells the events and their split from others, whatever the folder."""
        return hashlib.sha256(json.dumps(self.manifest.sha256, sort_keys=True).encode()).hexdigest()

    def index(self) -> tuple[np.ndarray, Places]:
        """Events of each user, int64 [M], and which of them train, validate and test."""
        with np.load(self.folder / INDEX) as arrays:
            columns = {name: arrays[name].astype(np.int64) for name in ("lengths", *Places._fields)}
        return columns.pop("lengths"), Places(**columns)

    def load(self) -> Split:
        """Reads all events: the same split as from the log itself."""
        from tfrec_attn.data.shards.shard_files import read_shard

        lengths, places = self.index()
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        items = np.zeros(offsets[-1], np.int32)
        times = np.zeros(offsets[-1], np.int64 if self.manifest.whole_times else np.float64)
        for name in self.manifest.shards:
            shard = read_shard(self.folder / name, self.manifest.whole_times)
            begin = np.cumsum(shard.lengths) - shard.lengths
            target = np.repeat(offsets[shard.users - 1] - begin, shard.lengths) + np.arange(
                len(shard.items)
            )
            items[target], times[target] = shard.items, shard.times
        sequences = Sequences(items, offsets, times, *self.vocabularies())
        return replace(
            split_at(sequences, places, str(self.manifest.options["split"])), prepared=self
        )


def report_of(manifest: Manifest) -> Report:
    """What the side conditions and the frequency filter left, by a manifest."""
    before, after = (Statistics(**size) for size in (manifest.before, manifest.after))
    least = manifest.options["min_user_events"], manifest.options["min_item_events"]
    selection = None if manifest.selection is None else Selection(**manifest.selection)
    ids = None if manifest.ids is None else IdReport.from_dict(manifest.ids)
    return Report(before, after, *least, selection, manifest.duplicates, ids)


def is_folder(source: str) -> bool:
    """Tells whether `data.source` means a prepared log, and not a source by name."""
    return "/" in source or Path(source).is_dir()


def open_source(data: Data) -> PreparedLog:
    """Opens the prepared log of `data.source`.

    Raises:
        DataError: If the folder is no prepared log, or damaged.
        ConfigError: If the configuration asks for another preparation.
    """
    folder = Path(data.source)
    if not (folder / MANIFEST).is_file():
        begun = folder.with_name(f"{folder.name}.partial").is_dir()
        remedy = (
            "run tfrec_attn.data.prepare again, it goes on from there"
            if begun
            else "write one with tfrec_attn.data.prepare"
        )
        raise DataError(f"data.source={folder} is no prepared log, it has no {MANIFEST}: {remedy}.")
    log, default = PreparedLog(folder), Data()
    for field in fields(Data):
        key, wanted = field.name, option(data, field.name)
        there = log.manifest.options.get(key, option(default, key))
        if key not in (*READING, *_OF_TRAINING) and wanted not in (there, option(default, key)):
            raise ConfigError(
                f"data.{key} is {wanted}, but {folder} was prepared with {there}: leave it out, or prepare the log again."
            )
    return log


def fits(data: Data, log: PreparedLog) -> bool:
    """Tells whether all events of a prepared log are to be held in memory."""
    return data.cache == "memory" or (
        data.cache == "auto" and log.manifest.after["events"] <= _IN_MEMORY
    )


def option(data: Data, key: str) -> object:
    """The value of a key as it stands in a manifest."""
    value = getattr(data, key)
    return asdict(value) if key == "columns" else value
