"""Logs by the name of their source: synthetic, downloaded, from a file or from a function."""

import http.client
import os
import shutil
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

import polars as pl

from tfrec_attn.config import Data
from tfrec_attn.data.reading.from_function import read_function
from tfrec_attn.data.reading.interactions import ReadResult, read_interactions
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.extensions import SOURCES as EXTENSION
from tfrec_attn.files.checksums import file_digest

_TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class Archive:
    """A zip file on the web.

    Attributes:
        url: Address of the file.
        md5: MD5 checksum that the publisher gives.
        member: Name of the log in the file.
        order: Function that reorders the events of the log, or None (default).
    """

    url: str
    md5: str
    member: str
    order: Callable[[pl.DataFrame], pl.DataFrame] | None = None


def attrec_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Reorders a log so that the first line of each user's latest time becomes the last event.

    Lines of the same user and time are otherwise in the order of the file. AttRec's authors test a
    user on the first line of the latest time, not on the last line. The other events keep their
    order.

    Args:
        frame: Columns `user_id` and `timestamp`, as `read_interactions` returns them.

    Returns:
        The same rows in another order.
    """
    time, line = pl.col("timestamp"), pl.int_range(pl.len())
    last = (time == time.max().over("user_id")) & (line.over("user_id", "timestamp") == 0)
    return frame.sort(last, maintain_order=True)


_MOVIELENS_100K = Archive(
    "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    "0e33842e24a9c977be4e0107933c0723",
    "u.data",
)
ARCHIVES = {
    "movielens-100k": _MOVIELENS_100K,
    "movielens-100k-attrec": replace(_MOVIELENS_100K, order=attrec_order),
    "movielens-1m": Archive(
        "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        "c4d9eecfca2ab87c1945afe126590906",
        "ratings.dat",
    ),
}
SOURCES = ("synthetic", "file", *ARCHIVES)


def load(
    source: str,
    *,
    path: str | Path | None = None,
    events: int = 60_000,
    seed: int = 2024,
    **options: object,
) -> ReadResult:
    """Returns the log of a source.

    Args:
        source: `"synthetic"`, `"file"` (any log at `path`), a name in `ARCHIVES`, or a function as
            for `read_function`. An archive is downloaded once into the folder $TFREC_CACHE (default
            ~/.cache/tfrec-attn).
        path: The file, a folder of parts or a pattern. For an archive, the zip file or the log in
            it; for a function, its argument. None (default) for `"synthetic"` and downloads.
        events: Approximate number of events of `"synthetic"`. Default 60,000.
        seed: Seed of `"synthetic"`. Default 2024.
        **options: Keywords of `read_interactions`; `"synthetic"` ignores them.

    Raises:
        ConfigError: If there is no such source, or if `path` does not fit it.
        DataError: If an archive cannot be downloaded or has changed, or if the log cannot be read.
    """
    if is_function(source):
        for key in ("format", "names", "separator"):
            if options.pop(key, None) is not None:
                raise ConfigError(
                    f"data.{key} is for files, but data.source={source} is a function."
                )
        return read_function(source, None if path is None else str(path), **options)
    if source not in SOURCES:
        raise EXTENSION.unknown(source, list(SOURCES))
    if source == "synthetic":
        if path is not None:
            raise ConfigError(
                "data.source=synthetic reads no file: set data.source=file to read "
                f"data.path={path}."
            )
        return ReadResult(synthetic(events, seed))
    if source == "file":
        if path is None:
            raise ConfigError("data.source=file needs data.path.")
        return read_interactions(path, **options)
    archive = ARCHIVES[source]
    found = _fetched(archive) if path is None else Path(os.path.expanduser(path))
    if found.suffix.lower() == ".zip":
        result = _read_zip(found, archive.member, options)
    else:
        result = read_interactions(found, **options)
    return result if archive.order is None else replace(result, frame=archive.order(result.frame))


def is_function(source: str) -> bool:
    """Returns whether a source is a function of another package.

    Such a source is the name of an entry point, or `package.module:function`.
    """
    return source not in SOURCES and EXTENSION.target(source) is not None


def load_configured(
    data: Data, rejected: Path | None = None, logs: Sequence[str] = ()
) -> ReadResult:
    """Returns the log that the section `data` of a configuration names.

    Args:
        data: The section.
        rejected: TSV file for the rejected lines if `on_error` is "skip". None (default): none is
            written.
        logs: Files that replace the source, read one after the other as one log.

    Raises:
        ConfigError: As for `load`.
        DataError: As for `load`.
    """
    options = {key: getattr(data, key) for key in ("format", "names", "separator", "on_error")}
    options |= {"columns": asdict(data.columns), "rejected": rejected}
    if logs:
        return read_interactions(logs, **options)
    return load(data.source, path=data.path, events=data.events, seed=data.seed, **options)


def _read_zip(path: Path, member: str, options: dict[str, object]) -> ReadResult:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / member
        try:
            with zipfile.ZipFile(path) as archive:
                names = [one for one in archive.namelist() if PurePosixPath(one).name == member]
                if not names:
                    raise DataError(
                        f"{path} has no {member} in it: give the right archive in data.path."
                    )
                with archive.open(names[0]) as packed, open(log, "wb") as out:
                    shutil.copyfileobj(packed, out)
        except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path} cannot be read as a zip file ({error}).") from error
        try:
            return read_interactions(log, **options)
        except DataError as error:
            raise DataError(str(error).replace(str(log), f"{path}/{names[0]}")) from error


def _fetched(archive: Archive) -> Path:
    folder = Path(os.environ.get("TFREC_CACHE") or Path.home() / ".cache" / "tfrec-attn")
    target = folder / PurePosixPath(archive.url).name
    if os.path.lexists(target) and not _is(target, archive.md5):
        # Do not replace another file of the same name.
        target = folder / f"{target.stem}-{archive.md5[:8]}{target.suffix}"
    if _is(target, archive.md5):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            part = Path(unfinished) / target.name
            _download(archive.url, part)
            came = file_digest(part, "md5")
            if came != archive.md5:
                size = part.stat().st_size
                raise DataError(
                    f"{archive.url} gave {size} bytes with MD5 {came}, expected {archive.md5}: "
                    "try again, or give data.path."
                )
            part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"{archive.url} cannot be fetched into {folder} ({error}): "
            "fetch it yourself and give data.path."
        ) from error
    return target


def _download(url: str, target: Path) -> None:
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, open(target, "wb") as out:  # noqa: S310 -- the addresses are ours
        if not response.geturl().startswith("https://"):
            raise OSError(f"redirected to {response.geturl()}, which is not https")
        shutil.copyfileobj(response, out)


def _is(path: Path, md5: str) -> bool:
    return path.is_file() and file_digest(path, "md5") == md5
