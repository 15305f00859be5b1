"""Measures of a log that a schema does not check: copies, bursts, ties, order and repeats."""

from dataclasses import asdict

import numpy as np
import polars as pl

from tfrec_attn.data.quality.log_profile import Profile, make_profile
from tfrec_attn.data.reading.time_rule import UNITS
from tfrec_attn.data.sequences.copies import count_copies
from tfrec_attn.data.sequences.ids import IdProblems, IdReport
from tfrec_attn.data.sequences.vocabulary import encode_ids

# Name of a burst -> (number of events of a user, most seconds from the first to the last).
BURSTS = {"second": (5, 1), "minute": (30, 60)}


class EncodedLog:
    """A log with users and items as indices, before any filter.

    Args:
        frame: The log, as `read_interactions` returns it.
        has_times: True (default) if the column `timestamp` has times, False for row numbers.
    """

    def __init__(self, frame: pl.DataFrame, has_times: bool = True):
        self.user_ids, self.users = encode_ids(frame["user_id"])
        self.item_ids, self.items = encode_ids(frame["item_id"])
        self.times = frame["timestamp"].to_numpy()
        self.has_times = has_times
        self.types = [encode_ids(frame["event"])[1]] if "event" in frame.columns else []
        self.user_counts = np.bincount(self.users, minlength=len(self.user_ids))
        self.item_counts = np.bincount(self.items, minlength=len(self.item_ids))

    def __len__(self) -> int:
        return len(self.users)

    def ids(self) -> IdReport:
        """Returns the problems with the ids."""
        return IdReport(
            IdProblems.of(self.user_ids, lambda: self.user_counts),
            IdProblems.of(self.item_ids, lambda: self.item_counts),
        )

    def profile(self) -> Profile:
        """Returns the profile, for comparisons with another log."""
        times = self.times if self.has_times else None
        return make_profile(self.user_counts, self.item_ids, self.item_counts, times)


def measure(log: EncodedLog, now: float) -> dict[str, object]:
    """Returns the measures of a log before it is filtered, as a tree for JSON.

    An event is in a burst if it is one of BURSTS[name][0] or more events of a user within
    BURSTS[name][1] seconds. An event is out of order if a later event of its user precedes it in
    the log. An event is tied if the previous event of its user has the same time. A repeat is an
    event whose item is that of an earlier event of its user.

    Args:
        log: The log.
        now: The present time, in seconds since 1970.
    """
    events, times, users = len(log), log.times, log.users
    order = np.lexsort((times, users))
    first = np.ones(events, bool)
    first[1:] = users[order][1:] != users[order][:-1]
    items = log.items[order]
    same_item = ~first[1:] & (items[1:] == items[:-1])
    same_time = ~first[1:] & (np.diff(times[order]) == 0)
    columns = users, times, log.items, *log.types
    copies = count_copies(*(column[order] for column in columns))
    pairs = pl.Series(users.astype(np.int64) * len(log.item_ids) + log.items).n_unique()
    tree = {
        "events": events,
        "users": len(log.user_ids),
        "items": len(log.item_ids),
        **({"duplicates": count_and_share(copies, events)} if log.has_times else {}),
        "ids": log.ids().to_dict(),
        "repeats": {
            **count_and_share(events - pairs, events),
            "immediate": int(np.count_nonzero(same_item)),
        },
        "once": {
            "users": count_and_share(np.count_nonzero(log.user_counts == 1), len(log.user_ids)),
            "items": count_and_share(np.count_nonzero(log.item_counts == 1), len(log.item_ids)),
        },
        "history_length": _quantiles(log.user_counts),
        "item_events": _quantiles(log.item_counts),
    }
    if log.has_times:
        tree["time"] = _time(log, now)
        tree["ties"] = count_and_share(np.count_nonzero(same_time), events - len(log.user_ids))
        back, late = int(np.count_nonzero(np.diff(times) < 0)), 0
        if back:
            latest = pl.col("time").cum_max().over("user")
            frame = pl.DataFrame({"user": users, "time": times})
            late = frame.select((pl.col("time") < latest).sum()).item()
        tree["order"] = {
            "out_of_order": count_and_share(late, events),
            "lines_back_in_time": back,
        }
        tree["bursts"] = {
            name: _burst(log, order, tree["time"]["unit"], *limits)
            for name, limits in BURSTS.items()
        }
    tree["profile"] = asdict(log.profile())
    return tree


def count_and_share(count: int, of: int) -> dict[str, float]:
    """Returns a count and its share of `of`, for JSON."""
    return {"count": int(count), "share": float(count / max(1, of))}


def _quantiles(counts: np.ndarray) -> dict[str, float]:
    shares = {"min": 0, "median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1}
    quantiles = {name: float(np.quantile(counts, share)) for name, share in shares.items()}
    return {**quantiles, "mean": float(counts.mean())}


def unit_of(times: np.ndarray) -> np.ndarray:
    """Returns the index in UNITS of the unit of each time, by its size; -1 if it is too small."""
    return np.searchsorted([least for _, least in UNITS.values()], times, side="right") - 1


def _time(log: EncodedLog, now: float) -> dict[str, object]:
    """Returns the unit of most times, the first and the last time, and the events in the future."""
    units = np.bincount(unit_of(log.times) + 1, minlength=len(UNITS) + 1)
    name = (None, *UNITS)[int(units.argmax())]
    ticks = UNITS[name][0] if name else None
    return {
        "first": log.times.min().item(),
        "last": log.times.max().item(),
        "unit": name,
        "future": int(np.count_nonzero(log.times > now * ticks)) if ticks else 0,
    }


def _burst(
    log: EncodedLog, order: np.ndarray, unit: str | None, least: int, seconds: float
) -> dict[str, object]:
    """Returns the events and users in bursts; times without a unit are taken as seconds."""
    users, times = log.users[order], log.times[order]
    ends = slice(least - 1, None)
    starts = slice(None, max(0, len(times) - least + 1))
    longest = seconds * UNITS.get(unit, (1, 0))[0]
    is_burst = (users[ends] == users[starts]) & (times[ends] - times[starts] <= longest)
    begins = np.flatnonzero(is_burst)
    depth = np.zeros(len(times) + 1, np.int64)
    np.add.at(depth, begins, 1)
    np.add.at(depth, begins + least, -1)
    inside = np.cumsum(depth[:-1]) > 0
    counts = np.bincount(users[inside], minlength=len(log.user_ids))
    worst = [int(user) for user in np.argsort(-counts, kind="stable")[:5] if counts[user]]
    return {
        "events_at_least": least,
        "within_seconds": seconds,
        **count_and_share(np.count_nonzero(inside), len(log)),
        "users": int(np.count_nonzero(counts)),
        "worst": {log.user_ids[user]: int(counts[user]) for user in worst},
    }
