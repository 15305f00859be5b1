"""What this program wrote, known by its content and not by its name: the only thing that it removes
or replaces.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tfrec_attn.errors import ConfigError

MARK = "lock"
_REPLACED = "replaced"


class Unfinished:
    """A folder of work that is not complete, in which one process at a time works.

    It is made with a file `lock` that says what it is. A folder without one that says the same is
    somebody else's and stays as it is; so does one with a symbolic link in it.

    Args:
      folder: Its place; missing parents are made.
      kind: Of the work, such as "run".
      known: Patterns of the paths that the program writes in it, as of `strangers`.

    Attributes:
      is_new: Whether this object made the folder, or found it empty.

    Raises:
      ForeignFolder: If the folder is not this program's.
      BusyFolder: If another process works in it.
      OSError: If it cannot be made.
    """

    def __init__(self, folder: Path, kind: str, known: Sequence[str]):
        self.folder, self.kind = folder, kind
        self._known = in_work(known)
        self._made = [parent for parent in folder.parents if not parent.exists()]
        _refuse_link(folder)
        self._was_there = folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        if _holds_work(folder) and not is_marked(folder, kind):
            raise ForeignFolder(f"{folder} is no unfinished {kind} of this program")
        self._lock = os.open(folder / MARK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._take()
        except BaseException:
            os.close(self._lock)
            raise

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except OSError:
            free = False
        # The process that had the lock may have finished or removed the folder meanwhile.
        if not (free and self._is_mine()):
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

    def _is_mine(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._lock), os.stat(self.folder / MARK))
        except OSError:
            return False

    def clear(self, keep: Iterable[str] = ()) -> None:
        """Removes what the program wrote, but for the mark and the files named."""
        remove(self.folder, self._known, keep=(MARK, *keep))

    def abandon(self) -> None:
        """Removes what the program wrote, and the folder and its parents where this object made
        them and they are empty.
        """
        if not self._is_mine():
            return
        self.clear()
        # The mark goes last: without it the rest would be somebody else's.
        (self.folder / MARK).unlink()
        for folder in (self.folder, *self._made) if not (self.is_new and self._was_there) else ():
            with contextlib.suppress(OSError):
                folder.rmdir()

    def finish(self, target: Path, notes: Sequence[str] = ()) -> None:
        """Gives the folder its name; what the program wrote there before is removed then.

        A process that is killed meanwhile leaves the old folder, or the new one, or the new one
        with the old one in it, which `tidy` removes.

        Args:
          target: The name.
          notes: Names of files that belong to unfinished work only.
        """
        if os.path.lexists(target):
            target.rename(self.folder / _REPLACED)
        self.folder.rename(target)
        tidy(target, self.kind, self._known, notes)

    def release(self) -> None:
        """Lets other processes work in the folder."""
        os.close(self._lock)


class ForeignFolder(ConfigError):
    """A folder that this program did not make; the message is a clause that names it."""


class BusyFolder(ConfigError):
    """A folder in which another process works; the message is a clause that names it."""


def is_marked(folder: Path, kind: str) -> bool:
    """Tells whether a folder, and no link to one, has the mark of unfinished work of a kind."""
    mark = folder / MARK
    try:
        return (
            not folder.is_symlink() and not mark.is_symlink() and mark.read_bytes() == _mark(kind)
        )
    except OSError:
        return False


def in_work(known: Sequence[str]) -> tuple[str, ...]:
    """The patterns of what a folder of unfinished work may hold: its own, the mark, and the folder
    that it replaces.
    """
    return (*known, MARK, *(f"{_REPLACED}/{pattern}" for pattern in known))


def tidy(target: Path, kind: str, known: Sequence[str], notes: Sequence[str] = ()) -> None:
    """Removes from a finished folder what was left where the process was killed while it gave the
    folder its name.
    """
    if not is_marked(target, kind):
        return
    remove(target / _REPLACED, known)
    with contextlib.suppress(OSError):
        (target / _REPLACED).rmdir()
    for name in (*notes, MARK):
        (target / name).unlink(missing_ok=True)


def strangers(folder: Path, known: Sequence[str]) -> list[Path]:
    """Returns the paths in a folder that this program did not write.

    Args:
      folder: No link.
      known: Patterns of the paths that it writes, with `*` and `?` within a name; `**` at the end
        stands for all below. A folder is known where a pattern leads through it, a link never.
    """
    return [path for path in _entries(folder) if not _is_known(path, folder, known)]


def refuse_strangers(folder: Path, known: Sequence[str]) -> None:
    """Raises ForeignFolder if a folder is a link, or holds what this program did not write."""
    _refuse_link(folder)
    if found := strangers(folder, known):
        raise ForeignFolder(f"{found[0]} was not written by this program")


def remove(folder: Path, known: Sequence[str], keep: Iterable[str] = ()) -> None:
    """Removes what this program wrote in a folder, and no more; the folder itself stays.

    Args:
      folder: No link.
      known: As of `strangers`.
      keep: Paths in it that stay.
    """
    kept = {folder / name for name in keep}
    for path in reversed(list(_entries(folder))):
        if path not in kept and _is_known(path, folder, known):
            if path.is_dir():
                with contextlib.suppress(OSError):
                    path.rmdir()
            else:
                path.unlink()


def check_output(path: str | Path, beginning: str, option: str) -> None:
    """Checks that a file may be written: it is new, no regular file, or begins as an earlier one of
    its kind does.

    Args:
      path: The file.
      beginning: With which the program begins such a file.
      option: That names it, for the message.

    Raises:
      ConfigError: If something else stands there.
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
                f"{option} {path} exists and is not an earlier one of its kind; name a new file, or remove it."
            )


def write_output(path: str | Path, text: str, beginning: str, option: str) -> None:
    """Writes a file whole or not at all, where `check_output` allows it.

    Raises:
      ConfigError: As `check_output` does, and if the file cannot be written.
    """
    check_output(path, beginning, option)
    try:
        replace_text(Path(path), text)
    except OSError as error:
        raise ConfigError(f"{option} {path} cannot be written: {error.strerror}.") from None


def replace_text(path: Path, text: str) -> None:
    """Writes a file that others see whole or as it was; a device or a pipe is written to."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    mode = path.stat().st_mode if path.exists() else 0o666 & ~_umask()
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(draft, mode)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def _mark(kind: str) -> bytes:
    return f"tfrec-attn: unfinished {kind}\n".encode()


def _refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        raise ForeignFolder(f"{folder} is a symbolic link")
    if folder.exists() and not folder.is_dir():
        raise ForeignFolder(f"{folder} is not a folder")


def _holds_work(folder: Path) -> bool:
    """Whether there is more than a mark that was not yet written."""
    return any(
        path.name != MARK or path.is_symlink() or path.stat().st_size for path in folder.iterdir()
    )


def _entries(folder: Path) -> Iterator[Path]:
    """All paths in a folder, each folder before what is in it; links are not followed."""
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
