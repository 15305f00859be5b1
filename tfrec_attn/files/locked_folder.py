"""Locks a folder for one process and the processes that it starts."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tfrec_attn.errors import ConfigError


@contextlib.contextmanager
def locked_folder(folder: Path, other: str) -> Iterator[int]:
    """Locks a folder during the block.

    The folder is created if it does not exist. A created folder is removed at the end if it is
    empty. A process that inherits the file descriptor shares the lock: the folder stays locked
    until the last of these processes ends, even if this one is killed.

    Args:
        folder: The folder.
        other: A remedy for the message, such as "name another folder".

    Yields:
        The file descriptor.

    Raises:
        ConfigError: If another process has the lock, or the folder cannot be created.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}; {other}.") from None
    try:
        _acquire(descriptor, folder, other)
        yield descriptor
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()


def _acquire(descriptor: int, folder: Path, other: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(
            f"{folder} is in use by another process; wait until it ends, or {other}."
        ) from None
    except OSError:
        # Some network file systems cannot lock folders.
        return
