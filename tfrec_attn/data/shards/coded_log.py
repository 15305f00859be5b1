"""A log too large for memory: integer codes on disk, which are processed part by part."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.copies import count_copies, is_copy
from tfrec_attn.data.sequences.k_core import KCore
from tfrec_attn.data.shards.order_statistics import ChunkedArray
from tfrec_attn.files.writing import append_array, save_array

BUCKET = 1 << 21  # events in memory while those of some users are looked at


class IdEncoder:
    """Encodes ids by first appearance, a part of the log at a time."""

    def __init__(self):
        self._known = pl.DataFrame(schema={"id": pl.String, "code": pl.Int32})

    def __len__(self) -> int:
        return self._known.height

    @property
    def ids(self) -> pl.Series:
        """All ids in the order of their codes."""
        return self._known["id"]

    def encode(self, ids: pl.Series) -> np.ndarray:
        """Returns the code of each id, from 0, int32; new ids get the next codes."""
        codes = self._lookup(ids, self._known)
        new = codes.is_null()
        if not new.any():
            return codes.to_numpy()
        rows = new.arg_true()
        distinct = ids.gather(rows).unique(maintain_order=True)
        next_codes = pl.int_range(len(self), len(self) + len(distinct), dtype=pl.Int32, eager=True)
        added = pl.DataFrame({"id": distinct, "code": next_codes})
        self._known = pl.concat([self._known, added], rechunk=True)
        result = codes.fill_null(0).to_numpy().copy()
        result[rows.to_numpy()] = self._lookup(ids.gather(rows), added).to_numpy()
        return result

    @staticmethod
    def _lookup(ids: pl.Series, table: pl.DataFrame) -> pl.Series:
        frame = pl.DataFrame({"id": ids})
        return frame.join(table, on="id", how="left", maintain_order="left")["code"]


@dataclass
class CodedLog:
    """The events of a log in file order, in parts that each fit into memory.

    Attributes:
        folder: The folder of the parts.
        parts: Number of parts.
        users: Number of users.
        items: Number of items.
        events: Number of events.
        whole_times: Whether no time has a fraction.
        others: Further columns of the events: "type", the codes of their types, int32, and
            "weight", float32.
    """

    folder: Path
    parts: int = 0
    users: int = 0
    items: int = 0
    events: int = 0
    whole_times: bool = True
    others: tuple[str, ...] = ()

    def append(
        self,
        users: np.ndarray,
        items: np.ndarray,
        times: np.ndarray,
        **others: np.ndarray,
    ) -> None:
        """Adds a part.

        Args:
            users: User code of each event, from 0, int32.
            items: Item code of each event, from 0, int32.
            times: Time of each event, int64 or float64.
            **others: The columns `others`, the same for all parts.
        """
        self.others = tuple(others)
        self.replace(self.parts, users, items, times, **others)
        self.parts += 1
        self.events += len(users)
        self.whole_times &= times.dtype.kind == "i"

    def codes(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the users and the items of each part."""
        for part in range(self.parts):
            yield self._load("user", part), self._load("item", part)

    def times(self, part: int) -> np.ndarray:
        """Returns the times of a part, in the integer or float type of the whole log."""
        return self._load("time", part).astype(self.time_type, copy=False)

    def other(self, part: int) -> dict[str, np.ndarray]:
        """Returns the columns `others` of a part."""
        return {name: self._load(name, part) for name in self.others}

    def counts(self, name: str) -> np.ndarray:
        """Returns the number of events of each of the "users" or "items", int64."""
        counts = np.zeros(getattr(self, name), np.int64)
        for part in range(self.parts):
            codes = self._load(name.removesuffix("s"), part)
            counts += np.bincount(codes, minlength=len(counts))
        return counts

    def drop_copies(self) -> int:
        """Drops every event that is a copy of an earlier one, and returns how many there are.

        The result is the same as that of `without_copies` in memory.
        """
        begins = np.cumsum([0, *(len(users) for users, _ in self.codes())])
        dropped = self._rows_of_copies(begins)
        for part, (users, items) in enumerate(self.codes()):
            here = slice(*np.searchsorted(dropped, begins[part : part + 2]))
            stays = np.ones(len(users), bool)
            stays[dropped[here] - begins[part]] = False
            others = {name: values[stays] for name, values in self.other(part).items()}
            self.replace(part, users[stays], items[stays], self.times(part)[stays], **others)
        self.events -= len(dropped)
        return len(dropped)

    def replace(
        self,
        part: int,
        users: np.ndarray,
        items: np.ndarray,
        times: np.ndarray,
        **others: np.ndarray,
    ) -> None:
        """Writes other events in the place of a part; the arguments are those of `append`."""
        for name, values in {"user": users, "item": items, "time": times, **others}.items():
            save_array(self.folder / f"{name}-{part}.npy", values)

    def _rows_of_copies(self, begins: np.ndarray) -> np.ndarray:
        """Returns the rows of copies, ascending, given the first row of each part."""
        types = {"user": np.int32, "item": np.int32, "time": self.time_type}
        types |= {"type": np.int32} if "type" in self.others else {}
        buckets = 1 + self.events // BUCKET
        for part in range(self.parts):
            columns = {name: self._load(name, part).astype(types[name]) for name in types}
            columns["row"] = np.arange(begins[part], begins[part + 1])
            append_by_key(self.folder, columns["user"] % buckets, buckets, columns)
        copies = []
        for bucket in range(buckets):
            paths = {name: self.folder / f"{name}-{bucket}.bin" for name in (*types, "row")}
            found = is_copy(*(np.fromfile(paths[name], dtype) for name, dtype in types.items()))
            copies.append(np.fromfile(paths["row"], np.int64)[found])
            for path in paths.values():
                path.unlink()
        return np.sort(np.concatenate(copies))

    @property
    def time_type(self) -> type:
        """Type of the times of the whole log."""
        return np.int64 if self.whole_times else np.float64

    def _load(self, name: str, part: int) -> np.ndarray:
        return np.load(self.folder / f"{name}-{part}.npy")


