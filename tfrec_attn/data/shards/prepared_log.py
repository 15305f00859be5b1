"""A prepared log, for `data.source`: a folder of shards, vocabularies, counts and a manifest."""

import hashlib
import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np

from tfrec_attn.config import Data
from tfrec_attn.data.sequences.encoding import Sequences
from tfrec_attn.data.sequences.filter_report import FilterReport
from tfrec_attn.data.sequences.leakage import LeakReport
from tfrec_attn.data.sequences.splits import Split, SplitPositions, split_at
from tfrec_attn.data.sequences.transitions import Transitions, load_transitions
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.data.shards.manifest import MANIFEST, Manifest
from tfrec_attn.data.shards.shard_files import read_shard
from tfrec_attn.errors import ConfigError, DataError

USERS, ITEMS = "users.txt", "items.txt"
INDEX, ITEM_COUNTS, TRANSITIONS = "index.npz", "item_counts.npy", "transitions.npz"
REJECTED = "rejected.tsv"
READING = ("format", "names", "separator", "columns", "on_error")
# The keys of the section `data` that affect a prepared log.
OPTIONS = (
    *READING, "min_rating", "event_types", "event_weights", "ids", "missing_ids", "duplicates",
    "session_gap", "repeats", "min_user_events", "min_item_events", "split", "valid_from",
    "test_from",
)  # fmt: skip
_OF_TRAINING = (
    "source", "cache", "items", "max_length", "targets", "window", "mask_share", "mask_last",
    "events", "seed",
)  # fmt: skip
_IN_MEMORY = 20_000_000  # events, which take about 2.5 GB with the arrays for the batches


class PreparedLog:
    """A folder that `tfrec_attn.data.prepare` has finished; every file is checked.

    Args:
        folder: The folder.

    Raises:
        DataError: If the folder is not a prepared log, or if a file is missing or damaged.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder)
        self.manifest.check(self.folder)

    @property
    def weighted(self) -> bool:
        """Whether events have weights."""
        return self.manifest.options.get("event_weights") is not None

    def report(self) -> FilterReport:
        """Returns the report of the event filters and the frequency filter."""
        return self.manifest.report()

    def vocabularies(self) -> tuple[Vocabulary, Vocabulary]:
        """Returns the vocabularies of the users and of the items."""
        return Vocabulary.load(self.folder / USERS), Vocabulary.load(self.folder / ITEMS)

    def leaks(self) -> LeakReport:
        """Returns what training knows of the time after the test events."""
        return LeakReport(**self.manifest.leaks)

    def item_counts(self) -> np.ndarray:
        """Returns the number of training events of each item, int64 [N]."""
        return np.load(self.folder / ITEM_COUNTS)

    def transitions(self) -> Transitions:
        """Returns how often an item follows another item in the training events."""
        return load_transitions(self.folder / TRANSITIONS)

    def checksum(self) -> str:
        """Returns a SHA-256 of the events and their split, independent of the folder's path."""
        return hashlib.sha256(json.dumps(self.manifest.sha256, sort_keys=True).encode()).hexdigest()

    def index(self) -> tuple[np.ndarray, SplitPositions]:
        """Returns the number of events of each user, int64 [M], and the positions of the split."""
        with np.load(self.folder / INDEX) as arrays:
            names = ("lengths", *SplitPositions._fields)
            lengths, *positions = (arrays[name].astype(np.int64) for name in names)
        return lengths, SplitPositions(*positions)

    def load(self) -> Split:
        """Reads all events, and returns the same split as for the log itself."""
        lengths, positions = self.index()
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        items = np.zeros(offsets[-1], np.int32)
        times = np.zeros(offsets[-1], np.int64 if self.manifest.whole_times else np.float64)
        weights = np.zeros(offsets[-1], np.float32) if self.weighted else None
        for name in self.manifest.shards:
            shard = read_shard(self.folder / name, self.manifest.whole_times, self.weighted)
            begin = np.cumsum(shard.lengths) - shard.lengths
            shift = np.repeat(offsets[shard.users - 1] - begin, shard.lengths)
            target = shift + np.arange(len(shard.items))
            items[target], times[target] = shard.items, shard.times
            if weights is not None:
                weights[target] = shard.weights
        sequences = Sequences(items, offsets, times, *self.vocabularies(), weights)
        split = split_at(sequences, positions, str(self.manifest.options["split"]))
        return replace(split, prepared=self)


def is_folder(source: str) -> bool:
    """Returns whether `data.source` is the path of a folder, not the name of a source."""
    return "/" in source or Path(source).is_dir()


def open_source(data: Data) -> PreparedLog:
    """Opens the prepared log of `data.source`.

    Raises:
        DataError: If the folder is damaged or not a prepared log.
        ConfigError: If the configuration has keys of another preparation.
    """
    folder = Path(data.source)
    if not (folder / MANIFEST).is_file():
        begun = folder.with_name(f"{folder.name}.partial").is_dir()
        remedy = (
            "run tfrec_attn.data.prepare again, it resumes there"
            if begun
            else "write one with tfrec_attn.data.prepare"
        )
        raise DataError(
            f"data.source={folder} is not a prepared log, it has no {MANIFEST}: {remedy}."
        )
    log, defaults = PreparedLog(folder), Data()
    for field in fields(Data):
        key, wanted, default = field.name, option(data, field.name), option(defaults, field.name)
        found = log.manifest.options.get(key, default)
        if key not in (*READING, *_OF_TRAINING) and wanted not in (found, default):
            raise ConfigError(
                f"data.{key} is {wanted}, but {folder} was prepared with {found}: leave it out, "
                "or prepare the log again."
            )
    return log


def fits(data: Data, log: PreparedLog) -> bool:
    """Returns whether to hold all events of a prepared log in memory."""
    small = log.manifest.after["events"] <= _IN_MEMORY
    return data.cache == "memory" or (data.cache == "auto" and small)


def option(data: Data, key: str) -> object:
    """Returns the value of a key in the form of a manifest."""
    value = getattr(data, key)
    return asdict(value) if key == "columns" else value
