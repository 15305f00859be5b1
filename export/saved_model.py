"""SavedModels on disk: written whole, under the next version, beside the earlier ones."""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tfrec_attn.errors import ConfigError
from tfrec_attn.files import checksums
from tfrec_attn.files.work_folder import (
    MARK,
    BusyFolder,
    ForeignFolder,
    WorkFolder,
    is_marked,
    remove,
)

SUMS = f"assets.extra/{checksums.SUMS}"
_UNFINISHED, _KIND, _KNOWN = ".unfinished-", "export", ("version/**", "removed/**")
_OWN_NAME = re.compile(rf"{re.escape(_UNFINISHED)}[0-9a-f]{{16}}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def save(servable, folder: Path) -> None:
    """Writes a `Servable` with its signatures as a SavedModel."""
    tf.saved_model.save(servable, str(folder), signatures=servable.signatures())


def versions(base: Path) -> list[int]:
    """Versions in a folder, ascending."""
    return (
        sorted(
            int(entry.name)
            for entry in base.iterdir()
            if entry.name.isascii() and entry.name.isdigit()
        )
        if base.is_dir()
        else []
    )


def next_version(base: Path) -> int:
    """The number after the greatest version there, 1 where there is none."""
    return max(versions(base), default=0) + 1


def publish(
    base: Path,
    version: int | None,
    write: Callable[[Path], None],
    keep: int | None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Makes a version that appears under its number when it is complete, so that a server which
    watches the folder never sees a part.

    It is written in a folder `.unfinished-*` beside the versions, which no server looks into. What
    an export that was killed has left in such a folder is removed.

    Args:
      base: Folder of the versions, made where it is missing.
      version: A positive number; None takes the next one.
      write: Fills the folder it is given.
      keep: Versions that stay, the new one, all later ones and the greatest others; None keeps all.
        One that this program did not write, as its `assets.extra/SHA256SUMS` tells, stays too.
      say: Takes a line for each version that stays for this reason.

    Returns:
      The folder of the version.

    Raises:
      ConfigError: If the version exists or the folder cannot be written. After this or any other
        exception nothing is left.
    """
    base = Path(base)
    version = version or next_version(base)
    _check_free(base, version)
    _remove_leftovers(base)
    work = _begin(base)
    partial = work.folder / "version"
    try:
        partial.mkdir()
        write(partial)
        _seal(partial)
        _check_free(base, version)
        target = partial.rename(base / str(version))
        checksums.flush_to_disk(base)
    except BaseException as error:
        work.abandon()
        work.release()
        if reason := _refusal(error, partial):
            raise _unwritable(base, reason) from None
        raise
    try:
        _prune(base, version, keep, work.folder, say)
    finally:
        work.abandon()
        work.release()
    return target


def _check_free(base: Path, version: int) -> None:
    if version in versions(base):
        raise ConfigError(
            f"version {version} exists in {base}; name another one, or leave it out for the next."
        )


def _begin(base: Path) -> WorkFolder:
    try:
        return WorkFolder(base / f"{_UNFINISHED}{secrets.token_hex(8)}", _KIND, _KNOWN)
    except OSError as error:
        raise _unwritable(base, error.strerror or str(error)) from None


def _unwritable(base: Path, reason: str) -> ConfigError:
    return ConfigError(f"{base} cannot be written: {reason.rstrip('.')}; name a folder that can.")


def _refusal(error: BaseException, folder: Path) -> str | None:
    """What the disk says, if it is the cause of an error."""
    if isinstance(error, OSError):
        here = error.filename is not None and str(error.filename).startswith(str(folder))
        return error.strerror or str(error) if here or error.errno in _FULL else None
    if isinstance(error, tf.errors.OpError):
        text = str(error.message)
        full = [reason for reason in map(os.strerror, _FULL) if reason in text]
        return full[0] if full else text.splitlines()[0] if str(folder) in text else None
    return None


def _remove_leftovers(base: Path) -> None:
    """Removes what exports that were killed have left; that of one which still runs stays."""
    for folder in sorted(base.glob(f"{_UNFINISHED}*")):
        # One that was killed at once has left an empty folder of such a name.
        if is_marked(folder, _KIND) or (_OWN_NAME.fullmatch(folder.name) and _is_empty(folder)):
            with contextlib.suppress(BusyFolder, ForeignFolder, OSError):
                work = WorkFolder(folder, _KIND, _KNOWN)
                work.abandon()
                work.release()
                folder.rmdir()


def _is_empty(folder: Path) -> bool:
    return not any(path.name != MARK or path.stat().st_size for path in folder.iterdir())


def _prune(
    base: Path, version: int, keep: int | None, aside: Path, say: Callable[[str], None]
) -> None:
    """Removes the lowest versions."""
    others = [one for one in versions(base) if one != version]
    surplus = len(others) + 1 - keep if keep is not None else 0
    for old in [one for one in others if one < version][: max(0, surplus)]:
        folder = base / str(old)
        if other := _foreign(folder):
            say(f"Version {old} stays: {other} was not written by this program.")
            continue
        # A server must not see half of it either.
        removed = folder.rename(aside / "removed")
        remove(removed, ("**",))
        removed.rmdir()


def _foreign(folder: Path) -> Path | None:
    """What in the folder of a version is not what `publish` has written there, or None."""
    if folder.is_symlink() or not folder.is_dir():
        return folder
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        folders = {parent for name in (SUMS, *sums) for parent in Path(name).parents}
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_symlink():
                return path
            if path.is_dir():
                ours = name in folders
            else:
                ours = name.as_posix() == SUMS or checksums.file_sha256(path) == sums.get(
                    name.as_posix()
                )
            if not ours:
                return path
    except (OSError, UnicodeDecodeError):
        return folder
    return None


def _seal(folder: Path) -> None:
    """Writes the checksums of all files of a version, and brings everything to the disk."""
    (folder / SUMS).parent.mkdir(exist_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    checksums.seal(folder, [path.relative_to(folder).as_posix() for path in files], SUMS)
