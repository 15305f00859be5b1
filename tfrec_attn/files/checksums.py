"""SHA-256 checksums of the files of a folder, in a file in the format of `sha256sum`."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

SUMS = "SHA256SUMS"
# Path of the checksums in the folder of a version.
SERVABLE_SUMS = f"assets.extra/{SUMS}"
_BLOCK = 1 << 22


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits."""
    return file_digest(path, "sha256")


def file_digest(path: Path, kind: str) -> str:
    """Returns the "sha256" or the "md5" of a file, in hexadecimal digits."""
    digest = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def seal(folder: Path, names: Iterable[str], sums_name: str = SUMS) -> None:
    """Writes the checksums of files, and flushes the files and the checksums to the disk.

    Args:
        folder: Folder of the files.
        names: Paths of the files in the folder.
        sums_name: Path in the folder for the checksums (default: "SHA256SUMS").

    Raises:
        OSError: If a file cannot be read, or the disk is full.
    """
    names = list(names)
    sums = "".join(f"{file_sha256(folder / name)}  {name}\n" for name in names)
    (folder / sums_name).write_text(sums, encoding="utf-8")
    paths = [folder / name for name in (*names, sums_name)]
    for path in dict.fromkeys([*paths, *(path.parent for path in paths), folder]):
        flush_to_disk(path)


def read_sums(folder: Path, sums_name: str = SUMS) -> dict[str, str]:
    """Returns the checksums of a folder by file name.

    Raises:
        ValueError: If the file of checksums is missing or damaged.
    """
    try:
        lines = (folder / sums_name).read_text(encoding="utf-8").splitlines()
        return dict(reversed(line.split("  ", 1)) for line in lines)
    except (OSError, ValueError):
        raise ValueError(f"{sums_name} cannot be read") from None


def first_damage(folder: Path, names: Iterable[str], sums_name: str = SUMS) -> str | None:
    """Returns a clause about the first damaged file, or None.

    A folder without a file of checksums, such as that of another program, counts as undamaged.

    Args:
        folder: A run, or a version of a servable.
        names: Paths of files in the folder, which must have a checksum. A path that ends with `*`
            stands for all files with this prefix, at least one.
        sums_name: Path in the folder of the checksums (default: "SHA256SUMS").
    """
    if not (folder / sums_name).exists():
        return None
    try:
        sums = read_sums(folder, sums_name)
    except ValueError as error:
        return f"{folder}/{error}"
    for wanted in names:
        prefix = wanted.removesuffix("*")
        found = [
            one for one in sums if one == wanted or (prefix != wanted and one.startswith(prefix))
        ]
        if not found:
            return f"{folder / sums_name} is damaged, it has no line for {wanted}"
        for name in found:
            if problem := damage(folder / name, sums[name]):
                return f"{folder / name} {problem}"
    return None


def damage(path: Path, expected: str) -> str | None:
    """Returns the end of a clause about damage to a file, or None if it has the checksum."""
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
