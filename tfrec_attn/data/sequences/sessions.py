"""Sessions of users, cut at pauses, and immediate repeats of an item."""

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.vocabulary import encode_ids


def chronological(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Orders a log by user, then by time, then by place in the log.

    Args:
        frame: Columns `user_id` and `timestamp`.

    Returns:
        The rows of the events in this order, int64 [E], and whether each is the first event of its
        user, bool [E].
    """
    users = encode_ids(frame["user_id"])[1]
    order = np.lexsort((frame["timestamp"].to_numpy(), users))
    return order, _starts(users[order])


def split_sessions(frame: pl.DataFrame, gap: float) -> pl.DataFrame:
    """Cuts the events of each user into sessions, which replace the users.

    Session n (from 1, in order of time) of user `u` is called `u#n`. An id can have `#` itself,
    because the number follows the last `#`. A session starts with the first event of a user, and
    with each event that is later than the user's previous event by more than `gap`.

    Args:
        frame: Columns `user_id` and `timestamp`, and any others.
        gap: Longest pause inside a session, in the unit of the times.

    Returns:
        The same rows in the same order, with the session's name as `user_id`.
    """
    order, first = chronological(frame)
    times = frame["timestamp"].to_numpy()[order]
    starts = first.copy()
    starts[1:] |= np.diff(times) > gap
    session = np.cumsum(starts)
    before = session[first] - 1  # number of sessions of all earlier users
    number = np.empty(len(order), np.int64)
    number[order] = session - np.repeat(before, np.diff(np.flatnonzero(np.append(first, True))))
    return frame.with_columns(user_id=pl.format("{}#{}", frame["user_id"], pl.Series(number)))


def owners_of(sessions: pl.Series) -> pl.Series:
    """Returns the users of sessions that `split_sessions` named."""
    return sessions.str.replace(r"#\d+$", "")


def collapse_repeats(frame: pl.DataFrame) -> pl.DataFrame:
    """Keeps the first of consecutive events of a user with the same item.

    The event that stays gets the largest weight of these events.

    Args:
        frame: Columns `user_id`, `item_id` and `timestamp`, `weight` if events have weights, and
            any others.

    Returns:
        The rows that stay, in the same order.
    """
    order, first = chronological(frame)
    items = encode_ids(frame["item_id"])[1][order]
    starts = first | _starts(items)
    if "weight" in frame.columns:
        weights = frame["weight"].to_numpy().copy()
        weights[order[starts]] = np.maximum.reduceat(weights[order], np.flatnonzero(starts))
        frame = frame.with_columns(weight=pl.Series(weights))
    stays = np.zeros(len(order), bool)
    stays[order[starts]] = True
    return frame.filter(pl.Series(stays))


def _starts(values: np.ndarray) -> np.ndarray:
    """Returns whether each value differs from the previous one; True for the first value."""
    result = np.ones(len(values), bool)
    result[1:] = values[1:] != values[:-1]
    return result
