"""Blocks of held-out events, with items as numbers."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from tfrec_attn.errors import ConfigError

_SLICE = 8192


def padded(rows: Sequence[Sequence[str]], columns: int) -> np.ndarray:
    """Returns the latest ids of each row, padded with "" on the left.

    Args:
        rows: B rows of ids.
        columns: W.

    Returns:
        Array of str objects [B, W].
    """
    result = np.full((len(rows), columns), "", object)
    for number, row in enumerate(rows):
        latest = row[max(len(row) - columns, 0) :]
        result[number, columns - len(latest) :] = latest
    return result


@dataclasses.dataclass(frozen=True)
class Block:
    """Held-out events with items as numbers 1..N, and 0 for padding.

    Attributes:
        events: Positions of the events among all held-out events, int64 [B].
        users: Ids of the users, [B].
        histories: All earlier items, oldest first, padded on the left with at least one 0, int64
            [B, W].
        targets: Items of the events, int64 [B].
    """

    events: np.ndarray
    users: np.ndarray
    histories: np.ndarray
    targets: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """The distinct items of each history, with 0 in the other columns, int64 [B, W]."""
        items = np.sort(self.histories, axis=1)
        items[:, 1:][items[:, 1:] == items[:, :-1]] = 0
        return items


def blocks(events: pl.DataFrame, items: Sequence[str], size: int) -> Iterator[Block]:
    """Yields held-out events in blocks of similar history lengths.

    Args:
        events: Held-out events as from `read_events`.
        items: Ids of the items 1..N.
        size: Most events of a block.

    Raises:
        ConfigError: If an event has an item that is not among the ids.
    """
    code = pl.Enum(list(items))
    for begin in range(0, len(events), _SLICE):
        part = events.slice(begin, _SLICE)
        users = part["user_id"].to_numpy()
        lengths = part["history"].list.len().to_numpy().astype(np.int64)
        # Padding reads the 0 that is appended here.
        codes = np.append(_numbers(part["history"].explode().drop_nulls(), code), 0)
        ends, targets = np.cumsum(lengths), _numbers(part["target"], code)
        order = np.argsort(lengths, kind="stable")
        for rows in np.split(order, range(size, len(order), size)):
            columns = np.arange(-1 - lengths[rows].max(initial=0), 0)
            positions = ends[rows, np.newaxis] + columns
            histories = codes[np.where(-columns <= lengths[rows, np.newaxis], positions, -1)]
            yield Block(begin + rows, users[rows], histories, targets[rows])


def _numbers(ids: pl.Series, code: pl.Enum) -> np.ndarray:
    try:
        return ids.cast(code).to_physical().to_numpy().astype(np.int64) + 1
    except pl.exceptions.PolarsError:
        raise ConfigError(
            "The held-out events have items that are not in the run's vocabulary; train again."
        ) from None
