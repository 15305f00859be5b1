"""Event filters of a configuration: which events of a log stay, and how they form sequences."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import polars as pl

from tfrec_attn.config import Data
from tfrec_attn.data.sequences.copies import without_copies
from tfrec_attn.data.sequences.ids import is_missing, unified
from tfrec_attn.data.sequences.sessions import collapse_repeats, split_sessions
from tfrec_attn.errors import ConfigError, DataError, counted, nearest


@dataclass(frozen=True)
class EventFilterReport:
    """What the event filters did to a log; an attribute is None if its filter is not configured.

    Attributes:
        events: Events that were read.
        low_ratings: Events dropped by `data.min_rating`.
        other_types: Event type -> events dropped by `data.event_types` or by a weight of 0.
        weights: Event type that stays -> its weight.
        unified: Events with an id that `data.ids=unify` changed.
        missing_ids: Word for a missing id -> events dropped by `data.missing_ids=drop`.
        duplicates: Events dropped by `data.duplicates=drop`.
        sessions: Sequences made by `data.session_gap`.
        repeats: Events dropped by `data.repeats=collapse`.
    """

    events: int
    low_ratings: int | None = None
    other_types: dict[str, int] | None = None
    weights: dict[str, float] | None = None
    unified: int | None = None
    missing_ids: dict[str, int] | None = None
    duplicates: int | None = None
    sessions: int | None = None
    repeats: int | None = None

    def to_dict(self) -> dict[str, object]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        parts = [counted(self.events, "event", form="")]
        if self.unified is not None:
            parts.append(f"{self.unified} with an id written in its common way")
        if self.missing_ids is not None:
            parts.append(_dropped(self.missing_ids, "with a missing id left out"))
        if self.low_ratings is not None:
            parts.append(f"{self.low_ratings} with a low rating left out")
        if self.other_types is not None:
            parts.append(_dropped(self.other_types, "of other types left out"))
        if self.weights is not None:
            weights = (f"{name} {weight:g}" for name, weight in self.weights.items())
            parts.append(f"weights {', '.join(weights)}")
        if self.duplicates is not None:
            copies = counted(self.duplicates, "exact copy", "exact copies", form="")
            parts.append(f"{copies} left out")
        if self.sessions is not None:
            parts.append(f"cut into {counted(self.sessions, 'session', form='')}")
        if self.repeats is not None:
            parts.append(f"{counted(self.repeats, 'immediate repeat', form='')} left out")
        return "; ".join(parts)


def _dropped(counts: dict[str, int], reason: str) -> str:
    shown = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{sum(counts.values())} {reason}" + (f" ({shown})" if shown else "")


def has_event_filters(data: Data) -> bool:
    """Returns whether a configuration has any event filter."""
    keys = ("min_rating", "event_types", "event_weights", "session_gap")
    kept = ("ids", "missing_ids", "duplicates", "repeats")
    return any(getattr(data, key) is not None for key in keys) or any(
        getattr(data, key) != "keep" for key in kept
    )


class EventFilter:
    """Filters single events by ids, ratings and types, in this order; the log can come in parts.

    Args:
        data: The keys `ids`, `missing_ids`, `min_rating`, `event_types` and `event_weights`.
    """

    def __init__(self, data: Data):
        self._data = data
        self._numbers, self._types, self._missing = Counter(), Counter(), Counter()
        self._has_types = data.event_types is not None or data.event_weights is not None

    @property
    def events(self) -> int:
        """Number of events so far, before the filters."""
        return self._numbers["events"]

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Filters a part of the log.

        Returns:
            The events that stay, with a column `weight` (Float32) if types have weights.

        Raises:
            ConfigError: If the log was read without the column that a filter needs.
            DataError: If a type has no weight.
        """
        self._numbers["events"] += frame.height
        if self._data.ids == "unify":
            frame = self._with_common_ids(frame)
        if self._data.missing_ids == "drop":
            frame = self._without_missing_ids(frame)
        if self._data.min_rating is not None:
            rating = self._column(frame, "rating", "min_rating")
            kept = frame.filter(rating >= self._data.min_rating)
            self._numbers["low_ratings"] += frame.height - kept.height
            frame = kept
        if self._has_types:
            frame = self._of_types(frame)
        self._numbers["stayed"] += frame.height
        return frame

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns the counts so far, for `add` of another filter."""
        counts = {"numbers": self._numbers, "types": self._types, "missing": self._missing}
        return {name: dict(count) for name, count in counts.items()}

    def add(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Adds the counts of a filter with the same configuration, for other parts of the log."""
        self._numbers.update(counts["numbers"])
        self._types.update(counts["types"])
        self._missing.update(counts["missing"])

    def report(self) -> EventFilterReport:
        """Returns the report on all parts.

        Raises:
            DataError: If a type is not in the log, or if nothing is left.
        """
        data, types = self._data, sorted(self._types)
        for name in data.event_types or ():
            if name not in types:
                shown = ", ".join([*types[:20], *(["..."] if len(types) > 20 else [])])
                raise DataError(
                    f"data.event_types names {name!r}{nearest(name, types)}, "
                    f"but the event types of the log are {shown}."
                )
        if not self._numbers["stayed"]:
            raise DataError(
                f"the event filters of the data section leave nothing of "
                f"{counted(self.events, 'event', form='')}: "
                "loosen data.min_rating, data.event_types, data.event_weights or data.missing_ids."
            )
        weights = {name: self._weight(name) for name in types}
        dropped = {name: self._types[name] for name in types if not weights[name]}
        kept = {name: weight for name, weight in weights.items() if weight}
        missing = dict(sorted(self._missing.items()))
        return EventFilterReport(
            self.events,
            low_ratings=None if data.min_rating is None else self._numbers["low_ratings"],
            other_types=dropped if self._has_types else None,
            weights=None if data.event_weights is None else kept,
            unified=self._numbers["unified"] if data.ids == "unify" else None,
            missing_ids=missing if data.missing_ids == "drop" else None,
        )

    def _with_common_ids(self, frame: pl.DataFrame) -> pl.DataFrame:
        common = frame.with_columns(unified(frame[name]) for name in ("user_id", "item_id"))
        changed = (common[name] != frame[name] for name in ("user_id", "item_id"))
        self._numbers["unified"] += int(pl.select(pl.any_horizontal(*changed)).to_series().sum())
        return common

    def _without_missing_ids(self, frame: pl.DataFrame) -> pl.DataFrame:
        for name in ("user_id", "item_id"):
            words = is_missing(frame[name])
            self._missing.update(dict(frame[name].filter(words).value_counts().iter_rows()))
            frame = frame.filter(~words)
        return frame

    def _of_types(self, frame: pl.DataFrame) -> pl.DataFrame:
        key = "event_weights" if self._data.event_types is None else "event_types"
        event = self._column(frame, "event", key)
        self._types.update(dict(event.value_counts().iter_rows()))
        weights = {name: self._weight(name) for name in self._types}
        frame = frame.filter(event.is_in([name for name, weight in weights.items() if weight]))
        if self._data.event_weights is None:
            return frame
        weight = frame["event"].replace_strict(weights, return_dtype=pl.Float32)
        return frame.with_columns(weight=weight)

    def _weight(self, name: str) -> float:
        """Returns the weight of a type; 0 if its events are dropped."""
        types, weights = self._data.event_types, self._data.event_weights
        if types is not None and name not in types:
            return 0.0
        if weights is not None and name not in weights:
            raise DataError(
                f"data.event_weights has no weight for {name!r}, a type of the log: "
                "give it one, 0 leaves its events out."
            )
        return 1.0 if weights is None else weights[name]

    def _column(self, frame: pl.DataFrame, name: str, key: str) -> pl.Series:
        if name not in frame.columns:
            source = f"data.source={self._data.source}"
            raise ConfigError(f"data.{key} needs the column {name}, but {source} has none.")
        return frame[name]


