"""The held-out events of a run, as its training wrote them, and requests made of them."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from .checksums import RUN_SUMS, damage
from .session import ServableError

COLUMNS = {"user_id": pl.String, "history": pl.List(pl.String), "target": pl.String}
_SLICE = 8192


def run_file(run: str | Path, name: str) -> Path:
    """The path of a file of a run, once it is known to be what the training wrote.

    Raises:
        ServableError: If it is not.
    """
    if what := damage(Path(run), RUN_SUMS, [name]):
        raise ServableError(f"{what}: bring the run back as the training wrote it, or train again.")
    return Path(run) / name


def read_metrics(run: str | Path, needed: dict | None = None) -> dict:
    """The metrics.json of a run.

    Args:
      run: the run.
      needed: what must be in it: a tree with a number where there must be one, and "*" for whatever
          keys there are.

    Raises:
        ServableError: If the folder is not a finished run, or damaged.
    """
    path = run_file(run, "metrics.json")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ServableError(
            f"{run} is not a finished run: it has no {path.name}; give a folder that tfrec_attn.train has written."
        ) from None
    except (ValueError, RecursionError):
        raise ServableError(f"{path} is not JSON; train again.") from None
    if not _has(report, {"data": {}, **(needed or {})}):
        raise ServableError(f"{path} does not hold what a training writes; train again.")
    return report


def _has(tree: object, form: object) -> bool:
    """Whether a tree has all keys of a form with numbers where it has numbers; a key "*" stands for
    every key that is there.
    """
    if not isinstance(form, dict):
        return isinstance(tree, (int, float)) and not isinstance(tree, bool)
    if not isinstance(tree, dict):
        return False
    return all(
        all(_has(one, part) for one in tree.values()) if key == "*" else _has(tree.get(key), part)
        for key, part in form.items()
    )


def read_events(run: str | Path, part: str = "test") -> pl.DataFrame:
    """The held-out events of one part, a row an event: `user_id`, `history` (all earlier items,
    oldest first) and `target`, raw ids.

    Errors: ServableError when the run does not have them, or the file is something else.
    """
    path = run_file(run, f"{part}.parquet")
    if not path.is_file():
        raise ServableError(
            f"{run} has no {path.name}, which trainings of earlier versions did not write; train again."
        )
    try:
        events = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ServableError(
            f"{path} cannot be read as Parquet ({str(error).splitlines()[0].rstrip('.')}); train again."
        ) from None
    if dict(events.schema) != COLUMNS:
        raise ServableError(
            f"{path} must have the columns {', '.join(COLUMNS)} of texts, but has {dict(events.schema)}; train again."
        )
    return events


def padded(rows: Sequence[Sequence[str]], columns: int) -> np.ndarray:
    """Texts [B, W] of rows of any length, of which the latest W count; "" on the left of shorter
    ones.
    """
    result = np.full((len(rows), columns), "", object)
    for place, row in enumerate(rows):
        latest = row[max(len(row) - columns, 0) :]
        result[place, columns - len(latest) :] = latest
    return result


@dataclasses.dataclass(frozen=True)
class Block:
    """Some held-out events with items as numbers 1..N, 0 where there is none.

    Attributes:
      events: numbers of the events, int64 [B].
      users: ids, [B].
      histories: all earlier items, oldest first, the first column always 0, int64 [B, W].
      seen: the distinct items of each history, int64 [B, S].
      targets: int64 [B].
    """

    events: np.ndarray
    users: np.ndarray
    histories: np.ndarray
    seen: np.ndarray
    targets: np.ndarray


def blocks(events: pl.DataFrame, items: Sequence[str], size: int) -> Iterator[Block]:
    """Held-out events in blocks of up to `size`, the shorter histories first within some thousands.

    Args:
      events: as `read_events` gives them.
      items: ids of the items 1..N.
      size: B at most.

    Errors: ServableError when an event has another item.
    """
    code = pl.Enum(list(items))
    for begin in range(0, len(events), _SLICE):
        part = events.slice(begin, _SLICE)
        lengths = part["history"].list.len().to_numpy().astype(np.int64)
        codes, targets = (
            _numbers(part["history"].explode().drop_nulls(), code),
            _numbers(part["target"], code),
        )
        users = part["user_id"].to_numpy()
        first = _first_occurrences(np.repeat(np.arange(len(part)), lengths), codes)
        histories, seen = _Ragged(codes, lengths), _Ragged(np.where(first, codes, 0), lengths)
        order = np.argsort(lengths, kind="stable")
        for some in np.split(order, range(size, len(order), size)):
            yield Block(
                begin + some, users[some], histories.padded(some), seen.padded(some), targets[some]
            )


def _numbers(ids: pl.Series, code: pl.Enum) -> np.ndarray:
    try:
        return ids.cast(code).to_physical().to_numpy().astype(np.int64) + 1
    except pl.exceptions.PolarsError:
        raise ServableError(
            "The held-out events have items that are not in the run's vocabulary; train again."
        ) from None


class _Ragged:
    """Rows of different lengths, one after the other."""

    def __init__(self, values: np.ndarray, lengths: np.ndarray):
        self._values = np.append(values, 0)
        self._ends = np.cumsum(lengths)
        self._lengths = lengths

    def padded(self, rows: np.ndarray) -> np.ndarray:
        """The rows of these numbers with 0 on the left, one column wider than the longest."""
        columns = np.arange(-1 - self._lengths[rows].max(initial=0), 0)
        real = columns >= -self._lengths[rows][:, np.newaxis]
        return np.where(
            real, self._values[np.where(real, self._ends[rows][:, np.newaxis] + columns, -1)], 0
        )


def _first_occurrences(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Whether each value stands in its row for the first time."""
    keys = rows * (values.max(initial=0) + 1) + values
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
