"""Splits the events into training, validation and test events."""

import dataclasses
import datetime
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tfrec_attn.data.sequences.encoding import Sequences, checksum
from tfrec_attn.errors import ConfigError, DataError, shown

_FEWEST = 3  # events of a user with a test event under leave-one-out


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The training events of each user, a prefix, and validation and test targets after it.

    The history of a held-out event is all earlier events of its user.

    Attributes:
        sequences: The events.
        train_end: End, exclusive, of each user's training prefix `items[offsets[u]:train_end[u]]`,
            int64 [M].
        valid: Positions of the validation targets in `items`, ascending, int64.
        test: Positions of the test targets in `items`, ascending, int64.
        name: `"leave-one-out"` or `"temporal"`.
        prepared: The `PreparedLog` that the events come from, or None (default).
    """

    sequences: Sequences
    train_end: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    name: str
    prepared: Any = None

    def train_mask(self) -> np.ndarray:
        """Returns whether each event is a training event, bool [E]."""
        ends = np.repeat(self.train_end, self.sequences.lengths)
        return np.arange(len(self.sequences.items)) < ends

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Returns the user row (from 0) of each position."""
        return np.searchsorted(self.sequences.offsets, positions, side="right") - 1


def item_counts(split: Split) -> np.ndarray:
    """Returns the number of training events of each item, int64 [N]."""
    if split.prepared is not None:
        return split.prepared.item_counts()
    trained = split.sequences.items[split.train_mask()]
    return np.bincount(trained, minlength=split.sequences.num_items + 1)[1:].astype(np.int64)


def split_checksum(split: Split) -> str:
    """Returns the `checksum` of the events, or of the prepared log if they are not in memory."""
    return split.prepared.checksum() if split.sequences.items is None else checksum(split.sequences)


class SplitPositions(NamedTuple):
    """Positions among the events of each user, from 0, int64 [M].

    Attributes:
        train: Number of training events, which are the first events.
        valid: Position of the validation target; -1 if there is none.
        test: Position of the test target; -1 if there is none.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def hold_out_last(lengths: np.ndarray) -> SplitPositions:
    """Holds out the last two events of each user, for validation and test.

    All events of a user with fewer than 3 events are training events.

    Args:
        lengths: Events of each user, int64 [M].
    """
    enough = lengths >= _FEWEST
    return SplitPositions(
        np.where(enough, lengths - 2, lengths),
        np.where(enough, lengths - 2, -1),
        np.where(enough, lengths - 1, -1),
    )


def hold_out_between(
    lengths: np.ndarray, times: np.ndarray, start: float, end: float
) -> SplitPositions:
    """Holds out each user's first event in [start, end) and first event from `end` on.

    The events before `start` are training events.

    Args:
        lengths: Events of each user, int64 [M].
        times: Times of the events, one user after the other, ascending within each.
        start: Time when training ends and validation begins.
        end: Time when validation ends and the test begins.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    before_start, before_end = (
        np.diff(np.concatenate([[0], np.cumsum(times < moment)])[offsets])
        for moment in (start, end)
    )
    valid = np.where(before_start < before_end, before_start, -1)
    return SplitPositions(before_start, valid, np.where(before_end < lengths, before_end, -1))


def split_at(sequences: Sequences, positions: SplitPositions, name: str) -> Split:
    """Returns the split with these positions."""
    start = sequences.offsets[:-1]
    valid, test = (
        (start + position)[position >= 0] for position in (positions.valid, positions.test)
    )
    return Split(sequences, start + positions.train, valid, test, name)


def leave_one_out(sequences: Sequences) -> Split:
    """Holds out the last event of each user for the test and the one before for validation.

    All events of a user with fewer than 3 events are training events.

    Raises:
        DataError: If no user has 3 events.
    """
    require_long_enough(sequences.lengths.max(initial=0))
    return split_at(sequences, hold_out_last(sequences.lengths), "leave-one-out")


def require_long_enough(longest: int) -> None:
    """Raises DataError if the longest history is too short for leave-one-out."""
    if longest < _FEWEST:
        raise DataError(
            f"data.split=leave-one-out needs a user with {_FEWEST} events or more, "
            f"the longest history has {longest}."
        )


