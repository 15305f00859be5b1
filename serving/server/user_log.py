"""The users of a log and their histories, in memory."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from tfrec_attn.data.reading.log_parts import parts_of, suffix
from tfrec_attn.data.reading.parquet_check import require_sound
from tfrec_attn.data.reading.text_formats import text_size
from tfrec_attn.errors import DataError, shown
from tfrec_attn.lists.file_histories import data_of_servable, file_histories
from tfrec_attn.lists.user_histories import UserBatch

# Number of latest events of a history that the page gets.
MOST_EVENTS = 2000
_MAX_BYTES, _MAX_EVENTS = 1 << 30, 20_000_000
_BATCH = 1 << 14


class UserHistory(NamedTuple):
    """A user and the latest events of the history.

    Attributes:
        user: Id of the user.
        items: Items of the latest `MOST_EVENTS` events, oldest first.
        events: Number of all events of the user.
    """

    user: str
    items: list[str]
    events: int


class UserLog:
    """Users and their histories.

    Args:
        batches: Batches of users. If a user occurs twice, the last history counts.

    Raises:
        DataError: If there are too many events, or no users.
    """

    def __init__(self, batches: Iterable[UserBatch]):
        users, items, lengths, count = [], [], [np.zeros(1, np.int64)], 0
        for batch in batches:
            count += len(batch.items)
            if count > _MAX_EVENTS:
                raise DataError(
                    f"--histories must have at most {_MAX_EVENTS:,} events, but has more; give the "
                    "histories of fewer users."
                )
            users.append(batch.users)
            items.append(batch.items)
            lengths.append(batch.lengths)
        if not users:
            raise DataError("--histories has no users; give a log, or histories of users.")
        self._users, self._items = pl.concat(users), pl.concat(items)
        self._ends = np.cumsum(np.concatenate(lengths))
        self._random = np.random.default_rng()

    def __len__(self) -> int:
        return self._users.n_unique()

    def find(self, user: str) -> UserHistory | None:
        """Returns the history of a user, or None for an unknown one."""
        rows = (self._users == user).arg_true()
        if not len(rows):
            return None
        begin, end = self._ends[rows[-1] : rows[-1] + 2].tolist()
        return UserHistory(
            user, self._items[max(begin, end - MOST_EVENTS) : end].to_list(), end - begin
        )

    def any(self) -> UserHistory:
        """Returns the history of a random user."""
        return self.find(self._users[int(self._random.integers(len(self._users)))])


def read_user_log(path: str | Path, servable: str | Path) -> UserLog:
    """Reads the histories that the page can show.

    Args:
        path: A file as for `--histories` of `python -m tfrec_attn.recommend`.
        servable: A servable whose run has a log with the format and the columns of this log.

    Raises:
        ConfigError: If the servable cannot be read.
        DataError: If the file cannot be used, or is too large.
        ReadError: If the file cannot be read to its end.
    """
    path = Path(path)
    if path.exists():
        _check_size(path)
    return UserLog(file_histories(path, data_of_servable(servable)).batches(0, _BATCH))


def _check_size(path: Path) -> None:
    """Checks the size of a file before it is read into memory."""
    size, rows = 0, 0
    try:
        for part in parts_of(path):
            if suffix(part) == "parquet":
                require_sound([part], columns=[])
                size += part.stat().st_size
                rows += pl.scan_parquet(part, glob=False).select(pl.len()).collect().item()
            else:
                size += text_size(part, _MAX_BYTES - size)
            if size > _MAX_BYTES or rows > _MAX_EVENTS:
                raise _too_large(path, size, rows)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        # The code that reads the file reports its errors.
        return


def _too_large(path: Path, size: int, rows: int) -> DataError:
    limit = f"{_MAX_BYTES:,} bytes" if size > _MAX_BYTES else f"{_MAX_EVENTS:,} rows"
    return DataError(
        f"--histories {shown(str(path))} must have at most {limit} without compression, but has "
        "more; give the histories of fewer users."
    )
