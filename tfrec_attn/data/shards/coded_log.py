"""A log too large for memory, as small integers on disk: what filters, numbers and deals out its
events in passes over parts of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.copies import count_copies, is_copy
from tfrec_attn.data.shards.order_statistics import Values
from tfrec_attn.files.writing import append_array, save_array

_BUCKET = 1 << 21  # events whose copies are looked for at a time


class GrowingIds:
    """Numbers ids by first appearance, a part of the log at a time."""

    def __init__(self):
        self._known = pl.DataFrame(schema={"id": pl.String, "code": pl.Int32})

    def __len__(self) -> int:
        return self._known.height

    @property
    def ids(self) -> pl.Series:
        """All ids in the order of their numbers."""
        return self._known["id"]

    def encode(self, ids: pl.Series) -> np.ndarray:
        """Returns the number of each id, from 0, int32; ids that are new get the next ones."""
        codes = self._look_up(ids, self._known)
        new = codes.is_null()
        if not new.any():
            return codes.to_numpy()
        places = new.arg_true()
        distinct = ids.gather(places).unique(maintain_order=True)
        added = pl.DataFrame(
            {
                "id": distinct,
                "code": pl.int_range(
                    len(self), len(self) + len(distinct), dtype=pl.Int32, eager=True
                ),
            }
        )
        self._known = pl.concat([self._known, added], rechunk=True)
        result = codes.fill_null(0).to_numpy().copy()
        result[places.to_numpy()] = self._look_up(ids.gather(places), added).to_numpy()
        return result

    @staticmethod
    def _look_up(ids: pl.Series, table: pl.DataFrame) -> pl.Series:
        return pl.DataFrame({"id": ids}).join(table, on="id", how="left", maintain_order="left")[
            "code"
        ]


@dataclass
class CodedLog:
    """The events of a log in file order, in parts that each fit into memory.

    Attributes:
        folder: Where the parts lie.
        parts: How many there are.
        users: How many users they have.
        items: How many items.
        events: How many events.
        whole_times: Whether no time has a fraction.
        typed: Whether events have types.
    """

    folder: Path
    parts: int = 0
    users: int = 0
    items: int = 0
    events: int = 0
    whole_times: bool = True
    typed: bool = False

    def append(
        self,
        users: np.ndarray,
        items: np.ndarray,
        times: np.ndarray,
        types: np.ndarray | None = None,
    ) -> None:
        """Adds a part: codes from 0, int32, and times, int64 or float64; all parts have types,
        int32, or none has.
        """
        self.typed = types is not None
        self._save(self.parts, users, items, times, types)
        self.parts += 1
        self.events += len(users)
        self.whole_times &= times.dtype.kind == "i"

    def codes(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the users and the items of each part."""
        for part in range(self.parts):
            yield self._load("users", part), self._load("items", part)

    def times(self, part: int) -> np.ndarray:
        """The times of a part, of the type of all."""
        return self._load("times", part).astype(self._time_type(), copy=False)

    def types(self, part: int) -> np.ndarray | None:
        """The types of a part, where events have some."""
        return self._load("types", part) if self.typed else None

    def counts(self, name: str) -> np.ndarray:
        """Events of each of the "users" or "items", int64."""
        counts = np.zeros(getattr(self, name), np.int64)
        for part in range(self.parts):
            counts += np.bincount(self._load(name, part), minlength=len(counts))
        return counts

    def drop_copies(self) -> int:
        """Takes out every event that is a copy of an earlier one, and returns how many; the same as
        `without_copies` in memory.
        """
        begins = np.cumsum([0, *(len(users) for users, _ in self.codes())])
        copies, buckets = [], 1 + self.events // _BUCKET
        for part, (users, items) in enumerate(self.codes()):
            columns = {
                "user": users,
                "item": items,
                "time": self.times(part),
                "type": self.types(part),
            }
            columns["place"] = np.arange(begins[part], begins[part + 1])
            _deal(
                self.folder,
                users % buckets,
                buckets,
                {name: values for name, values in columns.items() if values is not None},
            )
        for bucket in range(buckets):
            names = {
                "user": np.int32,
                "item": np.int32,
                "time": self._time_type(),
                **({"type": np.int32} if self.typed else {}),
            }
            found = is_copy(
                *(
                    np.fromfile(self.folder / f"{name}-{bucket}.bin", dtype)
                    for name, dtype in names.items()
                )
            )
            copies.append(np.fromfile(self.folder / f"place-{bucket}.bin", np.int64)[found])
            for name in (*names, "place"):
                (self.folder / f"{name}-{bucket}.bin").unlink()
        places = np.sort(np.concatenate(copies))
        for part, (users, items) in enumerate(self.codes()):
            stays = np.ones(len(users), bool)
            stays[
                places[slice(*np.searchsorted(places, begins[part : part + 2]))] - begins[part]
            ] = False
            types = self.types(part)
            self._save(
                part,
                users[stays],
                items[stays],
                self.times(part)[stays],
                None if types is None else types[stays],
            )
        self.events -= len(places)
        return len(places)

    def _save(
        self,
        part: int,
        users: np.ndarray,
        items: np.ndarray,
        times: np.ndarray,
        types: np.ndarray | None,
    ) -> None:
        for name, values in (
            ("users", users),
            ("items", items),
            ("times", times),
            ("types", types),
        ):
            if values is not None:
                save_array(self.folder / f"{name}-{part}.npy", values)

    def _time_type(self) -> type:
        return np.int64 if self.whole_times else np.float64

    def _load(self, name: str, part: int) -> np.ndarray:
        return np.load(self.folder / f"{name}-{part}.npy")


