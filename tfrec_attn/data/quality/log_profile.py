"""The profile of a log, for comparisons with a later log: history lengths, popularity, times."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from tfrec_attn.data.quality.drift_statistics import (
    binned,
    jensen_shannon,
    kolmogorov_smirnov,
    population_stability_index,
    quantile_bins,
)
from tfrec_attn.errors import DataError

_ITEMS = 1_000
_BANDS = 10
_TIME_BINS = 60
_CURVE = 101


@dataclass(frozen=True)
class Profile:
    """The distributions of a log.

    Attributes:
        lengths: Distinct numbers of events of a user, ascending.
        users: Number of users with each of `lengths`.
        items: Ids of the most popular items, most popular first, at most 1,000.
        item_events: Number of events of each of `items`.
        events: Number of events of all items.
        curve: Share of the events that the most popular 0, 1, ..., 100 % of the items have.
        time_edges: Bounds of equal intervals of time; empty for a log without times.
        time_events: Number of events in each interval.
    """

    lengths: list[int]
    users: list[int]
    items: list[str]
    item_events: list[int]
    events: int
    curve: list[float]
    time_edges: list[float]
    time_events: list[int]


def make_profile(
    user_counts: np.ndarray, item_ids: pl.Series, item_counts: np.ndarray, times: np.ndarray | None
) -> Profile:
    """Returns the profile of a log.

    Args:
        user_counts: Events of each user.
        item_ids: Ids of the items.
        item_counts: Events of each item.
        times: Time of each event, or None for a log without times.
    """
    lengths, users = np.unique(user_counts, return_counts=True)
    order = np.argsort(-item_counts, kind="stable")
    sums = np.concatenate([[0], np.cumsum(item_counts[order])])
    curve = sums[np.round(np.linspace(0, len(order), _CURVE)).astype(np.int64)] / sums[-1]
    in_time, edges = np.histogram(times, _TIME_BINS) if times is not None else ([], [])
    top = order[:_ITEMS]
    return Profile(
        lengths=lengths.tolist(),
        users=users.tolist(),
        items=item_ids.gather(top).to_list(),
        item_events=item_counts[top].tolist(),
        events=int(item_counts.sum()),
        curve=[round(float(share), 6) for share in curve],
        time_edges=[float(edge) for edge in edges],
        time_events=[int(count) for count in in_time],
    )


def from_dict(tree: object, where: str) -> Profile:
    """Reads the profile of a report.

    Args:
        tree: The report.
        where: Name of the report, for the message.

    Raises:
        DataError: If the report has no profile, or a damaged one.
    """
    try:
        profile = Profile(**tree["profile"])
        lengths, users, events = profile.lengths, profile.users, profile.item_events
        if (
            len(lengths) != len(users)
            or len(profile.items) != len(events)
            or not (users and events)
        ):
            raise ValueError("lists of different length")
        np.asarray([*lengths, *users, *events, profile.events], np.int64)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where} is not a report of tfrec_attn.data.validate: its profile cannot be used "
            f"({error!r})."
        ) from None
    return profile


def compare(
    earlier: Profile, later: Profile, counts_of: dict[str, int]
) -> dict[str, dict[str, float]]:
    """Returns the drift of history lengths and popularity between two logs.

    - History lengths: the Kolmogorov-Smirnov statistic of the exact lengths. PSI and Jensen-Shannon
      divergence over ten bins with about the same number of users in the earlier log.
    - Popularity: the Jensen-Shannon divergence over the most popular items of the earlier log, with
      all other items as one. PSI over ten bands of these items with about the same number of events
      in the earlier log, with all other items as one band.

    Args:
        earlier: Profile of the earlier log.
        later: Profile of the later log.
        counts_of: Id of an item -> its number of events in the later log.
    """
    old, new = ((np.asarray(one.lengths), np.asarray(one.users)) for one in (earlier, later))
    edges = quantile_bins(*old)
    bins = _used(binned(*one, edges) for one in (old, new))
    before = np.asarray([*earlier.item_events, 0])
    after = np.asarray([*(counts_of.get(one, 0) for one in earlier.items), 0])
    before[-1], after[-1] = earlier.events - before.sum(), later.events - after.sum()
    shares = (np.cumsum(before[:-1]) - before[:-1]) / max(1, before[:-1].sum())
    band = np.append(np.minimum((shares * _BANDS).astype(np.int64), _BANDS - 1), _BANDS)
    bands = _used(
        np.bincount(band, weights=counts, minlength=_BANDS + 1) for counts in (before, after)
    )
    return {
        "history_length": {
            "psi": population_stability_index(*bins),
            "jensen_shannon": jensen_shannon(*bins),
            "kolmogorov_smirnov": kolmogorov_smirnov(old, new),
        },
        "popularity": {
            "psi": population_stability_index(*bands),
            "jensen_shannon": jensen_shannon(before, after),
            "events_of_other_items": float(after[-1] / max(1, later.events)),
        },
    }


def _used(counts: Iterable[np.ndarray]) -> np.ndarray:
    """Returns the bins, [2, K], without those that are empty in both distributions."""
    both = np.stack(list(counts))
    return both[:, both.sum(axis=0) > 0]
