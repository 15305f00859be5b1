"""Which events train, which are held out, and whether the training saw the future of what it is tested on."""

import datetime
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from tfrec_attn.data.preparation import Sequences
from tfrec_attn.errors import ConfigError, DataError

_FEWEST = 3


@dataclass(frozen=True, eq=False)
class Split:
    """For each user a prefix of his events to train on, and at most one event each to validate and to test.

    The history of a held-out event is everything of its user before it.

    Attributes:
        sequences: The events.
        train_end: End, exclusive, of each user's training prefix `items[offsets[u]:train_end[u]]`, int64 [M].
        valid: Positions of the validation targets in `items`, ascending, int64.
        test: Positions of the test targets in `items`, ascending, int64.
        name: `"leave-one-out"` or `"temporal"`.
    """

    sequences: Sequences
    train_end: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    name: str

    def train_mask(self) -> np.ndarray:
        """Returns which events train, bool [E]."""
        return np.arange(len(self.sequences.items)) < np.repeat(self.train_end, self.sequences.lengths)

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Returns the user row (from 0) that owns each position."""
        return np.searchsorted(self.sequences.offsets, positions, side="right") - 1


def leave_one_out(sequences: Sequences) -> Split:
    """Holds out the last event of each user for the test and the one before for validation; users with fewer than 3 only train.

    Raises:
        DataError: If no user has 3 events.
    """
    enough = sequences.lengths >= _FEWEST
    if not enough.any():
        longest = sequences.lengths.max(initial=0)
        raise DataError(f"data.split=leave-one-out needs a user with {_FEWEST} events or more, the longest history has {longest}.")
    ends = sequences.offsets[1:]
    last = ends[enough] - 1
    return Split(sequences, np.where(enough, ends - 2, ends), last - 1, last, "leave-one-out")


def temporal(sequences: Sequences, *, valid_from: float | str, test_from: float | str) -> Split:
    """Trains on what came before a point in time and holds out each user's first event after it.

    Args:
        sequences: The events.
        valid_from: Training ends here: a share of all events in (0, 1), or an ISO 8601 date (UTC; the timestamps are then seconds).
            A user's first event in [valid_from, test_from) is his validation target.
        test_from: Validation ends here; a user's first event at or after it is his test target. A user may lack either.

    Raises:
        DataError: If a bound is neither, if they do not ascend, or if there is nothing to train on, to validate or to test.
    """
    start, end = (_moment(sequences, name, bound) for name, bound in (("valid_from", valid_from), ("test_from", test_from)))
    if start >= end:
        got = f"{valid_from} (time {start:.15g}) and {test_from} (time {end:.15g})"
        raise DataError(f"data.valid_from must be earlier than data.test_from, got {got}.")
    train_end = sequences.offsets[:-1] + _count(sequences, sequences.timestamps < start)
    test_start = sequences.offsets[:-1] + _count(sequences, sequences.timestamps < end)
    valid = train_end[train_end < test_start]
    test = test_start[test_start < sequences.offsets[1:]]
    between = f"between data.valid_from={valid_from} and data.test_from={test_from}"
    for size, where in ((start > sequences.timestamps.min(), f"before data.valid_from={valid_from}"), (len(valid), between)):
        if not size:
            raise DataError(f"no event lies {where}: the times go from {_span(sequences)}.")
    if not len(test):
        raise DataError(f"no event lies at or after data.test_from={test_from}: the times go from {_span(sequences)}.")
    return Split(sequences, train_end, valid, test, "temporal")


SPLITS: dict[str, Callable[..., Split]] = {"leave-one-out": leave_one_out, "temporal": temporal}


def make_split(sequences: Sequences, name: str = "leave-one-out", **bounds: float | str | None) -> Split:
    """Returns the split of that name; `valid_from` and `test_from` (None counts as not given) belong to `"temporal"`.

    Raises:
        ConfigError: If there is no such split, or if its bounds are missing or not its own.
    """
    given = {key: value for key, value in bounds.items() if value is not None}
    expected = {"leave-one-out": set(), "temporal": {"valid_from", "test_from"}}
    if name not in SPLITS:
        raise ConfigError(f"data.split must be one of {', '.join(SPLITS)}, got {name!r}.")
    if set(given) != expected[name]:
        needs, got = (" and ".join(f"data.{key}" for key in sorted(keys)) or "no bounds" for keys in (expected[name], given))
        raise ConfigError(f"data.split={name} needs {needs}, got {got}.")
    return SPLITS[name](sequences, **given)


@dataclass(frozen=True)
class LeakReport:
    """How far the training of a split looks past its test events; all are shares in 0..1.

    Attributes:
        tests_before_training: Test events that some training event, of any user, came after.
        training_after_median_test: Training events later than the median test event.
        targets_only_seen_later: Test events whose item was trained on, but not before or at the time of the test.
        ties: Events at the same time as the event before them of the same user, so that their order is that of the file.
    """

    tests_before_training: float
    training_after_median_test: float
    targets_only_seen_later: float
    ties: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.tests_before_training:.1%} of the test events have training events after them, and "
            f"{self.training_after_median_test:.1%} of the training events are later than the median test event;\n"
            f"{self.targets_only_seen_later:.1%} of the test items were trained on only later than their test, and "
            f"{self.ties:.1%} of the events share their time with the one before."
        )


def leak_report(split: Split) -> LeakReport:
    """Measures what a split lets the training know of the time after its test events."""
    sequences, train = split.sequences, split.train_mask()
    times, tests = sequences.timestamps, split.sequences.timestamps[split.test]
    first_seen = np.full(sequences.num_items + 1, np.inf)
    np.minimum.at(first_seen, sequences.items[train], times[train])
    seen = first_seen[sequences.items[split.test]]
    later = np.ones(len(times), bool)
    later[sequences.offsets[:-1]] = False
    ties = np.count_nonzero(times[1:][later[1:]] == times[:-1][later[1:]])
    latest = times[train].max(initial=times.min())
    return LeakReport(
        tests_before_training=float(np.mean(tests < latest)),
        training_after_median_test=float(np.mean(times[train] > np.median(tests))),
        targets_only_seen_later=float(np.mean(np.isfinite(seen) & (seen > tests))),
        ties=float(ties / max(1, np.count_nonzero(later))),
    )


def _count(sequences: Sequences, chosen: np.ndarray) -> np.ndarray:
    """Returns how many of each user's events are chosen, int64 [M]."""
    sums = np.concatenate([[0], np.cumsum(chosen)])
    return sums[sequences.offsets[1:]] - sums[sequences.offsets[:-1]]


def _moment(sequences: Sequences, name: str, bound: float | str) -> float:
    expected = f"data.{name} must be a share of the events between 0 and 1 or an ISO 8601 date, got {bound!r}"
    if isinstance(bound, str):
        try:
            moment = datetime.datetime.fromisoformat(bound.replace("Z", "+00:00"))
        except ValueError as error:
            raise DataError(f"{expected}.") from error
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).timestamp()
    if isinstance(bound, bool) or not 0 < bound < 1:
        raise DataError(f"{expected}.")
    return float(np.quantile(sequences.timestamps, bound, method="lower"))


def _span(sequences: Sequences) -> str:
    return f"{sequences.timestamps.min()} to {sequences.timestamps.max()}"
