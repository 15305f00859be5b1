"""SHA-256 checksums of files, in a file beside them in the format of `sha256sum`."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

SUMS = "SHA256SUMS"
_BLOCK = 1 << 22


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def seal(folder: Path, names: Iterable[str], sums_name: str = SUMS) -> None:
    """Writes the checksums of files, and flushes all of them to the disk.

    Args:
        folder: The folder of the files.
        names: Paths in the folder.
        sums_name: Path in the folder for the checksums.

    Raises:
        OSError: If a file cannot be read, or the disk is full.
    """
    names = list(names)
    sums = "".join(f"{file_sha256(folder / name)}  {name}\n" for name in names)
    (folder / sums_name).write_text(sums, encoding="utf-8")
    paths = [folder / name for name in (*names, sums_name)]
    for path in dict.fromkeys([*paths, *(path.parent for path in paths), folder]):
        flush_to_disk(path)


def read_sums(folder: Path) -> dict[str, str]:
    """Returns the checksums of a folder by file name.

    Raises:
        ValueError: If they are missing or damaged.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        return dict(reversed(line.split("  ", 1)) for line in lines)
    except (OSError, ValueError):
        raise ValueError(f"{SUMS} cannot be read") from None


def damage(path: Path, expected: str) -> str | None:
    """Returns what is wrong with a file that should have a checksum, or None."""
    if not path.is_file():
        return "is missing"
    try:
        return None if file_sha256(path) == expected else "is not what was written"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def flush_to_disk(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
