"""Which events train, which are held out, and whether the training saw the future of what it is
tested on.
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfrec_attn.data.sequences.encoding import Sequences, checksum
from tfrec_attn.errors import ConfigError, DataError, shown

_FEWEST = 3


@dataclass(frozen=True, eq=False)
class Split:
    """For each user a prefix of his events to train on, and at most one event each to validate and
    to test.

    The history of a held-out event is everything of its user before it.

    Attributes:
        sequences: The events.
        train_end: End, exclusive, of each user's training prefix `items[offsets[u]:train_end[u]]`,
            int64 [M].
        valid: Positions of the validation targets in `items`, ascending, int64.
        test: Positions of the test targets in `items`, ascending, int64.
        name: `"leave-one-out"` or `"temporal"`.
        prepared: The `PreparedLog` that it was read from, which holds counts of it, or None.
    """

    sequences: Sequences
    train_end: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    name: str
    prepared: Any = None

    def train_mask(self) -> np.ndarray:
        """Returns which events train, bool [E]."""
        return np.arange(len(self.sequences.items)) < np.repeat(
            self.train_end, self.sequences.lengths
        )

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Returns the user row (from 0) that owns each position."""
        return np.searchsorted(self.sequences.offsets, positions, side="right") - 1


class SplitPositions(NamedTuple):
    """SplitPositions among the events of each user, from 0, int64 [M].

    Attributes:
        train: How many events train, the first ones.
        valid: The one that validates, -1 for none.
        test: The one that tests, -1 for none.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def hold_out_last(lengths: np.ndarray) -> SplitPositions:
    """The last event of each user tests and the one before validates; users with fewer than 3 only
    train.
    """
    enough = lengths >= _FEWEST
    return SplitPositions(
        np.where(enough, lengths - 2, lengths),
        np.where(enough, lengths - 2, -1),
        np.where(enough, lengths - 1, -1),
    )


def hold_out_between(lengths: np.ndarray, times: np.ndarray, start: float, end: float) -> SplitPositions:
    """Events before `start` train; each user's first event in [start, end) validates, and his first
    one at or after `end` tests.

    Args:
        lengths: Events of each user, int64 [M].
        times: Times of the events, one user after the other, ascending within each.
        start: End of the training.
        end: End of the validation.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    before_start, before_end = (
        np.diff(np.concatenate([[0], np.cumsum(times < moment)])[offsets])
        for moment in (start, end)
    )
    valid = np.where(before_start < before_end, before_start, -1)
    return SplitPositions(before_start, valid, np.where(before_end < lengths, before_end, -1))


def split_at(sequences: Sequences, places: SplitPositions, name: str) -> Split:
    """The split of that name whose events stand at these places."""
    start = sequences.offsets[:-1]
    valid, test = ((start + place)[place >= 0] for place in (places.valid, places.test))
    return Split(sequences, start + places.train, valid, test, name)


def leave_one_out(sequences: Sequences) -> Split:
    """Holds out the last event of each user for the test and the one before for validation; users
    with fewer than 3 only train.

    Raises:
        DataError: If no user has 3 events.
    """
    require_long_enough(sequences.lengths.max(initial=0))
    return split_at(sequences, hold_out_last(sequences.lengths), "leave-one-out")


def require_long_enough(longest: int) -> None:
    """Refuses a log whose longest history leaves nothing to test by leave-one-out."""
    if longest < _FEWEST:
        raise DataError(
            f"data.split=leave-one-out needs a user with {_FEWEST} events or more, the longest history has {longest}."
        )


def temporal(sequences: Sequences, *, valid_from: float | str, test_from: float | str) -> Split:
    """Trains on what came before a point in time and holds out each user's first event after it.

    Args:
        sequences: The events.
        valid_from: Training ends here: a share of all events in (0, 1), or an ISO 8601 date (UTC;
            the timestamps are then seconds). A user's first event in [valid_from, test_from) is his
            validation target.
        test_from: Validation ends here; a user's first event at or after it is his test target. A
            user may lack either.

    Raises:
        DataError: If a bound is neither, if they do not ascend, or if there is nothing to train on,
            to validate or to test.
    """
    times = sequences.timestamps
    start, end = period(
        valid_from, test_from, lambda share: float(np.quantile(times, share, method="lower"))
    )
    split = split_at(sequences, hold_out_between(sequences.lengths, times, start, end), "temporal")
    require_parts(
        valid_from,
        test_from,
        bool(start > times.min()),
        len(split.valid),
        len(split.test),
        (times.min(), times.max()),
    )
    return split


