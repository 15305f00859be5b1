"""One rule for the times of a log, for every reader.

A file holds numbers or ISO 8601 dates, whichever are more, and a log counts one unit. Numbers from
100,000,000 count from 1970, and their size tells whether in seconds, milliseconds, microseconds or
nanoseconds; smaller ones are a counter of their own, such as 0, 1, 2, ... Two neighbouring units
are one where the log goes on from one to the other without a gap of a factor of ten, as a long
counter does, or numbers for the early seventies. The unit of most numbers is the log's. Everything
else is no time: numbers of another unit, 0 among times that count from 1970, and negative numbers.
Dates are seconds since 1970, and may lie before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tfrec_attn.data.reading.time_parsing import Parsed, parse

# Names of the units of time, ticks of each in a second, and the least number that is taken for one:
# in 1973 for all of them.
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
    """What kinds of times a file, or a part of one, holds.

    Attributes:
        dates: How many dates.
        numbers: How many numbers.
        zeros: How many of them are 0.
        counts: How many are of each unit; the first is the counter.
        low: The smallest number of each unit.
        high: The largest.
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
            ours = values[units == unit]
            if len(ours):
                found.counts[unit], found.low[unit], found.high[unit] = (
                    len(ours),
                    float(ours.min()),
                    float(ours.max()),
                )
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
        """Whether the times of the file are dates, and its numbers none; 0 and negative numbers
        have no vote.
        """
        return self.dates > sum(self.counts)

    def rule(self) -> "TimeRule":
        """The rule of a log that is this file."""
        return LogTimes({"": self}).rule("")

    def misfits(self, rule: "TimeRule") -> int:
        """How many numbers and dates are no times by a rule."""
        if rule.dates:
            return self.numbers + (0 if rule.fits_seconds else self.dates)
        fit = sum(self.counts[rule.first : rule.last + 1]) + (self.zeros if not rule.first else 0)
        return self.dates + self.numbers - fit


@dataclass(frozen=True)
class TimeRule:
    """Which numbers or dates of a file are times.

    Attributes:
        dates: Whether its times are dates, and not numbers.
        first: First of the log's units, a place in the list of units whose first is the counter.
        last: Last of them.
        unit: The one of most times.
    """

    dates: bool
    first: int
    last: int
    unit: int

    @property
    def fits_seconds(self) -> bool:
        """Whether the log counts seconds, as dates do."""
        return self.first <= _SECONDS <= self.last

    def times(self, parsed: Parsed) -> pl.Series:
        """The times of a column; null marks what is none."""
        if self.dates:
            fits = parsed.dates is not None and self.fits_seconds
            return (
                parsed.dates
                if fits
                else pl.repeat(None, len(parsed.numbers), dtype=pl.Int64, eager=True)
            )
        low, high = 0 if not self.first else _LEAST[self.first - 1], _LEAST[self.last]
        numbers = parsed.numbers
        if numbers.null_count() < len(numbers) and not (
            low <= numbers.min() and numbers.max() < high
        ):
            numbers = pl.select(
                pl.when((numbers >= low) & (numbers < high)).then(numbers)
            ).to_series()
        return numbers

    def reasons(self, raw: pl.Series) -> list[str]:
        """Why each of some cells is no time."""
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
            return f"expected the timestamp as a {kind}, as in most of the file, got the {other} {got.removeprefix('got ')}"
        if number is not None and number < 0:
            return f"expected a timestamp that is not negative, {got}"
        expected = f"expected {_NAMES[self.unit]} as in most of the log"
        if number == 0:
            return f"{expected}, {got}, which is no time"
        size = np.searchsorted(_LEAST, _LEAST[0] if number is None else number, side="right")
        looks = (
            f" ({'small as ' if not size else ''}{_NAMES[size]} by its size)"
            if number is not None and size < len(_NAMES)
            else ""
        )
        return f"the times are of different units, {expected}, {got}{looks}"


class _AnyTime(TimeRule):
    """Takes every number and every date for a time, until it is known which are."""

    def times(self, parsed: Parsed) -> pl.Series:
        return (
            parsed.numbers
            if parsed.dates is None
            else pl.select(pl.coalesce(parsed.numbers, parsed.dates)).to_series()
        )


ANY = _AnyTime(False, 0, len(_NAMES) - 1, 0)


class MixedTimes(Exception):
    """Some of the times read so far are none by the rule of what was read so far: only the whole
    log tells which.
    """


class LogTimes:
    """What kinds of times the files of a log hold, and by that its rule.

    Args:
        files: Of each file by its path; more come by `add`.
    """

    def __init__(self, files: Mapping[str, FileTimes] | None = None):
        self._files = dict(files or {})

    def add(self, file: str, part: FileTimes) -> None:
        """Adds a part of a file."""
        self._files[file] = self._files.get(file, FileTimes()) + part

    def to_dict(self, file: str) -> dict[str, object] | None:
        """What was seen of a file, as keywords of `FileTimes`, or None where nothing was."""
        return asdict(self._files[file]) if file in self._files else None

    def require_one_kind(self) -> None:
        """Returns where everything seen is a time by the rule of what was seen.

        Raises:
            MixedTimes: Where something is none.
        """
        if any(found.misfits(self.rule(file)) for file, found in self._files.items()):
            raise MixedTimes

    def rule(self, file: str) -> TimeRule:
        """The rule of a file."""
        total = sum(
            (_as_seconds(found) if found.has_dates else found for found in self._files.values()),
            FileTimes(),
        )
        first, last = max(
            _groups(total), key=lambda group: (sum(total.counts[group[0] : group[1] + 1]), group)
        )
        unit = first + int(np.argmax(total.counts[first : last + 1]))
        return TimeRule(self._files.get(file, FileTimes()).has_dates, first, last, unit)


def read_by_one_rule(
    paths: Sequence[str], read: Callable[[str, TimeRule | None], Any]
) -> list[Any]:
    """Reads files that are one log: each by its own rule, and again where the log's is another.

    Args:
        paths: The files.
        read: Reads one by a rule, or by its own without any, and returns a `ReadResult`.
    """
    results = {path: read(path, None) for path in paths}
    log = LogTimes({path: result.times for path, result in results.items()})
    for path, result in results.items():
        rules = log.rule(path), result.times.rule()
        if rules[0] != rules[1] and any(result.times.misfits(rule) for rule in rules):
            results[path] = read(path, rules[0])
    return list(results.values())


def _as_seconds(found: FileTimes) -> FileTimes:
    """What dates are like as numbers, for the choice of the unit: so many seconds, close to the
    counter.
    """
    result, least = FileTimes(), float(_LEAST[0])
    result.counts[_SECONDS], result.low[_SECONDS], result.high[_SECONDS] = found.dates, least, least
    return result


def _groups(found: FileTimes) -> list[tuple[int, int]]:
    """First and last of the units that are one; the counter alone where there are none."""
    groups: list[tuple[int, int]] = []
    for unit, count in enumerate(found.counts):
        if (
            count
            and groups
            and groups[-1][1] == unit - 1
            and found.low[unit] <= _GAP * found.high[unit - 1]
        ):
            groups[-1] = (groups[-1][0], unit)
        elif count:
            groups.append((unit, unit))
    return groups or [(0, 0)]