def temporal(
    sequences: Sequences,
    *,
    valid_from: float | str,
    test_from: float | str,
    targets: str = "first",
) -> Split:
    """Trains on the events before a point in time, and holds out events of each user after it.

    A user can have no validation target or no test target.

    Args:
        sequences: The events.
        valid_from: When validation begins: a share of all events in (0, 1), or an ISO 8601 date
            (UTC; the timestamps are then seconds). The user's events in [valid_from, test_from) can
            be validation targets.
        test_from: When the test begins, in the same form. The user's events from then on can be
            test targets.
        targets: Which of these events are targets: the "first" (default), the "last" or "all".

    Raises:
        DataError: If a bound is neither a share nor a date, if the bounds do not ascend, or if
            there is no training, validation or test event.
    """
    times = sequences.timestamps
    start, end = period(
        valid_from, test_from, lambda share: float(np.quantile(times, share, method="lower"))
    )
    split = split_at(sequences, hold_out_between(sequences.lengths, times, start, end), "temporal")
    if targets != "first":
        split = dataclasses.replace(
            split,
            valid=_targets(sequences, start, end, targets),
            test=_targets(sequences, end, math.inf, targets),
        )
    span = times.min(), times.max()
    sizes = bool(start > span[0]), len(split.valid), len(split.test)
    require_parts(valid_from, test_from, sizes, span)
    return split


def _targets(sequences: Sequences, start: float, end: float, which: str) -> np.ndarray:
    """Returns the positions of the events in [start, end), all or each user's last one, int64."""
    times = sequences.timestamps
    positions = np.flatnonzero((times >= start) & (times < end))
    if which == "all":
        return positions
    rows = np.searchsorted(sequences.offsets, positions, side="right")
    return positions[np.diff(rows, append=-1) != 0]


def period(
    valid_from: float | str, test_from: float | str, quantile: Callable[[float], float]
) -> tuple[float, float]:
    """Returns the two points in time of a temporal split.

    Args:
        valid_from: As for `temporal`.
        test_from: As for `temporal`.
        quantile: Function that returns a quantile of the times of all events. A quantile between
            two times is the lower time.

    Raises:
        DataError: If a bound is neither a share nor a date, or if the bounds do not ascend.
    """
    start = _moment("valid_from", valid_from, quantile)
    end = _moment("test_from", test_from, quantile)
    if start >= end:
        got = f"{valid_from} (time {start:.15g}) and {test_from} (time {end:.15g})"
        raise DataError(f"data.valid_from must be earlier than data.test_from, got {got}.")
    return start, end


def _moment(name: str, bound: float | str, quantile: Callable[[float], float]) -> float:
    problem = (
        f"data.{name} must be a share of the events between 0 and 1 or an ISO 8601 date, "
        f"got {shown(bound)}."
    )
    if isinstance(bound, str):
        try:
            moment = datetime.datetime.fromisoformat(bound.replace("Z", "+00:00"))
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=datetime.timezone.utc)
            return moment.timestamp()
        except (ValueError, OverflowError) as error:
            # With an offset, the first and the last day of the calendar overflow.
            raise DataError(problem) from error
    if isinstance(bound, bool) or not 0 < bound < 1:
        raise DataError(problem)
    return quantile(bound)


def require_parts(
    valid_from: float | str,
    test_from: float | str,
    sizes: tuple[int, int, int],
    span: tuple[float, float],
) -> None:
    """Checks that a temporal split has training, validation and test events.

    Args:
        valid_from: As for `temporal`.
        test_from: As for `temporal`.
        sizes: Numbers of training, validation and test events.
        span: The first and the last time of the log.

    Raises:
        DataError: If one of the numbers is 0.
    """
    intervals = (
        f"before data.valid_from={valid_from}",
        f"between data.valid_from={valid_from} and data.test_from={test_from}",
        f"at or after data.test_from={test_from}",
    )
    for size, where in zip(sizes, intervals, strict=True):
        if not size:
            raise DataError(f"no event lies {where}: the times go from {span[0]} to {span[1]}.")


SPLITS: dict[str, Callable[..., Split]] = {"leave-one-out": leave_one_out, "temporal": temporal}


def make_split(
    sequences: Sequences,
    name: str = "leave-one-out",
    targets: str | None = None,
    **bounds: float | str | None,
) -> Split:
    """Returns a split by its name.

    Args:
        sequences: The events.
        name: A name in `SPLITS`. Default "leave-one-out".
        targets: Which events of `"temporal"` are targets, as for `temporal`. None (default): the
            first.
        **bounds: `valid_from` and `test_from` of `"temporal"`. None counts as not given.

    Raises:
        ConfigError: If there is no such split, or if its bounds are missing or belong to another.
        DataError: If the log is too small for the split.
    """
    given = require_bounds(name, **bounds)
    if targets is not None:
        given["targets"] = targets
    return SPLITS[name](sequences, **given)


def require_bounds(name: str, **bounds: float | str | None) -> dict[str, float | str]:
    """Returns the given bounds of a split.

    Raises:
        ConfigError: If there is no such split, or if its bounds are missing or belong to another.
    """
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
