"""The rule that decides which numbers or dates of a log are times, for every reader.

- The times of a file are its numbers or its ISO 8601 dates, whichever are more.
- A log has one unit, that of most of its numbers. Numbers from 100,000,000 count from 1970; their
  size decides between seconds, milliseconds, microseconds and nanoseconds. Smaller numbers are a
  counter, such as 0, 1, 2, ...
- Two neighbouring units are one unit if there is no gap of a factor of ten between their numbers,
  as in a long counter, or in times of the early seventies.
- Numbers of another unit, 0 among times that count from 1970, and negative numbers are not times.
- Dates are seconds since 1970, and can be earlier.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import polars as pl

from tfrec_attn.data.reading.time_parsing import Parsed, parse

# Unit -> (ticks in a second, smallest number of the unit, a time in 1973).
UNITS = {
    "seconds": (1, 1e8),
    "milliseconds": (10**3, 1e11),
    "microseconds": (10**6, 1e14),
    "nanoseconds": (10**9, 1e17),
}
_NAMES = ("a counter", *UNITS)
_LEAST = np.array([*(least for _, least in UNITS.values()), 1e20])
_SECONDS = 1
_GAP = 10
_SHOWN = 60


@dataclass
class FileTimes:
    """The kinds of times in a file or in a part of a file.

    Attributes:
        dates: How many cells are dates.
        numbers: How many cells are numbers.
        zeros: How many cells are 0.
        counts: How many numbers each unit has; the first unit is the counter.
        low: The smallest number of each unit.
        high: The largest number of each unit.
    """

    dates: int = 0
    numbers: int = 0
    zeros: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * len(_NAMES))
    low: list[float] = field(default_factory=lambda: [np.inf] * len(_NAMES))
    high: list[float] = field(default_factory=lambda: [0.0] * len(_NAMES))

    @classmethod
    def of(cls, parsed: Parsed) -> "FileTimes":
        """Counts the times of a column."""
        numbers, found = parsed.numbers, cls()
        if parsed.dates is not None:
            found.dates = len(parsed.dates) - parsed.dates.null_count()
        found.numbers = len(numbers) - numbers.null_count()
        if not found.numbers:
            return found
        low, high = float(numbers.min()), float(numbers.max())
        first, last = np.searchsorted(_LEAST, [low, high], side="right").tolist()
        if low > 0 and first == last < len(_NAMES):
            found.counts[first], found.low[first], found.high[first] = found.numbers, low, high
            return found
        values = numbers.drop_nulls().to_numpy()
        found.zeros = int(np.count_nonzero(values == 0))
        values = values[values > 0]
        units = np.searchsorted(_LEAST, values, side="right")
        for unit in range(len(_NAMES)):
            own = values[units == unit]
            if len(own):
                found.counts[unit] = len(own)
                found.low[unit], found.high[unit] = float(own.min()), float(own.max())
        return found

    def __add__(self, other: "FileTimes") -> "FileTimes":
        return FileTimes(
            self.dates + other.dates,
            self.numbers + other.numbers,
            self.zeros + other.zeros,
            [one + two for one, two in zip(self.counts, other.counts, strict=True)],
            list(map(min, self.low, other.low)),
            list(map(max, self.high, other.high)),
        )

    @property
    def has_dates(self) -> bool:
        """Whether the file has more dates than positive numbers, so that its times are dates."""
        return self.dates > sum(self.counts)

    def rule(self) -> "TimeRule":
        """Returns the rule of a log that consists of this file."""
        return LogTimes({"": self}).rule("")

    def misfits(self, rule: "TimeRule") -> int:
        """Returns how many numbers and dates are not times by a rule."""
        if rule.dates:
            return self.numbers + (0 if rule.fits_seconds else self.dates)
        fit = sum(self.counts[rule.first : rule.last + 1]) + (self.zeros if not rule.first else 0)
        return self.dates + self.numbers - fit


@dataclass(frozen=True)
class TimeRule:
    """Which numbers or dates of a file are times.

    Units are given by their index; 0 is the counter.

    Attributes:
        dates: Whether the times are dates, not numbers.
        first: First unit of the log.
        last: Last unit of the log.
        unit: Unit of most times.
    """

    dates: bool
    first: int
    last: int
    unit: int

    @property
    def fits_seconds(self) -> bool:
        """Whether the log has the unit of dates, seconds."""
        return self.first <= _SECONDS <= self.last

    def times(self, parsed: Parsed) -> pl.Series:
        """Returns the times of a column, null where a cell is not a time."""
        if self.dates:
            if parsed.dates is not None and self.fits_seconds:
                return parsed.dates
            return pl.repeat(None, len(parsed.numbers), dtype=pl.Int64, eager=True)
        low, high = 0 if not self.first else _LEAST[self.first - 1], _LEAST[self.last]
        numbers = parsed.numbers
        is_empty = numbers.null_count() == len(numbers)
        if is_empty or (low <= numbers.min() and numbers.max() < high):
            return numbers
        inside = (numbers >= low) & (numbers < high)
        return pl.select(pl.when(inside).then(numbers)).to_series()

    def reasons(self, raw: pl.Series) -> list[str]:
        """Returns for each cell why it is not a time."""
        parsed = parse(raw)
        dates = [None] * len(raw) if parsed.dates is None else parsed.dates
        return [self._reason(*cell) for cell in zip(raw, parsed.numbers, dates, strict=True)]

    def _reason(self, cell: object, number: float | None, date: float | None) -> str:
        text = "" if cell is None else str(cell)
        if not text.strip(" "):
            return "expected a timestamp, got an empty one"
        got = f"got {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'!r}"
        if number is None and date is None:
            return f"expected the timestamp as a number or an ISO 8601 date, {got}"
        if self.dates != (date is not None):
            kind, other = ("date", "number") if self.dates else ("number", "date")
            got = got.replace("got ", f"got the {other} ", 1)
            return f"expected the timestamp as a {kind}, as in most of the file, {got}"
        if number is not None and number < 0:
            return f"expected a timestamp that is not negative, {got}"
        expected = f"expected {_NAMES[self.unit]} as in most of the log"
        if number == 0:
            return f"{expected}, {got}, which is not a time"
        size = np.searchsorted(_LEAST, _LEAST[0] if number is None else number, side="right")
        looks = ""
        if number is not None and size < len(_NAMES):
            looks = f" ({'small as ' if not size else ''}{_NAMES[size]} by its size)"
        return f"the times are of different units, {expected}, {got}{looks}"


class _AnyTime(TimeRule):
    """Accepts every number and every date, while the rule is not known yet."""

    def times(self, parsed: Parsed) -> pl.Series:
        if parsed.dates is None:
            return parsed.numbers
        return pl.select(pl.coalesce(parsed.numbers, parsed.dates)).to_series()


ANY = _AnyTime(False, 0, len(_NAMES) - 1, 0)


class MixedTimes(Exception):
    """Raised if the times so far are of several kinds; then only the whole log gives the rule."""


class LogTimes:
    """The kinds of times in the files of a log, and the rule that follows from them.

    Args:
        files: Path of a file -> its kinds of times; `add` adds more. None (default): no files.
    """

    def __init__(self, files: Mapping[str, FileTimes] | None = None):
        self._files: dict[str, FileTimes] = {}
        self._parts, self._is_mixed = FileTimes(), False
        self._rule: TimeRule | None = None
        for file, times in (files or {}).items():
            self.add(file, times)

    def add(self, file: str, part: FileTimes) -> None:
        """Adds a part of a file."""
        own = self._files[file] = self._files.get(file, FileTimes()) + part
        self._parts += _as_numbers(part)
        self._is_mixed = self._is_mixed or (own.dates > 0 and own.numbers > 0)
        self._rule = None

    def to_dict(self, file: str) -> dict[str, object] | None:
        """Returns the kinds of times of a file as keywords of `FileTimes`, or None if unknown."""
        return asdict(self._files[file]) if file in self._files else None

    def require_one_kind(self) -> None:
        """Checks that all numbers and dates are times by the rule that follows from them.

        Raises:
            MixedTimes: If a number or a date is not a time.
        """
        if self._is_mixed or self._parts.misfits(_rule_of_numbers(self._parts)):
            raise MixedTimes

    def rule(self, file: str) -> TimeRule:
        """Returns the rule of a file."""
        if self._rule is None:
            files = map(_as_numbers, self._files.values())
            self._rule = _rule_of_numbers(sum(files, FileTimes()))
        return replace(self._rule, dates=self._files.get(file, FileTimes()).has_dates)


def _as_numbers(found: FileTimes) -> FileTimes:
    """Counts the dates of a file as seconds, next to the counter, so that a log can have both."""
    if not found.has_dates:
        return found
    result = FileTimes(numbers=found.dates)
    result.counts[_SECONDS] = found.dates
    result.low[_SECONDS] = result.high[_SECONDS] = float(_LEAST[0])
    return result


def _rule_of_numbers(total: FileTimes) -> TimeRule:
    def size(group: tuple[int, int]) -> int:
        return sum(total.counts[group[0] : group[1] + 1])

    first, last = max(_groups(total), key=lambda group: (size(group), group))
    return TimeRule(False, first, last, first + int(np.argmax(total.counts[first : last + 1])))


def _groups(found: FileTimes) -> list[tuple[int, int]]:
    """Returns the first and the last unit of each group of units that form one unit."""
    groups: list[tuple[int, int]] = []
    for unit, count in enumerate(found.counts):
        if not count:
            continue
        follows = groups and groups[-1][1] == unit - 1
        if follows and found.low[unit] <= _GAP * found.high[unit - 1]:
            groups[-1] = (groups[-1][0], unit)
        else:
            groups.append((unit, unit))
    return groups or [(0, 0)]
