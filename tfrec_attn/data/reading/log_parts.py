"""The files of a log: one file, a folder of parts, or a pattern such as `parts/*.csv`."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.files.readable import readable

COMPRESSED = (".gz", ".zst")


def parts_of(path: str | Path) -> list[Path]:
    """Returns the files of a log in order of their names.

    Args:
        path: A file, a folder, or a pattern of `*`, `?`, `[...]` and `**`; `~` is the home folder.
            Files whose names begin with `.` or `_`, such as `_SUCCESS`, are ignored.

    Raises:
        DataError: If there is no such file, or if the files of a folder or a pattern have several
            formats.
    """
    path = Path(os.path.expanduser(path))
    with readable(path):
        if path.is_dir():
            return _parts(path, sorted(path.iterdir()))
        if path.exists():
            return [_file(path)]
        found = [Path(one) for one in sorted(glob.glob(str(path), recursive=True))]
    if not found:
        raise DataError(
            f"{path} does not exist: data.path must be a file, a folder of parts or a pattern."
        )
    return _parts(path, found)


def all_parts(logs: Sequence[str]) -> list[Path]:
    """Returns the files of several logs in order.

    Raises:
        ConfigError: If a file is given twice.
        DataError: As for `parts_of`.
    """
    parts = [part for log in logs for part in parts_of(log)]
    files = [part.resolve() for part in parts]
    if len(set(files)) < len(files):
        twice = next(part for part, file in zip(parts, files, strict=True) if files.count(file) > 1)
        raise ConfigError(f"{twice} is given twice.")
    return parts


def name_of(path: str | Path) -> str:
    """Returns the name of a log: its file or folder, without extensions and patterns."""
    plain = [part for part in Path(path).parts if glob.escape(part) == part]
    return (Path(plain[-1]).name.split(".")[0] if plain else "") or "log"


def suffix(path: Path) -> str:
    """Returns the extension of the format in lower case, ignoring `.gz` and `.zst`."""
    path = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return path.suffix.lower().lstrip(".")


def _file(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path} is not a regular file: write the log to one.")
    return path


def _parts(path: Path, found: list[Path]) -> list[Path]:
    parts = [part for part in found if not part.name.startswith((".", "_"))]
    if not parts:
        raise DataError(
            f"{path} holds no log files: those whose names begin with '.' or '_' are ignored."
        )
    for part in parts:
        if part.is_dir():
            pattern = path.parent / "**" / "*.csv"
            raise DataError(
                f"{part} is a folder in a log of parts: name the files by a pattern such as "
                f"'{pattern}'."
            )
        if suffix(_file(part)) != suffix(parts[0]):
            raise DataError(
                f"{path} has parts of several formats, {parts[0].name} and {part.name}: "
                "give a pattern that names one kind."
            )
    return parts
