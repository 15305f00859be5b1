"""Reads histories from a file: JSON lines, Parquet, or a log of events."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import polars as pl

from tfrec_attn import config as configuration
from tfrec_attn.config import Data
from tfrec_attn.data.reading.catalog import load_configured
from tfrec_attn.data.reading.parquet_check import require_sound
from tfrec_attn.data.reading.text_formats import DAMAGES, open_bytes
from tfrec_attn.data.sequences.encoding import checksum, encode_log
from tfrec_attn.data.sequences.event_filters import filter_events
from tfrec_attn.errors import DataError, ReadError, first_line
from tfrec_attn.files.checksums import file_sha256
from tfrec_attn.lists.user_histories import SequenceHistories, UserBatch, UserHistories
from tfrec_attn.replay.request_log import SCHEMA, requests_of
from tfrec_attn.runtime.runner import version_folder

_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_CONFIG = "assets.extra/config.yaml"


def file_histories(path: str | Path, data: Data) -> UserHistories:
    """Returns the users of a file and their histories.

    Args:
        path: `.jsonl`, also compressed, with `{"user_id": "u1", "history": ["i3", "i17"]}` on each
            line; `.parquet` with these columns; or a log of events.
        data: Settings that say how to read a log, and which of its events count.

    Raises:
        DataError: If the file does not exist, or has another format.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"--histories {path} does not exist; give a file of histories or a log.")
    if path.name.endswith(_LINES):
        return LineHistories(path)
    if path.suffix == ".parquet" and path.is_file():
        require_sound([path])
        with _reading(path):
            if "history" in pl.scan_parquet(path, glob=False).collect_schema():
                return TableHistories(path)
    log = replace(data, source="file", path=str(path))
    frame, _ = filter_events(load_configured(log).frame, log)
    sequences, _ = encode_log(frame, sessions=log.session_gap is not None)
    histories = SequenceHistories(sequences)
    histories.checksum = checksum(sequences)
    return histories


def data_of_servable(servable: str | Path) -> Data:
    """Returns the data settings of the run that a servable was exported from.

    A servable without a configuration has the default settings.

    Raises:
        ConfigError: If the folder is not a servable, or its configuration cannot be read.
    """
    path = version_folder(servable) / _CONFIG
    return configuration.load(path).data if path.is_file() else Data()


class LineHistories(UserHistories):
    """A file of JSON lines with a user in each, read batch by batch."""

    def __init__(self, path: Path):
        with _reading(path):
            self._path, self.checksum = path, file_sha256(path)

    def batches(self, begin: int, size: int) -> Iterator[UserBatch]:
        """Yields the users in the order of the lines."""
        with _reading(self._path, begun=True), open_bytes(self._path) as lines:
            requests = islice(enumerate(requests_of(self._path, lines), 1), begin, None)
            while some := list(islice(requests, size)):
                missing = next((number for number, (user, _) in some if not user), None)
                if missing is not None:
                    raise _missing_user(self._path, missing)
                users, histories = zip(*(request for _, request in some), strict=True)
                yield UserBatch.of(list(users), list(histories))


class TableHistories(UserHistories):
    """A Parquet file with a user in each row, read batch by batch.

    Raises:
        DataError: If the columns `user_id` and `history` are missing or have other types.
    """

    def __init__(self, path: Path):
        with _reading(path):
            self._path, self.checksum = path, file_sha256(path)
            table = pl.scan_parquet(path, glob=False)
            schema = table.collect_schema()
            try:
                self._table = table.select(
                    pl.col(name).cast(dtype, strict=True) for name, dtype in SCHEMA.items()
                )
                self._table.collect_schema()
            except pl.exceptions.PolarsError:
                raise DataError(
                    f"{path} must have the columns user_id of texts and history of lists of texts, "
                    f"but has {dict(schema)}."
                ) from None
            self.total = table.select(pl.len()).collect().item()

    def batches(self, begin: int, size: int) -> Iterator[UserBatch]:
        """Yields the users in the order of the rows."""
        for start in range(begin, self.total, size):
            with _reading(self._path, begun=True):
                frame = self._table.slice(start, size).collect()
            missing = (frame["user_id"].fill_null("") == "").arg_true()
            if len(missing):
                raise _missing_user(self._path, start + missing[0] + 1)
            history = pl.col("history").fill_null([]).list.drop_nulls()
            yield UserBatch.from_frame(frame.with_columns(history))


def _missing_user(path: Path, number: int) -> DataError:
    return DataError(f"{path}, request {number}: expected a user_id to give the list to, got none.")


@contextlib.contextmanager
def _reading(path: Path, begun: bool = False) -> Iterator[None]:
    """Turns exceptions into a DataError, or a ReadError if the disk fails after the beginning."""
    try:
        yield
    except (*DAMAGES, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(f"{path} cannot be read ({first_line(error)}).") from None
    except OSError as error:
        reason = error.strerror or first_line(error)
        if begun:
            raise ReadError(
                f"{path} cannot be read to its end ({reason}); run the same command again."
            ) from None
        raise DataError(f"{path} cannot be read ({reason}).") from None
