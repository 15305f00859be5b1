"""A synthetic log, in which users have lasting tastes and items lead to other items."""

import math
from typing import NamedTuple

import numpy as np
import polars as pl

from tfrec_attn.errors import ConfigError

_BLOCK = 8_192  # users at a time, which limits the memory of the seen items
_CLUSTER = 40  # items
_ZIPF = 1.0
_SECOND_TASTE = 0.3
_FOLLOW = 0.45
_RECENT = 3  # latest items; a step can follow from each of them
_THEME = 16  # items
_THEME_ZIPF = 0.5
_NOISE = 0.05
_TRIES = 12
_START = 1_577_836_800  # 2020-01-01
_DAY = 86_400


class _World(NamedTuple):
    """The clusters and themes of the items 0..N-1.

    Attributes:
        clusters: Items of each cluster, most popular first, int [C, S].
        themes: Items of each theme, most popular first, int [G, T].
        theme: Theme of each item, int [N].
    """

    clusters: np.ndarray
    themes: np.ndarray
    theme: np.ndarray


def synthetic(events: int = 60_000, seed: int = 2024) -> pl.DataFrame:
    """Generates a log in which no user has an item twice.

    The same arguments give the same log. Each user has one or two taste clusters of items, in which
    popularity follows Zipf's law. Every item also has a theme, independent of its cluster, and
    themes have a fixed order. Nearly half of the steps go from one of the last three items to an
    item of the next theme. One step in twenty goes to any item.

    Args:
        events: Approximate number of events, at least 1,000. The log has events / 30 users and
            about 3.2 sqrt(events) items. Default 60,000.
        seed: Seed of the random numbers. Default 2024.

    Returns:
        Columns `user_id` ("u12") and `item_id` ("i7"), String, and `timestamp`, Int64 seconds; in
        order of time.

    Raises:
        ConfigError: If `events` is less than 1,000.
    """
    if events < 1_000:
        raise ConfigError(f"data.events must be 1000 or more, got {events}.")
    random = np.random.default_rng(seed)
    world = _make_world(events, random)
    num_users, num_items = events // 30, world.clusters.size
    lengths = np.clip(8 + random.gamma(0.85, 27, num_users), 8, min(120, num_items // 2)).astype(
        np.int64
    )
    starts = np.arange(0, num_users, _BLOCK)
    items = np.concatenate(
        [_histories(world, lengths[start : start + _BLOCK], random) for start in starts]
    )
    frame = {
        "user_id": np.repeat(random.permutation(num_users), lengths),
        "item_id": random.permutation(num_items)[items],
        "timestamp": _times(lengths, random),
    }
    named = {name: pl.format(name[0] + "{}", name) for name in ("user_id", "item_id")}
    return pl.DataFrame(frame).sort("timestamp", maintain_order=True).with_columns(**named)


def _make_world(events: int, random: np.random.Generator) -> _World:
    count = 2 * math.ceil(1.6 * events**0.5 / _CLUSTER)
    num_items = count * _CLUSTER
    themes = random.permutation(num_items).reshape(-1, _THEME)
    theme = np.empty(num_items, np.int64)
    theme[themes] = np.arange(len(themes))[:, None]
    return _World(random.permutation(num_items).reshape(count, _CLUSTER), themes, theme)


def _histories(world: _World, lengths: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns the items of all users, one user after the other."""
    tastes = random.integers(0, len(world.clusters), (len(lengths), 2))
    # The first steps follow from random items, which are not part of the history.
    path = np.zeros((len(lengths), lengths.max() + _RECENT), np.int64)
    path[:, :_RECENT] = random.integers(0, world.clusters.size, (len(lengths), _RECENT))
    seen = np.zeros((len(lengths), world.clusters.size), bool)
    for step in range(lengths.max()):
        active = np.flatnonzero(lengths > step)
        chosen = _unseen(world, tastes, path[:, step : step + _RECENT], seen, active, random)
        path[active, step + _RECENT] = chosen
        seen[active, chosen] = True
    return path[:, _RECENT:][np.arange(lengths.max()) < lengths[:, None]]


def _unseen(
    world: _World,
    tastes: np.ndarray,
    recent: np.ndarray,
    seen: np.ndarray,
    active: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """Draws an item for each active user that the user has not seen.

    Items that the user has seen are drawn again, after some tries from all items.
    """
    chosen, again, tries = np.zeros(len(active), np.int64), np.arange(len(active)), 0
    while len(again):
        users = active[again]
        anything = random.integers(0, world.clusters.size, len(users))
        chosen[again] = (
            _draw(world, tastes[users], recent[users], random) if tries < _TRIES else anything
        )
        again = again[seen[users, chosen[again]]]
        tries += 1
    return chosen


def _draw(
    world: _World, tastes: np.ndarray, recent: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Draws an item for each user from the user's clusters [B, 2] and last items [B, R]."""
    each, size = np.arange(len(tastes)), len(tastes)
    taste = tastes[each, (random.random(size) < _SECOND_TASTE).astype(int)]
    liked = world.clusters[taste, _choose(_zipf(_CLUSTER, _ZIPF), size, random)]
    following = (world.theme[recent[each, random.integers(0, _RECENT, size)]] + 1) % len(
        world.themes
    )
    linked = world.themes[following, _choose(_zipf(_THEME, _THEME_ZIPF), size, random)]
    kind = random.random(size)
    anything = random.integers(0, world.clusters.size, size)
    return np.where(kind < _FOLLOW, linked, np.where(kind < _FOLLOW + _NOISE, anything, liked))


def _zipf(count: int, exponent: float) -> np.ndarray:
    weights = np.arange(1, count + 1) ** -exponent
    return weights / weights.sum()


def _choose(shares: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    return np.searchsorted(np.cumsum(shares)[:-1], random.random(size), side="right")


def _times(lengths: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns ascending times of each user, in seconds.

    Pauses are minutes within a visit and days between two visits. Users start on different days.
    """
    total = lengths.sum()
    gaps = np.where(
        random.random(total) < 0.8,
        random.lognormal(5.0, 1.0, total),
        random.lognormal(12.5, 1.0, total),
    )
    gaps = 1 + np.minimum(gaps, 60 * _DAY).astype(np.int64)
    ends = np.cumsum(lengths)
    sums = np.cumsum(gaps)
    since = sums - np.repeat(sums[ends - lengths], lengths)
    return _START + since + np.repeat(random.integers(0, 365 * _DAY, len(lengths)), lengths)
