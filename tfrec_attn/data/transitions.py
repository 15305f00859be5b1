"""How often one item follows another in the training events."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrec_attn.data.splits import Split
from tfrec_attn.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Transitions:
    """Counts C of ordered pairs of items, as the compressed rows of a sparse matrix.

    Item i was followed by the items `neighbours[offsets[i]:offsets[i + 1]]`, ascending, as often as `counts` says at the same places.
    Row 0, that of padding, is empty.

    Attributes:
        num_items: N.
        offsets: Begin of each row, int64 [N + 2].
        neighbours: Item index 1..N, int32 [nnz].
        counts: At least 1, int64 [nnz].
    """

    num_items: int
    offsets: np.ndarray
    neighbours: np.ndarray
    counts: np.ndarray


def count_transitions(split: Split, time_span: int = 1, max_length: int | None = None) -> Transitions:
    """Counts how often item j follows item i within `time_span` steps of the same user's training events.

    The events at t and t + s make one pair for each s = 1..time_span, in this order only; held-out events make none.

    Args:
        split: The events, and which of them train.
        time_span: Steps to look ahead, at least 1.
        max_length: Count only within the latest so many training events of each user, those that a model with histories of that length
            trains on; None counts within all.

    Raises:
        ConfigError: If `time_span` or `max_length` is not an integer of at least 1.
    """
    for name, value in (("time_span", time_span), ("max_length", max_length)):
        integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not (integer and value >= 1) and not (name == "max_length" and value is None):
            raise ConfigError(f"{name} must be an integer of at least 1, got {value!r}.")
    if split.prepared is not None and time_span == 1 and max_length is None:
        return split.prepared.transitions()
    if split.sequences.items is None:
        raise ConfigError(f"transitions within {time_span} steps need all events in memory: set data.cache=memory, or time_span to 1.")
    sequences, ends = split.sequences, split.train_end
    begins = sequences.offsets[:-1] if max_length is None else np.maximum(sequences.offsets[:-1], ends - max_length)
    lengths = ends - begins
    end = np.repeat(ends, lengths)
    place = np.arange(len(end)) + np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
    # One integer a pair: sorting these is sorting the pairs.
    base = sequences.num_items + 1
    pairs = [np.zeros(0, np.int64)]
    for step in range(1, min(time_span, int(lengths.max(initial=0))) + 1):
        first = place[place + step < end]
        pairs.append(sequences.items[first].astype(np.int64) * base + sequences.items[first + step])
    distinct, counts = np.unique(np.concatenate(pairs), return_counts=True)
    offsets = np.searchsorted(distinct, np.arange(base + 1) * base).astype(np.int64)
    return Transitions(sequences.num_items, offsets, (distinct % base).astype(np.int32), counts.astype(np.int64))


def save_transitions(path: Path, transitions: Transitions) -> None:
    """Writes counts without pickle; the smallest whole numbers that hold them."""
    counts = transitions.counts.astype(np.min_scalar_type(int(transitions.counts.max(initial=0))))
    np.savez(path, offsets=transitions.offsets, neighbours=transitions.neighbours, counts=counts)


def load_transitions(path: Path) -> Transitions:
    """Reads what `save_transitions` wrote."""
    with np.load(path) as arrays:
        return Transitions(len(arrays["offsets"]) - 2, arrays["offsets"], arrays["neighbours"], arrays["counts"].astype(np.int64))
