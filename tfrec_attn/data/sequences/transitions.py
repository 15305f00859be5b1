"""How often one item follows another in the training events."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.errors import ConfigError
from tfrec_attn.files.writing import append_array

_BUCKET = 4_000_000  # pairs of a file


@dataclass(frozen=True, eq=False)
class Transitions:
    """Counts C of ordered pairs of items, as the compressed rows of a sparse matrix.

    The items that follow item i are `neighbours[offsets[i]:offsets[i + 1]]`, ascending, and
    `counts[offsets[i]:offsets[i + 1]]` tells how often each does. Row 0, for padding, is empty.

    Attributes:
        num_items: N.
        offsets: Start of each row, int64 [N + 2].
        neighbours: Item index 1..N, int32 [nnz].
        counts: At least 1, int64 [nnz].
    """

    num_items: int
    offsets: np.ndarray
    neighbours: np.ndarray
    counts: np.ndarray


def count_transitions(
    split: Split, time_span: int = 1, max_length: int | None = None
) -> Transitions:
    """Counts how often item j follows item i in the training events of a user.

    The events at t and t + s make one pair for each s = 1..time_span, in this order only. Held-out
    events make none.

    Args:
        split: The events, and which of them train.
        time_span: Steps to look ahead, at least 1.
        max_length: Count only within the latest `max_length` training events of each user; None
            counts within all.

    Raises:
        ConfigError: If `time_span` or `max_length` is not an integer of at least 1.
    """
    for name, value in (
        ("time_span", time_span),
        ("max_length", 1 if max_length is None else max_length),
    ):
        integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not (integer and value >= 1):
            raise ConfigError(f"{name} must be an integer of at least 1, got {value!r}.")
    if split.prepared is not None and time_span == 1 and max_length is None:
        return split.prepared.transitions()
    if split.sequences.items is None:
        return _count_in_shards(split, time_span, max_length)
    sequences = split.sequences
    # Each pair becomes one integer, which sorts like the pair.
    base = sequences.num_items + 1
    found = _pairs(sequences.items, sequences.offsets[:-1], split.train_end, time_span, max_length)
    pairs = [
        np.zeros(0, np.int64),
        *(first.astype(np.int64) * base + second for first, second in found),
    ]
    distinct, counts = np.unique(np.concatenate(pairs), return_counts=True)
    offsets = np.searchsorted(distinct, np.arange(base + 1) * base).astype(np.int64)
    return Transitions(
        sequences.num_items, offsets, (distinct % base).astype(np.int32), counts.astype(np.int64)
    )


def _pairs(
    items: np.ndarray, begins: np.ndarray, ends: np.ndarray, time_span: int, max_length: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the items of the events t and of the events t + s, for each step s.

    The events of user u are begins[u]:ends[u].
    """
    begins = begins if max_length is None else np.maximum(begins, ends - max_length)
    lengths = ends - begins
    end = np.repeat(ends, lengths)
    event = np.arange(len(end)) + np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
    for step in range(1, min(time_span, int(lengths.max(initial=0))) + 1):
        first = event[event + step < end]
        yield items[first], items[first + step]


def _count_in_shards(split: Split, time_span: int, max_length: int | None) -> Transitions:
    """Counts the transitions of a `ShardedSplit`, one shard after the other."""
    lengths = split.train_end - split.sequences.offsets[:-1]
    steps = np.minimum(min(time_span, int(lengths.max(initial=0))), np.maximum(lengths - 1, 0))
    most = int((steps * lengths - steps * (steps + 1) // 2).sum())
    with tempfile.TemporaryDirectory(prefix="transitions-") as folder:
        counts = PairCounts(Path(folder), split.sequences.num_items, most)
        for shard in split.shards():
            begins = np.cumsum(shard.lengths) - shard.lengths
            for first, second in _pairs(
                shard.items, begins, begins + shard.train, time_span, max_length
            ):
                counts.add(first, second)
        return counts.result()


def save_transitions(path: Path, transitions: Transitions) -> None:
    """Writes transitions as NPZ; the counts have the smallest integer type that holds them."""
    counts = transitions.counts.astype(np.min_scalar_type(int(transitions.counts.max(initial=0))))
    np.savez(path, offsets=transitions.offsets, neighbours=transitions.neighbours, counts=counts)


def load_transitions(path: Path) -> Transitions:
    """Reads what `save_transitions` wrote."""
    with np.load(path) as arrays:
        return Transitions(
            len(arrays["offsets"]) - 2,
            arrays["offsets"],
            arrays["neighbours"],
            arrays["counts"].astype(np.int64),
        )


class PairCounts:
    """Counts pairs of items that come in any order, in files by the first item.

    Args:
        folder: An empty folder for the files.
        num_items: N.
        pairs: About how many pairs there are.
    """

    def __init__(self, folder: Path, num_items: int, pairs: int):
        self._folder, self._base = folder, num_items + 1
        self._buckets = 1 + pairs // _BUCKET

    def add(self, first: np.ndarray, second: np.ndarray) -> None:
        """Counts the pairs (first, second), items 1..N."""
        pairs = np.sort(first.astype(np.int64) * self._base + second)
        ends = np.searchsorted(pairs, self._bounds())
        for bucket, (begin, end) in enumerate(pairwise(ends)):
            with open(self._folder / f"pairs-{bucket}.bin", "ab") as file:
                append_array(file, pairs[begin:end])

    def result(self) -> Transitions:
        """Returns all counts."""
        rows, neighbours, counts = np.zeros(self._base, np.int64), [], []
        for bucket in range(self._buckets):
            path = self._folder / f"pairs-{bucket}.bin"
            pairs, count = np.unique(
                np.fromfile(path, np.int64) if path.exists() else np.zeros(0, np.int64),
                return_counts=True,
            )
            rows += np.bincount(pairs // self._base, minlength=self._base)
            neighbours.append((pairs % self._base).astype(np.int32))
            counts.append(count.astype(np.int64))
        offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        return Transitions(
            self._base - 1, offsets, np.concatenate(neighbours), np.concatenate(counts)
        )

    def _bounds(self) -> np.ndarray:
        """Returns the start of each bucket, and the end of the last."""
        first_items = np.arange(self._buckets + 1) * self._base // self._buckets
        return first_items.astype(np.int64) * self._base
