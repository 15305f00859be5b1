"""Folders in which one process works at a time, together with the processes that it starts."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tfrec_attn.errors import ConfigError


@contextlib.contextmanager
def locked_folder(folder: Path, other: str) -> Iterator[int]:
    """Locks a folder, which is made if it does not exist, and removed if it is empty at the end.

    A process that inherits the file descriptor has the lock too: the folder stays locked until the
    last of them ends, even if this one is killed.

    Args:
        folder: The folder.
        other: What to do instead, such as "name another folder".

    Yields:
        The file descriptor.

    Raises:
        ConfigError: If another process works in the folder, or it cannot be made.
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
