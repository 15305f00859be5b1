"""Writes a large file in parts. Work resumes after a kill, and the file appears when complete."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.files.checksums import flush_to_disk
from tfrec_attn.files.work_folder import open_work
from tfrec_attn.files.writing import replace_text
from tfrec_attn.lists.output_format import OutputFormat

_KIND, _REQUEST, _PROGRESS, _JOINED = "lists", "request.json", "progress.json", "joined"
BEAM = "beam"  # folder that workers on this machine share
_KNOWN = (
    _REQUEST, f".{_REQUEST}.*", _PROGRESS, f".{_PROGRESS}.*", f"{_JOINED}*", "part-*",
    f"{BEAM}/tfrec-attn-*/**",
)  # fmt: skip
_OTHER = "name another file, or remove the folder"


class PartialOutput:
    """The parts of a file, in the folder `<file>.partial`. `partial_output` opens it.

    Args:
        target: The file.
        output_format: Format of the file.

    Attributes:
        folder: `<file>.partial`.
        parts: Number of complete parts.
        totals: Sum over the parts of each count that `add` got.
    """

    def __init__(self, target: Path, output_format: OutputFormat):
        self.target, self._format = target, output_format
        self.folder = target.with_name(f"{target.name}.partial")
        self.parts, self.totals = 0, {}
        check_free(target, output_format)
        self._work = open_work(self.folder, _KIND, _KNOWN, "name another file")
        self._removable = self._work.is_new

    def _begin(self, request: dict[str, object], resumes: bool) -> None:
        found = self._read(_REQUEST)
        if found is None:
            self._work.clear()
            self._removable = True
            replace_text(self.folder / _REQUEST, json.dumps(request))
            return
        other = [name for name in {**found, **request} if found.get(name) != request.get(name)]
        if other:
            raise ConfigError(
                f"{self.folder} holds the unfinished work of another command, which has another "
                f"{other[0]}; run that command again, {_OTHER}."
            )
        progress = self._read(_PROGRESS) or {}
        parts = progress.get("parts", 0)
        if resumes and all(self._part(number).is_file() for number in range(parts)):
            self.parts, self.totals = parts, progress.get("totals", {})
        self._removable = True

    def add(self, frame: pl.DataFrame, **counts: int) -> None:
        """Writes the next part, and adds `counts` to the totals."""
        names = {**self.totals, **counts}
        totals = {one: self.totals.get(one, 0) + counts.get(one, 0) for one in names}
        with self._writing():
            self._format.write(frame, self._part(self.parts), self.parts == 0)
            flush_to_disk(self._part(self.parts))
            progress = {"parts": self.parts + 1, "totals": totals}
            replace_text(self.folder / _PROGRESS, json.dumps(progress))
        self.parts, self.totals = self.parts + 1, totals

    def finish(self) -> None:
        """Joins the parts to the file, and removes them.

        Raises:
            ConfigError: If another process has written the file in the meantime, or the disk is
                full.
        """
        joined = [self.folder / f"{_JOINED}{suffix}" for suffix in self._format.suffixes]
        with self._writing():
            self._format.join([self._part(number) for number in range(self.parts)], joined[0])
            for file, target in zip(joined, files_of(self.target, self._format), strict=True):
                flush_to_disk(file)
                _publish(file, target)
            flush_to_disk(self.target.parent)
        self._work.abandon()
        self._removable = False

    def _leave(self, keep: bool) -> None:
        if self._removable and not (keep and self.parts):
            self._work.abandon()
        self._work.release()

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"{self.target} cannot be written: {error.strerror}; free some space and run the "
                "same command again, which resumes."
            ) from None

    def _read(self, name: str) -> dict | None:
        try:
            found = json.loads((self.folder / name).read_text(encoding="utf-8"))
            if not isinstance(found, dict):
                raise ValueError
            return found
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError):
            raise ConfigError(
                f"{self.folder / name} cannot be read, so that the lists cannot be resumed; "
                f"{_OTHER}."
            ) from None


@contextlib.contextmanager
def partial_output(
    target: Path, output_format: OutputFormat, request: dict[str, object], resumes: bool = True
) -> Iterator[PartialOutput]:
    """Starts to write a file in parts, or resumes work that was started with the same request.

    At the end of the block, the folder is unlocked. It is removed if it has no parts to keep.

    Args:
        target: The file.
        output_format: Format of the file.
        request: All that the content of the file depends on, as JSON values by name. Messages show
            the names.
        resumes: Whether to keep parts after an error, and to resume from them (default: True).

    Raises:
        ConfigError: If the file exists, or if its folder cannot be written, is foreign, is in use,
            or has unfinished work of another request.
    """
    output, keep = PartialOutput(target, output_format), resumes
    try:
        output._begin(request, resumes)
        yield output
    except DataError:
        # The user will correct the wrong file of histories, so its lists cannot be resumed.
        keep = False
        raise
    finally:
        output._leave(keep)


def files_of(target: Path, output_format: OutputFormat) -> list[Path]:
    """Returns the files of a format: the target, and the files beside it."""
    others = [target.with_suffix(suffix) for suffix in output_format.suffixes[1:]]
    return [target, *others]


def check_free(target: Path, output_format: OutputFormat) -> None:
    """Checks that the files of a format do not exist.

    Raises:
        ConfigError: If a file exists.
    """
    for file in files_of(target, output_format):
        if os.path.lexists(file):
            raise ConfigError(f"{file} exists; name a new file, or remove it.")


def _publish(file: Path, target: Path) -> None:
    try:
        # A link, unlike a rename, never replaces a file that another process has just written.
        os.link(file, target)
    except FileExistsError:
        raise ConfigError(f"{target} exists; remove it and run the same command again.") from None
    except OSError:
        file.rename(target)
