"""Writes files completely or not at all, and never over a user's file."""

import io
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tfrec_attn.errors import ConfigError


def save_array(path: Path, values: np.ndarray) -> None:
    """Writes an array as `.npy`. Unlike `np.save`, it notices that the disk is full at the end.

    Raises:
        OSError: If the array cannot be written completely.
    """
    buffer = io.BytesIO()
    np.save(buffer, values)
    path.write_bytes(buffer.getbuffer())


def append_array(file: BinaryIO, values: np.ndarray) -> None:
    """Writes the bytes of an array. Unlike `tofile`, it notices that the disk is full at the end.

    Raises:
        OSError: If the bytes cannot be written completely.
    """
    file.write(np.ascontiguousarray(values).data)


def check_output(path: str | Path, beginning: str, option: str) -> None:
    """Checks that a file can be written, and that it replaces at most a file of the same kind.

    Args:
        path: The file.
        beginning: First characters of files of this kind.
        option: The option that names the file, for messages.

    Raises:
        ConfigError: If the path is a folder, its folder is missing or read-only, or `check_kind`
            raises it.
    """
    path = Path(path)
    try:
        problem = _problem_of(path)
    except OSError as error:
        problem = f"{error.strerror}; name another file"
    if problem:
        raise ConfigError(f"{option} {path} cannot be written: {problem}.")
    check_kind(path, beginning, option)


def _problem_of(path: Path) -> str | None:
    """A clause about why a file cannot be written, or None."""
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}; make it, or name another file"
    if path.is_dir():
        return "it is a folder; name a file"
    if (path.is_file() or not path.exists()) and not os.access(folder, os.W_OK):
        return f"the folder {folder} is read-only; name another file"
    return None


def check_kind(path: str | Path, beginning: str, option: str) -> None:
    """Checks that a path is new, empty, of the same kind, or not a regular file, such as a device.

    Args:
        path, beginning, option: As in `check_output`.

    Raises:
        ConfigError: If the path is another file.
    """
    path, expected = Path(path), beginning.encode()
    if path.is_file():
        try:
            with open(path, "rb") as stream:
                found = stream.read(len(expected))
        except OSError as error:
            raise ConfigError(f"{option} {path} cannot be written: {error.strerror}.") from None
        if found and found != expected:
            raise ConfigError(
                f"{option} {path} exists and is not an earlier one of its kind; "
                "name a new file, or remove it."
            )


def write_output(path: str | Path, text: str, beginning: str, option: str) -> None:
    """Writes a file completely or not at all, if `check_output` allows it.

    Raises:
        ConfigError: If `check_output` raises it, or the file cannot be written.
    """
    check_output(path, beginning, option)
    try:
        replace_text(Path(path), text)
    except OSError as error:
        raise ConfigError(f"{option} {path} cannot be written: {error.strerror}.") from None


def replace_text(path: Path, text: str) -> None:
    """Replaces a file atomically, so that readers see the old or the new text.

    A path that is not a regular file, such as a device, is written directly.
    """
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, content: bytes) -> None:
    """Replaces a file atomically, as `replace_text` does."""
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = path.resolve()
    mode = path.stat().st_mode if path.exists() else 0o666 & ~_umask()
    # A name can have 255 bytes, and a character can take 4.
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name[:60]}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(draft, mode)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
