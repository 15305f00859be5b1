"""Which events of a log count and what is one sequence: the side conditions of a configuration."""

from dataclasses import asdict, dataclass

import polars as pl

from tfrec_attn.config import Data, nearest
from tfrec_attn.data.sessions import collapse_repeats, split_sessions
from tfrec_attn.errors import ConfigError, DataError


@dataclass(frozen=True)
class Selection:
    """What the side conditions made of a log; None where a condition was not asked for.

    Attributes:
        events: Events that were read.
        low_ratings: Events dropped by `data.min_rating`.
        other_types: Events dropped by `data.event_types`, by type.
        sessions: Sequences made by `data.session_gap`.
        repeats: Events dropped by `data.repeats=collapse`.
    """

    events: int
    low_ratings: int | None = None
    other_types: dict[str, int] | None = None
    sessions: int | None = None
    repeats: int | None = None

    def to_dict(self) -> dict[str, object]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        parts = [] if self.low_ratings is None else [f"{self.low_ratings} with a low rating left out"]
        if self.other_types is not None:
            types = ", ".join(f"{count} {name}" for name, count in self.other_types.items())
            parts.append(f"{sum(self.other_types.values())} of other types left out" + (f" ({types})" if types else ""))
        parts += [] if self.sessions is None else [f"cut into {self.sessions} sessions"]
        parts += [] if self.repeats is None else [f"{self.repeats} immediate repeats left out"]
        return "; ".join([f"{self.events} events", *parts])


def has_conditions(data: Data) -> bool:
    """Tells whether a configuration has any side condition."""
    return any(getattr(data, key) is not None for key in ("min_rating", "event_types", "session_gap")) or data.repeats != "keep"


def select(frame: pl.DataFrame, data: Data) -> tuple[pl.DataFrame, Selection]:
    """Applies the side conditions of a configuration: ratings and types, then sessions, then repeats; all before the frequency filter.

    Args:
        frame: The log, as `read_interactions` returns it.
        data: `min_rating`, `event_types`, `session_gap` and `repeats` count.

    Returns:
        Columns `user_id`, `item_id` and `timestamp` of what is left, in the order of the log; and what was done.

    Raises:
        ConfigError: If the log was read without the column that a condition needs.
        DataError: If a type is not in the log, or if nothing is left.
    """
    done: dict[str, object] = {"events": frame.height}
    if data.min_rating is not None:
        kept = frame.filter(_column(frame, data, "rating", "min_rating") >= data.min_rating)
        done["low_ratings"], frame = frame.height - kept.height, kept
    if data.event_types is not None:
        done["other_types"], frame = _of_types(frame, _column(frame, data, "event", "event_types"), data.event_types)
    if not frame.height:
        remedy = "lower data.min_rating or name more data.event_types"
        raise DataError(f"the side conditions of the data section leave nothing of {done['events']} events: {remedy}.")
    frame = frame.select("user_id", "item_id", "timestamp")
    if data.session_gap is not None:
        frame = split_sessions(frame, data.session_gap)
        done["sessions"] = frame["user_id"].n_unique()
    if data.repeats == "collapse":
        kept = collapse_repeats(frame)
        done["repeats"], frame = frame.height - kept.height, kept
    return frame, Selection(**done)


def _column(frame: pl.DataFrame, data: Data, name: str, key: str) -> pl.Series:
    if name not in frame.columns:
        raise ConfigError(f"data.{key} needs the column {name}, but data.source={data.source} has none.")
    return frame[name]


def _of_types(frame: pl.DataFrame, event: pl.Series, types: list[str]) -> tuple[dict[str, int], pl.DataFrame]:
    counts = dict(sorted(event.value_counts().iter_rows()))
    for name in types:
        if name not in counts:
            shown = ", ".join([*list(counts)[:20], *(["..."] if len(counts) > 20 else [])])
            raise DataError(f"data.event_types names {name!r}{nearest(name, counts)}, but the event types of the log are {shown}.")
    return {name: count for name, count in counts.items() if name not in types}, frame.filter(event.is_in(types))
