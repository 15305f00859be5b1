"""SHA-256 checksums of files, in a file beside them in the format of `sha256sum`."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

SUMS = "SHA256SUMS"
# In a version folder of a servable.
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


def read_sums(folder: Path, sums_name: str = SUMS) -> dict[str, str]:
    """Returns the checksums of a folder by file name.

    Raises:
        ValueError: If they are missing or damaged.
    """
    try:
        lines = (folder / sums_name).read_text(encoding="utf-8").splitlines()
        return dict(reversed(line.split("  ", 1)) for line in lines)
    except (OSError, ValueError):
        raise ValueError(f"{sums_name} cannot be read") from None


def first_damage(folder: Path, names: Iterable[str], sums_name: str = SUMS) -> str | None:
    """Returns the path of the first damaged file and what is wrong with it, or None.

    A folder without checksums, such as that of another program, passes.

    Args:
        folder: A run, or a version of a servable.
        names: Paths in it that must have a checksum; one that ends with `*` names one or more files
            by their prefix.
        sums_name: Path in the folder of the checksums.
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