def period(
    valid_from: float | str, test_from: float | str, quantile: Callable[[float], float]
) -> tuple[float, float]:
    """The two points in time of a temporal split.

    Args:
        valid_from: As for `temporal`, and so is `test_from`.
        test_from: When the test begins.
        quantile: The time that a share of all events lies before: the lower of two where it falls
            between them.

    Raises:
        DataError: If a bound is neither a share nor a date, or if they do not ascend.
    """
    start, end = (
        _moment(name, bound, quantile)
        for name, bound in (("valid_from", valid_from), ("test_from", test_from))
    )
    if start >= end:
        got = f"{valid_from} (time {start:.15g}) and {test_from} (time {end:.15g})"
        raise DataError(f"data.valid_from must be earlier than data.test_from, got {got}.")
    return start, end


def require_parts(
    valid_from, test_from, train: bool, valid: int, test: int, span: tuple[float, float]
) -> None:
    """Refuses a temporal split that leaves nothing to train on, to validate or to test, given the
    first and the last time.
    """
    between = f"between data.valid_from={valid_from} and data.test_from={test_from}"
    for size, where in (
        (train, f"before data.valid_from={valid_from}"),
        (valid, between),
        (test, f"at or after data.test_from={test_from}"),
    ):
        if not size:
            raise DataError(f"no event lies {where}: the times go from {span[0]} to {span[1]}.")


SPLITS: dict[str, Callable[..., Split]] = {"leave-one-out": leave_one_out, "temporal": temporal}


def make_split(
    sequences: Sequences, name: str = "leave-one-out", **bounds: float | str | None
) -> Split:
    """Returns the split of that name; `valid_from` and `test_from` (None counts as not given)
    belong to `"temporal"`.

    Raises:
        ConfigError: If there is no such split, or if its bounds are missing or not its own.
    """
    given = require_bounds(name, **bounds)
    return SPLITS[name](sequences, **given)


def require_bounds(name: str, **bounds: float | str | None) -> dict[str, float | str]:
    """Returns the bounds that are given, which must be those of the split of that name."""
    given = {key: value for key, value in bounds.items() if value is not None}
    expected = {"leave-one-out": set(), "temporal": {"valid_from", "test_from"}}
    if name not in SPLITS:
        raise ConfigError(f"data.split must be one of {', '.join(SPLITS)}, got {name!r}.")
    if set(given) != expected[name]:
        needs, got = (
            " and ".join(f"data.{key}" for key in sorted(keys)) or "no bounds"
            for keys in (expected[name], given)
        )
        raise ConfigError(f"data.split={name} needs {needs}, got {got}.")
    return given






def _moment(name: str, bound: float | str, quantile: Callable[[float], float]) -> float:
    expected = f"data.{name} must be a share of the events between 0 and 1 or an ISO 8601 date, got {shown(bound)}"
    if isinstance(bound, str):
        try:
            moment = datetime.datetime.fromisoformat(bound.replace("Z", "+00:00"))
            return (
                moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)
            ).timestamp()
        except (ValueError, OverflowError) as error:
            # The first and the last day of all overflow where they have an offset.
            raise DataError(f"{expected}.") from error
    if isinstance(bound, bool) or not 0 < bound < 1:
        raise DataError(f"{expected}.")
    return quantile(bound)


def item_counts(split: Split) -> np.ndarray:
    """Training events of each item, int64 [N]."""
    if split.prepared is not None:
        return split.prepared.item_counts()
    sequences = split.sequences
    return np.bincount(sequences.items[split.train_mask()], minlength=sequences.num_items + 1)[
        1:
    ].astype(np.int64)


def split_checksum(split: Split) -> str:
    """`checksum` of a split's events; of the whole prepared log where they are not in memory."""
    return split.prepared.checksum() if split.sequences.items is None else checksum(split.sequences)