def partition(log: CodedLog, core: KCore, folder: Path, shards: int) -> ChunkedArray:
    """Appends the events that stay to the files of their user's shard, in file order.

    User row u belongs to shard u mod `shards`. `read_partition` reads the events of a shard.

    Returns:
        The times of all these events.
    """
    for part, (users, items) in enumerate(log.codes()):
        rows, item_rows = core.user_row[users], core.item_row[items]
        stays = (rows >= 0) & (item_rows >= 0)
        columns = {
            "rows": rows[stays],
            "items": item_rows[stays] + np.int32(1),
            "times": log.times(part)[stays],
        }
        columns |= {f"{name}s": values[stays] for name, values in log.other(part).items()}
        append_by_key(folder, columns["rows"] % shards, shards, columns)
    return ChunkedArray(
        [lambda number=number: _times(folder, number, log.whole_times) for number in range(shards)]
    )


def append_by_key(
    folder: Path, key: np.ndarray, count: int, columns: dict[str, np.ndarray]
) -> None:
    """Appends the values of each column to the files NAME-K.bin of their keys K, in order.

    Args:
        folder: The folder of the files.
        key: Key of each value, from 0, less than 65,536.
        count: Number of keys.
        columns: Columns by name.
    """
    order = np.argsort(key.astype(np.uint16), kind="stable")
    ends = np.cumsum(np.bincount(key, minlength=count))
    for number, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        for name, values in columns.items():
            with open(folder / f"{name}-{number}.bin", "ab") as file:
                append_array(file, values[order[begin:end]])


def read_partition(
    folder: Path, number: int, whole_times: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns user rows, items, times and, if any, weights of a shard's events, in file order."""
    rows, items = (
        np.fromfile(folder / f"{name}-{number}.bin", np.int32) for name in ("rows", "items")
    )
    weights = folder / f"weights-{number}.bin"
    weights = np.fromfile(weights, np.float32) if weights.exists() else None
    return rows, items, _times(folder, number, whole_times), weights


def count_partition_copies(folder: Path, shards: int, whole_times: bool) -> int:
    """Counts the events of all shards that are copies of an earlier one of the same type."""
    copies = 0
    for number in range(shards):
        rows, items, times, _ = read_partition(folder, number, whole_times)
        types = np.fromfile(folder / f"types-{number}.bin", np.int32)
        order = np.lexsort((times, rows))
        copies += count_copies(rows[order], times[order], items[order], types[order])
    return copies


def _times(folder: Path, number: int, whole: bool) -> np.ndarray:
    return np.fromfile(folder / f"times-{number}.bin", np.int64 if whole else np.float64)
