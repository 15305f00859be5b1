"""Detects damaged files of a run or a servable by the checksums beside them.

`serving/checks/checksums.py` is a copy, because the two folders do not import each other.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

RUN_SUMS = "SHA256SUMS"
SERVABLE_SUMS = "assets.extra/SHA256SUMS"
_BLOCK = 1 << 22


def damage(folder: Path, sums_name: str, names: Iterable[str]) -> str | None:
    """Returns what is wrong with files of a run or a version, or None.

    A folder without checksums comes from an earlier version of this program, and passes.

    Args:
        folder: The run or the version.
        sums_name: File in it with the checksums, in the format of `sha256sum`.
        names: Files that must have a checksum. A name that ends with `/` means all files in that
            folder that have one.

    Returns:
        The path of the first damaged file and what is wrong with it.
    """
    path = folder / sums_name
    if not path.exists():
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        sums = dict(reversed(line.split("  ", 1)) for line in lines)
    except (OSError, ValueError):
        return f"{path} cannot be read"
    for wanted in names:
        chosen = [
            name
            for name in sums
            if name == wanted or (wanted.endswith("/") and name.startswith(wanted))
        ]
        if not chosen:
            return f"{path} has no line for {wanted}"
        for name in chosen:
            if not (folder / name).is_file():
                return f"{folder / name} is missing"
            try:
                same = _sha256(folder / name) == sums[name]
            except OSError as error:
                return f"{folder / name} cannot be read: {error.strerror}"
            if not same:
                return f"{folder / name} is not what was written"
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
