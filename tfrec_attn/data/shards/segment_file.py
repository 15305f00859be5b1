"""Files with segments of many parts, from which a reader takes the segments of one part.

Workers exchange events in such files, because the engine would copy each event several times. A
file `.index` beside a file of segments has the begin and the size of each segment, one part after
the other.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO

import numpy as np
import polars as pl

from tfrec_attn.data.shards.beam_files import complete_file, opened, pack

_INDEX = ".index"
# A function that opens the file of a path.
Open = Callable[[str], AbstractContextManager[BinaryIO]]


class SegmentWriter:
    """Writes the segments of a file.

    Args:
        out: The file of segments.
        parts: Number of parts.

    Attributes:
        sizes: Bytes of each part so far, int64 [parts].
    """

    def __init__(self, out: BinaryIO, parts: int):
        self.sizes = np.zeros(parts, np.int64)
        self._out, self._end, self._index = out, 0, []

    def add(self, frame: pl.DataFrame, part: np.ndarray) -> None:
        """Writes rows; the rows of a part keep their order.

        Args:
            frame: The rows.
            part: Part of each row.
        """
        index = np.zeros((len(self.sizes), 2), np.int64)
        groups = frame.with_columns(part=part).partition_by(
            "part", maintain_order=True, include_key=False, as_dict=True
        )
        for (number,), rows in groups.items():
            content = pack(rows)
            self._out.write(content)
            index[number] = self._end, len(content)
            self._end += len(content)
        self.sizes += index[:, 1]
        self._index.append(index)

    def index(self) -> bytes:
        """Returns the content of the file `.index`."""
        rounds = len(self._index)
        index = np.array(self._index, "<i8").reshape(rounds, len(self.sizes), 2)
        return np.array([rounds], "<i8").tobytes() + index.transpose(1, 0, 2).tobytes()


@contextmanager
def segment_file(path: str, parts: int, create: Open = complete_file) -> Iterator[SegmentWriter]:
    """Opens a file for the segments of `parts` parts, which gets its name when it is complete."""
    with create(path) as out:
        writer = SegmentWriter(out, parts)
        yield writer
        with create(f"{path}{_INDEX}") as index:
            index.write(writer.index())


def read_part(
    paths: Iterable[str], number: int, read: Open = opened, columns: list[str] | None = None
) -> pl.DataFrame:
    """Returns the rows of one part in several files, in order; at least one file must have rows."""
    segments = (segment for path in paths for segment in _segments(path, number, read))
    return unpack(segments, columns)


def unpack(chunks: Iterable[bytes], columns: list[str] | None = None) -> pl.DataFrame:
    """Returns the rows of packed frames, in the order of the frames."""
    frames = [pl.read_ipc(io.BytesIO(one), columns=columns) for one in chunks]
    return pl.concat(frames, how="vertical_relaxed")


def _segments(path: str, number: int, read: Open) -> Iterator[bytes]:
    with read(f"{path}{_INDEX}") as stream:
        rounds = int(np.frombuffer(stream.read(8), "<i8")[0])
        stream.seek(8 + 16 * rounds * number)
        index = np.frombuffer(stream.read(16 * rounds), "<i8").reshape(rounds, 2)
    if not index[:, 1].any():
        return
    with read(path) as stream:
        for begin, size in index[index[:, 1] > 0].tolist():
            stream.seek(begin)
            yield stream.read(size)
