"""How often one item follows another in the training events."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrec_attn.data.sequences.pair_sums import PairSums
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Transitions:
    """Counts C of ordered pairs of items, as the compressed rows of a sparse matrix.

    The items that follow item i are `neighbours[offsets[i]:offsets[i + 1]]`, ascending, and their
    counts are `counts[offsets[i]:offsets[i + 1]]`. Row 0, for padding, is empty.

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


class TrainingEvents(NamedTuple):
    """The training events of some users.

    The training events of user u are `items[begins[u]:ends[u]]`.

    Attributes:
        items: Items 1..N, int32 [E].
        begins: Position of the first training event of each user, int64 [U].
        ends: End, exclusive, of the training events of each user, int64 [U].
    """

    items: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


def count_transitions(
    split: Split, time_span: int = 1, max_length: int | None = None
) -> Transitions:
    """Counts how often item j follows item i in the training events of a user.

    The events at t and t + s are one pair for each s = 1..time_span, in this order only. Held-out
    events are in no pair.

    Args:
        split: The events.
        time_span: Maximum number of steps between two events, at least 1. Default 1.
        max_length: Only the latest `max_length` training events of each user count. None (default):
            all training events count.

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
    num_items = split.sequences.num_items
    with tempfile.TemporaryDirectory(prefix="transitions-") as folder:
        counts = PairSums(Path(folder), num_items, most_pairs(split, time_span))
        for events in training_events(split):
            for first, second in pairs_of_steps(events, time_span, max_length):
                counts.add(first, second)
        return transitions_of(counts, num_items)


def training_events(split: Split) -> Iterator[TrainingEvents]:
    """Yields the training events, all at once or shard by shard."""
    sequences = split.sequences
    if sequences.items is not None:
        yield TrainingEvents(sequences.items, sequences.offsets[:-1], split.train_end)
        return
    for shard in split.shards():
        begins = np.cumsum(shard.lengths) - shard.lengths
        yield TrainingEvents(shard.items, begins, begins + shard.train)


def training_pairs(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Returns the user 1..M and the item 1..N of each training event, int32 [E]."""
    sequences = split.sequences
    if sequences.items is not None:
        mask = split.train_mask()
        return sequences.users()[mask], sequences.items[mask]
    users, items = [], []
    for shard in split.shards():
        mask = shard.train_mask()
        users.append(np.repeat(shard.users, shard.lengths)[mask].astype(np.int32))
        items.append(shard.items[mask])
    return np.concatenate(users), np.concatenate(items)


def pairs_of_steps(
    events: TrainingEvents, time_span: int, max_length: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the items of the events t and of the events t + s, for each step s = 1, 2, ...

    Args:
        events: The events.
        time_span: The last step; it ends earlier if all histories are shorter.
        max_length: Only the latest `max_length` events of each user count. None (default): all.
    """
    items, begins, ends = events
    begins = begins if max_length is None else np.maximum(begins, ends - max_length)
    lengths = ends - begins
    end = np.repeat(ends, lengths)
    event = np.arange(len(end)) + np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
    for step in range(1, min(time_span, int(lengths.max(initial=0))) + 1):
        # An event without a successor at t + s has none at t + s + 1.
        has_next = event + step < end
        event, end = event[has_next], end[has_next]
        yield items[event], items[event + step]


def most_pairs(split: Split, time_span: int) -> int:
    """Returns the number of pairs of training events within a span of steps."""
    lengths = split.train_end - split.sequences.offsets[:-1]
    steps = np.minimum(min(time_span, int(lengths.max(initial=0))), np.maximum(lengths - 1, 0))
    return int((steps * lengths - steps * (steps + 1) // 2).sum())


def transitions_of(counts: PairSums, num_items: int) -> Transitions:
    """Returns counted pairs as transitions between the items 1..`num_items`."""
    rows, neighbours, sums = np.zeros(num_items + 1, np.int64), [], []
    for block in counts.blocks():
        rows += np.bincount(block.first, minlength=num_items + 1)
        neighbours.append(block.second)
        sums.append(block.sums.astype(np.int64))
    offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
    return Transitions(num_items, offsets, np.concatenate(neighbours), np.concatenate(sums))


def save_transitions(path: Path, transitions: Transitions) -> None:
    """Writes transitions as NPZ, with the counts in the smallest integer type that fits."""
    counts = transitions.counts.astype(np.min_scalar_type(int(transitions.counts.max(initial=0))))
    np.savez(path, offsets=transitions.offsets, neighbours=transitions.neighbours, counts=counts)


def load_transitions(path: Path) -> Transitions:
    """Reads transitions that `save_transitions` has written."""
    with np.load(path) as arrays:
        return Transitions(
            len(arrays["offsets"]) - 2,
            arrays["offsets"],
            arrays["neighbours"],
            arrays["counts"].astype(np.int64),
        )