def filter_sequences(frame: pl.DataFrame, data: Data) -> tuple[pl.DataFrame, dict[str, int]]:
    """Drops copies, cuts users into sessions and collapses repeats, in this order.

    Args:
        frame: All events of some users, after the filters on single events.
        data: The keys `duplicates`, `session_gap` and `repeats`.

    Returns:
        The events that stay, and attributes of `EventFilterReport` with their values.
    """
    found = {}
    if data.duplicates == "drop":
        before, frame = frame.height, without_copies(frame)
        found["duplicates"] = before - frame.height
    if data.session_gap is not None:
        frame = split_sessions(frame, data.session_gap)
        found["sessions"] = frame["user_id"].n_unique()
    if data.repeats == "collapse":
        before, frame = frame.height, collapse_repeats(frame)
        found["repeats"] = before - frame.height
    return frame, found


def filter_events(frame: pl.DataFrame, data: Data) -> tuple[pl.DataFrame, EventFilterReport | None]:
    """Applies the event filters of a configuration, before the frequency filter.

    The order is ids, ratings and types, then copies, sessions and repeats.

    Args:
        frame: The log, as `read_interactions` returns it.
        data: The keys `ids`, `missing_ids`, `min_rating`, `event_types`, `event_weights`,
            `duplicates`, `session_gap` and `repeats`.

    Returns:
        The log without the dropped events, in its order, and the report, or None without filters.
        With filters, the columns are `user_id`, `item_id` and `timestamp`, `event` if types were
        read, and `weight` if they have weights.

    Raises:
        ConfigError: If the log was read without the column that a filter needs.
        DataError: If a type is not in the log or has no weight, or if nothing is left.
    """
    if not has_event_filters(data):
        return frame, None
    event_filter = EventFilter(data)
    frame = event_filter(frame).drop("rating", strict=False)
    report = event_filter.report()
    frame, found = filter_sequences(frame, data)
    return frame, replace(report, **found)
