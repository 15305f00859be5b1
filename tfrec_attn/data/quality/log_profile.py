"""What is kept of a log to compare a later one with it: lengths of histories, the most popular
items, events over time.
"""

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
        users: Users with each of those.
        items: Ids of the most popular items, the first most; at most 1,000.
        item_events: Events of each of those.
        events: Events of all items.
        curve: Share of the events that the most popular 0, 1, ..., 100 % of the items have.
        time_edges: Bounds of equal spans of time; empty for a log without times.
        time_events: Events in each span.
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
        item_counts: Events of each.
        times: Time of each event, or None.
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
    """Reads a profile out of a report.

    Raises:
        DataError: If it is none.
    """
    try:
        profile = Profile(**tree["profile"])
        sizes = [
            (len(profile.lengths), len(profile.users)),
            (len(profile.items), len(profile.item_events)),
        ]
        if any(a != b or not a for a, b in sizes):
            raise ValueError("lists of different length")
        np.asarray(
            [*profile.lengths, *profile.users, *profile.item_events, profile.events], np.int64
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where} is not a report of tfrec_attn.data.validate: its profile cannot be used ({error!r})."
        ) from None
    return profile


def compare(
    earlier: Profile, later: Profile, counts_of: dict[str, int]
) -> dict[str, dict[str, float]]:
    """How far history lengths and popularity of two logs are apart.

    History lengths: the statistic of Kolmogorov and Smirnov of the exact lengths; PSI and
    Jensen-Shannon divergence over ten bins of about as many users in the earlier log. Popularity:
    Jensen-Shannon divergence over the earlier log's most popular items, all others being one; PSI
    over those items in ten bands with about as many events in the earlier log, and all others.

    Args:
        earlier: Of the earlier log.
        later: Of the later log.
        counts_of: Events in the later log of every item by id.
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
    """The bins that hold anything in either distribution, [2, K]."""
    both = np.stack(list(counts))
    return both[:, both.sum(axis=0) > 0]
