"""Versions on disk: each is written whole, beside the earlier ones, under its number."""

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

from .servable import Servable

SUMS = f"assets.extra/{checksums.SUMS}"
_UNFINISHED, _KIND, _KNOWN = ".unfinished-", "export", ("version/**", "removed/**")
_OWN_NAME = re.compile(rf"{re.escape(_UNFINISHED)}[0-9a-f]{{16}}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def save(servable: Servable, folder: Path) -> None:
    """Writes a `Servable` with its signatures as a SavedModel."""
    # A server computes no gradients.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(servable, str(folder), servable.signatures(), options)


def versions(base: Path) -> list[int]:
    """Returns the versions in a folder, ascending."""
    names = [entry.name for entry in base.iterdir()] if base.is_dir() else []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def next_version(base: Path) -> int:
    """Returns the number after the greatest version, 1 where there is none."""
    return max(versions(base), default=0) + 1


def publish(
    base: Path,
    version: int | None,
    write: Callable[[Path], None],
    keep: int | None,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Writes a version that appears under its number only when it is complete.

    A server that watches the folder never sees an unfinished version: it is written in a folder
    `.unfinished-*` beside the versions, and then renamed. Such folders of exports that were killed
    are removed.

    Args:
        base: Folder of the versions; it is made if it is missing.
        version: A positive number. None takes the next one.
        write: Function that fills the folder it is given.
        keep: How many versions stay: the new one, all later ones, and the greatest others. None
            keeps all. A version that this program did not write, by its `assets.extra/SHA256SUMS`,
            stays too.
        report: Function that gets a line for each version that stays for this reason.

    Returns:
        The folder of the version.

    Raises:
        ConfigError: If the version exists or the folder cannot be written. Nothing is left after
            this or any other exception.
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
        _prune(base, version, keep, work.folder, report)
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
    """The reason that the disk gives, if it is the cause of an error."""
    if isinstance(error, OSError):
        here = error.filename is not None and str(error.filename).startswith(str(folder))
        return error.strerror or str(error) if here or error.errno in _FULL else None
    if isinstance(error, tf.errors.OpError):
        text = str(error.message)
        full = [reason for reason in map(os.strerror, _FULL) if reason in text]
        return full[0] if full else text.splitlines()[0] if str(folder) in text else None
    return None


def _remove_leftovers(base: Path) -> None:
    """Removes the folders of exports that were killed, but not that of one that still runs."""
    for folder in sorted(base.glob(f"{_UNFINISHED}*")):
        # An export that was killed at once leaves an empty folder of such a name.
        if is_marked(folder, _KIND) or (_OWN_NAME.fullmatch(folder.name) and _is_empty(folder)):
            with contextlib.suppress(BusyFolder, ForeignFolder, OSError):
                work = WorkFolder(folder, _KIND, _KNOWN)
                work.abandon()
                work.release()
                folder.rmdir()


def _is_empty(folder: Path) -> bool:
    return not any(path.name != MARK or path.stat().st_size for path in folder.iterdir())


def _prune(
    base: Path, version: int, keep: int | None, aside: Path, report: Callable[[str], None]
) -> None:
    """Removes the lowest versions."""
    others = [one for one in versions(base) if one != version]
    surplus = len(others) + 1 - keep if keep is not None else 0
    for old in [one for one in others if one < version][: max(0, surplus)]:
        folder = base / str(old)
        if other := _foreign(folder):
            report(f"Version {old} stays: {other} was not written by this program.")
            continue
        # A server must not see half of it either.
        removed = folder.rename(aside / "removed")
        remove(removed, ("**",))
        removed.rmdir()


def _foreign(folder: Path) -> Path | None:
    """What in the folder of a version is not what `publish` wrote there, or None."""
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
                digest = sums.get(name.as_posix())
                ours = name.as_posix() == SUMS or checksums.file_sha256(path) == digest
            if not ours:
                return path
    except (OSError, UnicodeDecodeError):
        return folder
    return None


def _seal(folder: Path) -> None:
    """Writes the checksums of all files of a version, and flushes everything to the disk."""
    (folder / SUMS).parent.mkdir(exist_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    checksums.seal(folder, [path.relative_to(folder).as_posix() for path in files], SUMS)
