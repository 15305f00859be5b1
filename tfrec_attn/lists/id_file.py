"""Reads files with one id on each line."""

import hashlib
from pathlib import Path

from tfrec_attn.errors import DataError


def read_ids(path: str | Path, option: str) -> list[str]:
    """Returns the distinct ids of a UTF-8 file in their order, without empty lines.

    Args:
        path: The file.
        option: The option that names the file, for messages.

    Raises:
        DataError: If the file cannot be read, is not UTF-8 text, or has no ids.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{option} {path} cannot be read: {error.strerror}; give a file with an id on each "
            "line."
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{option} {path} must be UTF-8 text with an id on each line, but byte {error.start} "
            f"is {error.object[error.start]:#04x}."
        ) from None
    ids = dict.fromkeys(line.removesuffix("\r") for line in text.split("\n"))
    ids.pop("", None)
    if not ids:
        raise DataError(f"{option} {path} must have an id on each line, but has none.")
    return list(ids)


def checksum_of_ids(ids: list[str] | None) -> str | None:
    """Returns the SHA-256 of a list of ids; None for None."""
    return None if ids is None else hashlib.sha256("\n".join(ids).encode()).hexdigest()