@dataclass(frozen=True)
class Kept:
    """What the frequency filter leaves of a coded log.

    Attributes:
        user_codes: Codes of the users that stay, by first appearance, int64 [M].
        item_codes: The same of the items, int64 [N].
        user_row: For each code the place in `user_codes`, or -1, int32.
        item_row: For each code the place in `item_codes`, or -1, int32.
        lengths: Events of each user that stays, int64 [M].
    """

    user_codes: np.ndarray
    item_codes: np.ndarray
    user_row: np.ndarray
    item_row: np.ndarray
    lengths: np.ndarray


def k_core_on_disk(log: CodedLog, min_user_events: int, min_item_events: int) -> Kept:
    """Leaves the largest set of events in which every user and every item has enough of them; the
    same as `k_core` in memory.
    """
    stays = [np.ones(log.users, bool), np.ones(log.items, bool)]
    while True:
        counts = [np.zeros(log.users, np.int64), np.zeros(log.items, np.int64)]
        for part in log.codes():
            kept = stays[0][part[0]] & stays[1][part[1]]
            for count, codes in zip(counts, part, strict=True):
                count += np.bincount(codes[kept], minlength=len(count))
        enough = [
            count >= max(1, least)
            for count, least in zip(counts, (min_user_events, min_item_events), strict=True)
        ]
        if all(np.array_equal(one, other) for one, other in zip(stays, enough, strict=True)):
            break
        stays = enough
    order = _by_first_appearance(log, stays)
    rows = [np.full(len(one), -1, np.int32) for one in stays]
    for row, codes in zip(rows, order, strict=True):
        row[codes] = np.arange(len(codes), dtype=np.int32)
    return Kept(*order, *rows, counts[0][order[0]])


def _by_first_appearance(log: CodedLog, stays: list[np.ndarray]) -> list[np.ndarray]:
    """The codes that stay, in the order of their first event that stays."""
    never = np.iinfo(np.int64).max
    first, begin = [np.full(len(one), never) for one in stays], 0
    for part in log.codes():
        kept = np.flatnonzero(stays[0][part[0]] & stays[1][part[1]])[::-1]
        for seen, codes in zip(first, part, strict=True):
            here = np.full(len(seen), never)
            here[codes[kept]] = begin + kept  # the last assignment is that of the earliest event
            np.minimum(seen, here, out=seen)
        begin += len(part[0])
    return [np.argsort(seen, kind="stable")[: np.count_nonzero(seen < never)] for seen in first]


def deal_out(log: CodedLog, kept: Kept, folder: Path, shards: int) -> Values:
    """Appends each event that stays to the files of its user's shard, in file order, and returns
    the times of all.

    User row u goes to shard u mod `shards`; `dealt` reads one.
    """
    for part, (users, items) in enumerate(log.codes()):
        rows, places = kept.user_row[users], kept.item_row[items]
        stays = (rows >= 0) & (places >= 0)
        types = log.types(part)
        columns = {
            "rows": rows[stays],
            "items": places[stays] + np.int32(1),
            "times": log.times(part)[stays],
        }
        _deal(
            folder,
            columns["rows"] % shards,
            shards,
            columns if types is None else {**columns, "types": types[stays]},
        )
    return Values(
        [lambda number=number: _times(folder, number, log.whole_times) for number in range(shards)]
    )


def _deal(folder: Path, key: np.ndarray, count: int, columns: dict[str, np.ndarray]) -> None:
    """Appends the values of each column to the files NAME-K.bin of their keys K, in order."""
    order = np.argsort(key.astype(np.uint16), kind="stable")
    ends = np.cumsum(np.bincount(key, minlength=count))
    for number, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        for name, values in columns.items():
            with open(folder / f"{name}-{number}.bin", "ab") as file:
                append_array(file, values[order[begin:end]])


def count_dealt_copies(folder: Path, shards: int, whole_times: bool) -> int:
    """How many events that were dealt out, with their types, are copies of another."""
    copies = 0
    for number in range(shards):
        rows, items, times = dealt(folder, number, whole_times)
        types, order = (
            np.fromfile(folder / f"types-{number}.bin", np.int32),
            np.lexsort((times, rows)),
        )
        copies += count_copies(rows[order], times[order], items[order], types[order])
    return copies


def dealt(
    folder: Path, number: int, whole_times: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The user rows, items and times of a shard's events, in file order."""
    rows, items = (
        np.fromfile(folder / f"{name}-{number}.bin", np.int32) for name in ("rows", "items")
    )
    return rows, items, _times(folder, number, whole_times)


def _times(folder: Path, number: int, whole: bool) -> np.ndarray:
    return np.fromfile(folder / f"times-{number}.bin", np.int64 if whole else np.float64)
