"""Which events of a log count and what is one sequence: the side conditions of a configuration."""

from collections import Counter
from dataclasses import asdict, dataclass, replace

import polars as pl

from tfrec_attn.config import Data
from tfrec_attn.data.sequences.copies import without_copies
from tfrec_attn.data.sequences.ids import IdFilter
from tfrec_attn.data.sequences.sessions import collapse_repeats, split_sessions
from tfrec_attn.errors import ConfigError, DataError, nearest


@dataclass(frozen=True)
class EventFilterReport:
    """What the side conditions made of a log; None where a condition was not asked for.

    Attributes:
        events: Events that were read.
        low_ratings: Events dropped by `data.min_rating`.
        other_types: Events dropped by `data.event_types` or by a weight of 0, by type.
        weights: Of the types that stay.
        unified: Events of which `data.ids=unify` wrote an id in another way.
        missing_ids: Events dropped by `data.missing_ids=drop`, by word.
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
        parts = (
            [] if self.unified is None else [f"{self.unified} with an id written in its common way"]
        )
        if self.missing_ids is not None:
            words = ", ".join(f"{count} {word}" for word, count in self.missing_ids.items())
            parts.append(
                f"{sum(self.missing_ids.values())} with a missing id left out"
                + (f" ({words})" if words else "")
            )
        parts += (
            [] if self.low_ratings is None else [f"{self.low_ratings} with a low rating left out"]
        )
        if self.other_types is not None:
            types = ", ".join(f"{count} {name}" for name, count in self.other_types.items())
            parts.append(
                f"{sum(self.other_types.values())} of other types left out"
                + (f" ({types})" if types else "")
            )
        if self.weights is not None:
            parts.append(
                "weights "
                + ", ".join(f"{name} {weight:g}" for name, weight in self.weights.items())
            )
        parts += [] if self.duplicates is None else [f"{self.duplicates} exact copies left out"]
        parts += [] if self.sessions is None else [f"cut into {self.sessions} sessions"]
        parts += [] if self.repeats is None else [f"{self.repeats} immediate repeats left out"]
        return "; ".join([f"{self.events} events", *parts])


def has_event_filters(data: Data) -> bool:
    """Tells whether a configuration has any side condition."""
    keys = ("min_rating", "event_types", "event_weights", "session_gap")
    kept = ("ids", "missing_ids", "duplicates", "repeats")
    return any(getattr(data, key) is not None for key in keys) or any(
        getattr(data, key) != "keep" for key in kept
    )


class EventFilter:
    """The conditions on single events, ids, ratings and then types, of a log that may come in
    parts.

    Args:
        data: `ids`, `missing_ids`, `min_rating`, `event_types` and `event_weights` count.

    Attributes:
        events: Events that came.
    """

    def __init__(self, data: Data):
        self._data = data
        self.events = self._stayed = self._low_ratings = 0
        self._types: Counter[str] = Counter()
        self._ids = IdFilter(data.ids == "unify", data.missing_ids == "drop")

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Returns what stays of a part, with a column `weight` (Float32) where types have weights.

        Raises:
            ConfigError: If the log was read without the column that a condition needs.
            DataError: If a type has no weight.
        """
        self.events += frame.height
        frame = self._ids(frame)
        if self._data.min_rating is not None:
            kept = frame.filter(
                self._column(frame, "rating", "min_rating") >= self._data.min_rating
            )
            self._low_ratings, frame = self._low_ratings + frame.height - kept.height, kept
        if self._has_types():
            frame = self._of_types(frame)
        self._stayed += frame.height
        return frame

    def selection(self) -> EventFilterReport:
        """What was done to all that came.

        Raises:
            DataError: If a type is not in the log, or if nothing is left.
        """
        data, types = self._data, sorted(self._types)
        for name in data.event_types or ():
            if name not in types:
                shown = ", ".join([*types[:20], *(["..."] if len(types) > 20 else [])])
                raise DataError(
                    f"data.event_types names {name!r}{nearest(name, types)}, but the event types of the log are {shown}."
                )
        if not self._stayed:
            remedy = (
                "loosen data.min_rating, data.event_types, data.event_weights or data.missing_ids"
            )
            raise DataError(
                f"the side conditions of the data section leave nothing of {self.events} events: {remedy}."
            )
        return EventFilterReport(
            self.events,
            low_ratings=None if data.min_rating is None else self._low_ratings,
            other_types={name: self._types[name] for name in types if not self._weight(name)}
            if self._has_types()
            else None,
            weights=None
            if data.event_weights is None
            else {name: self._weight(name) for name in types if self._weight(name)},
            unified=self._ids.unified,
            missing_ids=None
            if self._ids.missing is None
            else dict(sorted(self._ids.missing.items())),
        )

    def _has_types(self) -> bool:
        return self._data.event_types is not None or self._data.event_weights is not None

    def _of_types(self, frame: pl.DataFrame) -> pl.DataFrame:
        event = self._column(
            frame, "event", "event_weights" if self._data.event_types is None else "event_types"
        )
        self._types.update(dict(event.value_counts().iter_rows()))
        weights = {name: self._weight(name) for name in self._types}
        frame = frame.filter(event.is_in([name for name, weight in weights.items() if weight]))
        if self._data.event_weights is None:
            return frame
        return frame.with_columns(
            weight=frame["event"].replace_strict(weights, return_dtype=pl.Float32)
        )

    def _weight(self, name: str) -> float:
        """Of a type, 0 where its events do not stay."""
        types, weights = self._data.event_types, self._data.event_weights
        if types is not None and name not in types:
            return 0.0
        if weights is not None and name not in weights:
            raise DataError(
                f"data.event_weights has no weight for {name!r}, a type of the log: give it one, 0 leaves its events out."
            )
        return 1.0 if weights is None else weights[name]

    def _column(self, frame: pl.DataFrame, name: str, key: str) -> pl.Series:
        if name not in frame.columns:
            raise ConfigError(
                f"data.{key} needs the column {name}, but data.source={self._data.source} has none."
            )
        return frame[name]


def filter_events(frame: pl.DataFrame, data: Data) -> tuple[pl.DataFrame, EventFilterReport]:
    """Applies the side conditions of a configuration: ids, ratings and types, then copies, sessions
    and repeats; all before the frequency filter.

    Args:
        frame: The log, as `read_interactions` returns it.
        data: `ids`, `missing_ids`, `min_rating`, `event_types`, `event_weights`, `duplicates`,
            `session_gap` and `repeats` count.

    Returns:
        Columns `user_id`, `item_id` and `timestamp` of what is left, `event` where types were read,
        and `weight` where they have weights, in the order of the log; and what was done.

    Raises:
        ConfigError: If the log was read without the column that a condition needs.
        DataError: If a type is not in the log or has no weight, or if nothing is left.
    """
    events = EventFilter(data)
    frame = events(frame)
    selection = events.selection()
    frame = frame.drop("rating", strict=False)
    if data.duplicates == "drop":
        kept = without_copies(frame)
        selection, frame = replace(selection, duplicates=frame.height - kept.height), kept
    if data.session_gap is not None:
        frame = split_sessions(frame, data.session_gap)
        selection = replace(selection, sessions=frame["user_id"].n_unique())
    if data.repeats == "collapse":
        kept = collapse_repeats(frame)
        selection, frame = replace(selection, repeats=frame.height - kept.height), kept
    return frame, selection
