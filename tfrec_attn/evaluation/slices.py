"""Groups of held-out events, such as by the length of the history."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfrec_attn.data.sequences.splits import Split, item_counts
from tfrec_attn.data.sequences.transitions import Transitions, count_transitions

_FREQUENCIES = (0, 1, 2, 3, 6, 11)
_LENGTHS = (0, 1, 6, 11, 21, 51)
_COUNTS = (0, 1, 6, 21, 101)
_REPEATED, _TRAINED = ("no", "yes"), ("none", "some")
_QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")


class Slices(NamedTuple):
    """A partition of the held-out events.

    Attributes:
        name: What the events are grouped by.
        labels: Name of each slice that has events, such as "3-5".
        index: Slice of each event, int64 [U].
    """

    name: str
    labels: list[str]
    index: np.ndarray

    def counts(self) -> np.ndarray:
        """Returns the number of events of each slice, int64."""
        return np.bincount(self.index, minlength=len(self.labels))

    def means(self, values: np.ndarray) -> np.ndarray:
        """Returns the mean of values of the events, float [U], in each slice."""
        return np.bincount(self.index, values, len(self.labels)) / self.counts()


def event_slices(split: Split, part: str = "test") -> list[Slices]:
    """Returns slices of the held-out events, in the order of the split.

    - By how often the target follows the latest item of the history in the training events.
    - By the number of events in the history.
    - By the number of training events of the target.
    - By whether the target is in the history.
    - By whether the user has training events.
    - By the time of the target, in four parts with about the same number of events.

    Each of the last three is left out if all events are in one slice.

    Args:
        split: A split with its events in memory.
        part: "valid" or "test" (default).

    Reference:
        Zhu et al., WSDM 2024 (arXiv 2311.01056), Fig. 1 and 5, for the first partition.
    """
    sequences, positions = split.sequences, np.asarray(getattr(split, part), np.int64)
    history = positions - sequences.offsets[split.rows(positions)]
    target = sequences.items[positions]
    latest = np.where(history > 0, sequences.items[np.maximum(positions - 1, 0)], 0)
    counts = np.append(0, item_counts(split))
    rows, times = split.rows(positions), sequences.timestamps[positions]
    trained = (split.train_end - sequences.offsets[:-1])[rows]
    quarter = np.searchsorted(np.quantile(times, [0.25, 0.5, 0.75]), times)
    slices = [
        _binned("transitions to the target", frequencies(count_transitions(split), latest, target)),
        _binned("events of the history", history, _LENGTHS),
        _binned("training events of the target", counts[target], _COUNTS),
    ]
    more = [
        _named("target in the history", ~sequences.first_occurrences[positions], _REPEATED),
        _named("training events of the user", trained > 0, _TRAINED),
        _named("time of the target", quarter, _QUARTERS),
    ]
    return slices + [one for one in more if len(one.labels) > 1]


def frequencies(transitions: Transitions, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns how often each `second` item follows the `first` one, int64 [U]; 0 is padding."""
    base = transitions.num_items + 1
    row = np.repeat(np.arange(base), np.diff(transitions.offsets))
    keys = np.append(row * base + transitions.neighbours, base * base)
    wanted = first.astype(np.int64) * base + second
    place = np.searchsorted(keys, wanted)
    return np.where(keys[place] == wanted, np.append(transitions.counts, 0)[place], 0)


def _binned(name: str, values: np.ndarray, edges: tuple[int, ...] = _FREQUENCIES) -> Slices:
    """Returns slices that begin at the edges; those without events are left out."""
    ends = [*(edge - 1 for edge in edges[1:]), None]
    labels = [
        f"{begin} or more" if end is None else str(begin) if begin == end else f"{begin}-{end}"
        for begin, end in zip(edges, ends, strict=True)
    ]
    return _named(name, np.searchsorted(edges, values, side="right") - 1, labels)


def _named(name: str, values: np.ndarray, labels: Sequence[str]) -> Slices:
    """Returns slices by values 0, 1, ...; those without events are left out."""
    found, index = np.unique(values.astype(np.int64), return_inverse=True)
    return Slices(name, [labels[one] for one in found], index)
