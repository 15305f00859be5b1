"""Folders of unfinished work. One process uses a folder at a time, and renames it when complete.

The program removes and replaces only what it has written itself. It recognizes its files by
patterns, and its folders by a file in them, the mark.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tfrec_attn.errors import ConfigError

MARK = "lock"
_REPLACED = "replaced"


class ForeignFolder(ConfigError):
    """A folder that this program did not create. The message is a clause that names the folder."""


class BusyFolder(ConfigError):
    """A folder that another process uses. The message is a clause that names the folder."""


class WorkFolder:
    """A folder of unfinished work, which this process locks.

    A file `lock` in the folder, the mark, names the kind of work. A folder with content but without
    the mark, or with a symbolic link in it, is foreign. This class does not change it.

    Args:
        folder: The folder. It and its missing parents are created.
        kind: Kind of work, such as "run".
        known: Patterns of the paths that the program writes in the folder, as for `foreign_paths`.

    Attributes:
        is_new: Whether this object created the folder or found it empty.

    Raises:
        ForeignFolder: If the folder is foreign.
        BusyFolder: If another process uses the folder.
        OSError: If the folder cannot be created.
    """

    def __init__(self, folder: Path, kind: str, known: Sequence[str]):
        self.folder, self.kind = folder, kind
        self._known = unfinished_patterns(known)
        self._made = [parent for parent in folder.parents if not parent.exists()]
        _check_is_folder(folder)
        self._existed = folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        if has_content(folder) and not is_marked(folder, kind):
            raise ForeignFolder(f"{folder} is not an unfinished {kind} of this program")
        self._lock = os.open(folder / MARK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._acquire()
        except BaseException:
            os.close(self._lock)
            raise

    def _acquire(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except OSError:
            free = False
        # The former owner of the lock may have renamed or removed the folder in between.
        if not (free and self._has_lock()):
            raise BusyFolder(f"{self.folder} is in use by another process")
        if links := [path for path in _entries(self.folder) if path.is_symlink()]:
            raise ForeignFolder(f"{links[0]} is a symbolic link, which this program did not make")
        self.is_new = not os.fstat(self._lock).st_size
        if self.is_new:
            try:
                os.write(self._lock, _mark(self.kind))
            except OSError:
                self.abandon()
                raise

    def _has_lock(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._lock), os.stat(self.folder / MARK))
        except OSError:
            return False

    def clear(self, keep: Iterable[str] = ()) -> None:
        """Removes what the program wrote, except the mark and the files of `keep`."""
        remove(self.folder, self._known, keep=(MARK, *keep))

    def abandon(self) -> None:
        """Removes what the program wrote, and the folder and its created parents if empty."""
        if not self._has_lock():
            return
        self.clear()
        # Last, because without the mark the other files would count as foreign.
        (self.folder / MARK).unlink()
        if not (self.is_new and self._existed):
            for folder in (self.folder, *self._made):
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def finish(self, target: Path, notes: Sequence[str] = ()) -> None:
        """Renames the folder, and replaces an earlier folder of the program at the target.

        The old folder is first moved into this one. If the process is killed then, there is no
        target until resumed work is finished. If it is killed later, the old folder is in the
        target, and `clean_up` removes it.

        Args:
            target: The new path.
            notes: Names of files that only unfinished work needs. They are removed.
        """
        # A path through the old folder, such as `run/../run`, is invalid after its move.
        folder, target = (one.parent.resolve() / one.name for one in (self.folder, target))
        if os.path.lexists(target):
            target.rename(folder / _REPLACED)
        folder.rename(target)
        clean_up(target, self.kind, self._known, notes)

    def release(self) -> None:
        """Unlocks the folder."""
        os.close(self._lock)


def open_work(folder: Path, kind: str, known: Sequence[str], other: str) -> WorkFolder:
    """Returns a `WorkFolder`, or raises an error with a remedy.

    Args:
        folder, kind, known: As in `WorkFolder`.
        other: A remedy for the message, such as "name another file".

    Raises:
        ConfigError: If the folder is foreign, is in use, or cannot be created.
    """
    try:
        return WorkFolder(folder, kind, known)
    except ForeignFolder as error:
        raise ConfigError(f"{error}; move it away, or {other}.") from None
    except BusyFolder as error:
        raise ConfigError(f"{error}; wait until it ends, or {other}.") from None
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}.") from None


def is_marked(folder: Path, kind: str) -> bool:
    """Returns whether a folder has the mark of a kind of work, and neither is a symbolic link."""
    mark = folder / MARK
    try:
        links = folder.is_symlink() or mark.is_symlink()
        return not links and mark.read_bytes() == _mark(kind)
    except OSError:
        return False


def unfinished_patterns(known: Sequence[str]) -> tuple[str, ...]:
    """Returns the patterns of unfinished work, given those of finished work."""
    return (*known, MARK, *(f"{_REPLACED}/{pattern}" for pattern in known))


def clean_up(target: Path, kind: str, known: Sequence[str], notes: Sequence[str] = ()) -> None:
    """Removes what a process that was killed in `WorkFolder.finish` left in finished work."""
    if not is_marked(target, kind):
        return
    remove(target / _REPLACED, known)
    with contextlib.suppress(OSError):
        (target / _REPLACED).rmdir()
    for name in (*notes, MARK):
        (target / name).unlink(missing_ok=True)


def foreign_paths(folder: Path, known: Sequence[str]) -> list[Path]:
    """Returns the paths in a folder that this program did not write.

    Args:
        folder: A folder that is not a symbolic link.
        known: Patterns of the paths that the program writes, with `*` and `?` within a name, and
            `**` at the end for all paths below. Parent folders of a pattern match too. A symbolic
            link matches no pattern.
    """
    return [path for path in _entries(folder) if not _is_known(path, folder, known)]


def check_removable(folder: Path, known: Sequence[str], other: str) -> None:
    """Checks that `--restart` removes only what this program wrote.

    Args:
        folder: The folder that `--restart` removes.
        known: Patterns as for `foreign_paths`.
        other: A remedy for the message, such as "name another folder".

    Raises:
        ConfigError: If the folder has a path that this program did not write.
    """
    try:
        _check_is_folder(folder)
        if found := foreign_paths(folder, known):
            raise ForeignFolder(f"{found[0]} was not written by this program")
    except ForeignFolder as error:
        raise ConfigError(
            f"{error}, so --restart removes nothing; move it away, or {other}."
        ) from None


def remove(folder: Path, known: Sequence[str], keep: Iterable[str] = ()) -> None:
    """Removes what this program wrote in a folder, but not the folder itself.

    Args:
        folder: A folder that is not a symbolic link.
        known: Patterns as for `foreign_paths`.
        keep: Paths in the folder that stay.
    """
    kept = {folder / name for name in keep}
    for path in reversed(list(_entries(folder))):
        if path not in kept and _is_known(path, folder, known):
            if path.is_dir():
                with contextlib.suppress(OSError):
                    path.rmdir()
            else:
                path.unlink()


def _mark(kind: str) -> bytes:
    return f"tfrec-attn: unfinished {kind}\n".encode()


def _check_is_folder(folder: Path) -> None:
    if folder.is_symlink():
        raise ForeignFolder(f"{folder} is a symbolic link")
    if folder.exists() and not folder.is_dir():
        raise ForeignFolder(f"{folder} is not a folder")


def has_content(folder: Path) -> bool:
    """Returns whether a folder has content besides an empty mark."""
    return any(
        path.name != MARK or path.is_symlink() or path.stat().st_size for path in folder.iterdir()
    )


def _entries(folder: Path) -> Iterator[Path]:
    """Yields all paths in a folder, a folder before its content, without following links."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for path in sorted(folder.iterdir()):
        yield path
        yield from _entries(path)


def _is_known(path: Path, folder: Path, known: Sequence[str]) -> bool:
    parts = path.relative_to(folder).parts
    return not path.is_symlink() and any(
        _matches(parts, pattern.split("/"), path.is_dir()) for pattern in known
    )


def _matches(parts: Sequence[str], pattern: Sequence[str], is_dir: bool) -> bool:
    deep = pattern[-1] == "**"
    if deep:
        pattern = pattern[:-1]
    fits = all(map(fnmatchcase, parts, pattern))
    if len(parts) < len(pattern) or (deep and len(parts) == len(pattern)):
        return fits and is_dir
    return fits and (deep or (len(parts) == len(pattern) and not is_dir))
