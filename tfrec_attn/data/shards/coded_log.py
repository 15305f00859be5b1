"""A log that is too large for memory: integer codes on disk, processed part by part."""

import io
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.config import Data
from tfrec_attn.data.sequences.event_filters import filter_sequences
from tfrec_attn.data.sequences.k_core import Codes, KCore
from tfrec_attn.data.shards.order_statistics import Chunks
from tfrec_attn.data.shards.segment_file import read_part, segment_file
from tfrec_attn.files.work_folder import remove

BUCKET = 1 << 21  # events in memory while the events of some users are filtered


class IdEncoder:
    """Encodes ids by first appearance, one part of the log after the other."""

    def __init__(self):
        self._known = pl.DataFrame(schema={"id": pl.String, "code": pl.Int32})

    def __len__(self) -> int:
        return self._known.height

    @property
    def ids(self) -> pl.Series:
        """All ids in the order of their codes."""
        return self._known["id"]

    def encode(self, ids: pl.Series) -> pl.Series:
        """Returns the code of each id, from 0, Int32; new ids get the next codes."""
        codes = self._lookup(ids, self._known)
        new = ids.filter(codes.is_null()).unique(maintain_order=True)
        if not len(new):
            return codes
        next_codes = pl.int_range(len(self), len(self) + len(new), dtype=pl.Int32, eager=True)
        added = pl.DataFrame({"id": new, "code": next_codes})
        self._known = pl.concat([self._known, added], rechunk=True)
        return codes.zip_with(codes.is_not_null(), self._lookup(ids, added))

    @staticmethod
    def _lookup(ids: pl.Series, table: pl.DataFrame) -> pl.Series:
        frame = pl.DataFrame({"id": ids})
        return frame.join(table, on="id", how="left", maintain_order="left")["code"]


class CodedLog:
    """A log on disk with codes for ids and event types, in parts that fit into memory.

    Args:
        folder: The folder of the parts.
        name: Beginning of the file names of the parts. Default "part".

    Attributes:
        events: Number of events.
        whole_times: Whether all times are integers.
    """

    def __init__(self, folder: Path, name: str = "part"):
        self.folder, self._name, self._parts = folder, name, 0
        self.events, self.whole_times = 0, True
        self._encoders = {name: IdEncoder() for name in ("user_id", "item_id", "event")}

    @property
    def user_ids(self) -> pl.Series:
        """The ids of the users in the order of their codes."""
        return self._encoders["user_id"].ids

    @property
    def item_ids(self) -> pl.Series:
        """The ids of the items in the order of their codes."""
        return self._encoders["item_id"].ids

    def append(self, frame: pl.DataFrame) -> None:
        """Adds a part.

        Args:
            frame: The next events of the log, as `EventFilter` returns them; or all events of some
                users in the order of the log, with their `place` in the log.
        """
        encoders, out = self._encoders_of(frame), io.BytesIO()
        codes = {name: encoder.encode(frame[name]) for name, encoder in encoders.items()}
        frame.with_columns(**codes).drop("rating", strict=False).write_ipc(out)
        self._path(self._parts).write_bytes(out.getbuffer())
        self._parts += 1
        self.events += frame.height
        self.whole_times &= frame["timestamp"].dtype.is_integer()

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yields the parts, with codes, times of one type, and the `place` of each event."""
        begin, kind = 0, pl.Int64 if self.whole_times else pl.Float64
        for part in range(self._parts):
            frame = pl.read_ipc(self._path(part)).with_columns(pl.col("timestamp").cast(kind))
            if "place" not in frame.columns:
                place = pl.int_range(begin, begin + pl.len(), dtype=pl.Int64)
                frame = frame.with_columns(place=place)
            begin += frame.height
            yield frame

    def decoded(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Replaces the codes of events by ids and event types."""
        encoders = self._encoders_of(frame)
        return frame.with_columns(
            **{name: encoder.ids.gather(frame[name]) for name, encoder in encoders.items()}
        )

    def codes(self) -> Iterator[Codes]:
        """Yields the users, the items and the places of the events in each part."""
        for frame in self.frames():
            yield tuple(frame[name].to_numpy() for name in ("user_id", "item_id", "place"))

    def counts(self, name: str) -> np.ndarray:
        """Returns the number of events of each id; `name` is "user_id" or "item_id"."""
        size = len(self._encoders[name])
        return sum(np.bincount(frame[name].to_numpy(), minlength=size) for frame in self.frames())

    def _encoders_of(self, frame: pl.DataFrame) -> dict[str, IdEncoder]:
        return {name: one for name, one in self._encoders.items() if name in frame.columns}

    def _path(self, part: int) -> Path:
        return self.folder / f"{self._name}-{part}.arrow"


def filter_users(log: CodedLog, data: Data) -> tuple[CodedLog, dict[str, int]]:
    """Applies `filter_sequences` to a log, some users at a time.

    Args:
        log: The log.
        data: As for `filter_sequences`.

    Returns:
        The log of the events that stay, and attributes of `EventFilterReport` with their values.
        The files of `log` are removed.
    """
    path, buckets = str(log.folder / "buckets.arrow"), 1 + log.events // BUCKET
    buckets = min(buckets, len(log.user_ids))
    with local_segments(path, buckets) as out:
        for frame in log.frames():
            out.add(frame, frame["user_id"].to_numpy() % buckets)
    left, found = CodedLog(log.folder, "filtered"), Counter()
    for bucket in range(buckets):
        frame, counts = filter_sequences(log.decoded(read_segments(path, bucket)), data)
        left.append(frame)
        found.update(counts)
    remove(log.folder, ("part-*.arrow", "buckets.arrow", "buckets.arrow.index"))
    return left, dict(found)


def partition(log: CodedLog, core: KCore, path: str, shards: int) -> Chunks:
    """Writes the events that stay, with user rows and item indices, by the shard of their user.

    User row u belongs to shard u mod `shards`. The events of a user stay in the order of the log.

    Args:
        log: The log.
        core: The users and items that stay.
        path: File of segments, for `read_segments`.
        shards: Number of shards.

    Returns:
        The times of these events, for `quantile`.
    """
    with local_segments(path, shards) as out:
        for frame in log.frames():
            row = core.user_row[frame["user_id"].to_numpy()]
            item = core.item_row[frame["item_id"].to_numpy()]
            stays = pl.Series((row >= 0) & (item >= 0))
            frame = frame.with_columns(row=pl.Series(row), item=pl.Series(item + np.int32(1)))
            frame = frame.drop("user_id", "item_id", "place").filter(stays)
            out.add(frame, frame["row"].to_numpy() % shards)

    def times(number: int) -> np.ndarray:
        return read_segments(path, number, ["timestamp"])["timestamp"].to_numpy()

    return [partial(times, number) for number in range(shards)]


local_segments = partial(segment_file, create=partial(open, mode="wb"))


def read_segments(path: str, number: int, columns: list[str] | None = None) -> pl.DataFrame:
    """Returns the events of one part of a file that `local_segments` has written."""
    return read_part([path], number, partial(open, mode="rb"), columns)
