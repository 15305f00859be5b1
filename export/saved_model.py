"""Writes versions of a servable to disk. A version appears only when it is complete."""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Callable, Collection
from pathlib import Path

import tensorflow as tf

from tfrec_attn.errors import ConfigError
from tfrec_attn.files import checksums
from tfrec_attn.files.checksums import SERVABLE_SUMS
from tfrec_attn.files.work_folder import (
    BusyFolder,
    ForeignFolder,
    WorkFolder,
    foreign_paths,
    has_content,
    is_marked,
    remove,
)
from tfrec_attn.runtime.saved_model import versions_in

from .servable import Servable

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
    return sorted(versions_in(base)) if base.is_dir() else []


def next_version(base: Path) -> int:
    """Returns the greatest version number plus 1, or 1 if there is no version."""
    return max(versions(base), default=0) + 1


def publish(
    base: Path,
    version: int | None,
    write: Callable[[Path], None],
    keep: int | None,
    report: Callable[[str], None] = lambda line: None,
    protect: Collection[int] = (),
) -> Path:
    """Writes a version that appears under its number only when it is complete.

    The version is written in a folder `.unfinished-*` beside the versions, and then renamed. So a
    server that watches the folder never sees an unfinished version. Folders `.unfinished-*` of
    killed exports are removed.

    Args:
        base: Folder of the versions. It is created if it does not exist.
        version: A positive number. None takes the next one.
        write: Function that writes the files of the version to the folder that it is given.
        keep: Number of versions that stay: the new one, all later ones, and the greatest others.
            None keeps all. A version whose files do not match its `assets.extra/SHA256SUMS` stays
            too, because this program did not write them.
        report: Function that gets a line for each version that stays because of its files.
        protect: Versions that stay whatever `keep` is. They count among the versions that stay.

    Returns:
        The folder of the version.

    Raises:
        ConfigError: If the version exists or the folder cannot be written. This or any other
            exception before the version appears leaves no files.
    """
    base = Path(base)
    _check_base(base)
    version = version or next_version(base)
    _check_free(base, version)
    _remove_leftovers(base)
    work = _begin(base)
    partial = work.folder / "version"
    try:
        partial.mkdir()
        write(partial)
        _seal(partial)
        if version in versions(base):
            raise ConfigError(
                f"another export has written version {version} in {base} meanwhile; export again, "
                "as another version."
            )
        target = partial.rename(base / str(version))
        checksums.flush_to_disk(base)
    except BaseException as error:
        work.abandon()
        work.release()
        if reason := _refusal(error, partial):
            raise _unwritable(base, reason) from None
        raise
    try:
        _prune(base, version, keep, work.folder, report, protect)
    finally:
        work.abandon()
        work.release()
    return target


def _check_base(base: Path) -> None:
    if base.exists() and not base.is_dir():
        raise ConfigError(f"{base} is a file; name a folder for the versions of the model.")
    if (base / "saved_model.pb").exists():
        raise ConfigError(
            f"{base} is a version, but must be the folder of the versions; name {base.parent}."
        )
    if (base / "metrics.json").exists():
        raise ConfigError(f"{base} is a run; name another folder for the versions of the model.")


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
    """The reason of an error, if writing to `folder` failed, else None."""
    if isinstance(error, OSError):
        here = error.filename is not None and str(error.filename).startswith(str(folder))
        return error.strerror or str(error) if here or error.errno in _FULL else None
    if isinstance(error, tf.errors.OpError):
        text = str(error.message)
        full = [reason for reason in map(os.strerror, _FULL) if reason in text]
        return full[0] if full else text.splitlines()[0] if str(folder) in text else None
    return None


def _remove_leftovers(base: Path) -> None:
    """Removes the folders of killed exports, but not those of exports that still run."""
    for folder in sorted(base.glob(f"{_UNFINISHED}*")):
        if folder.is_symlink():
            continue
        with contextlib.suppress(BusyFolder, ForeignFolder, OSError):
            # An export that was killed early leaves an empty folder with such a name.
            is_empty = _OWN_NAME.fullmatch(folder.name) and not has_content(folder)
            if is_marked(folder, _KIND) or is_empty:
                work = WorkFolder(folder, _KIND, _KNOWN)
                work.abandon()
                work.release()
                folder.rmdir()


def _prune(
    base: Path,
    version: int,
    keep: int | None,
    aside: Path,
    report: Callable[[str], None],
    protect: Collection[int],
) -> None:
    """Removes the lowest versions beyond `keep`."""
    others = [one for one in versions(base) if one != version]
    surplus = len(others) + 1 - keep if keep is not None else 0
    lower = [one for one in others if one < version and one not in protect]
    for old in lower[: max(0, surplus)]:
        folder = base / str(old)
        if other := _foreign(folder):
            report(f"Version {old} stays: {other} was not written by this program.")
            continue
        # Renamed first, because a server must not see a half-removed version.
        removed = folder.rename(aside / "removed")
        remove(removed, ("**",))
        removed.rmdir()


def _foreign(folder: Path) -> Path | None:
    """A path in the folder of a version that differs from what `publish` wrote, or None."""
    if folder.is_symlink() or not folder.is_dir():
        return folder
    try:
        sums = checksums.read_sums(folder, SERVABLE_SUMS)
    except ValueError:
        return folder
    others = foreign_paths(folder, (SERVABLE_SUMS, *sums))
    present = {folder / name: digest for name, digest in sums.items() if (folder / name).is_file()}
    others += [path for path, digest in present.items() if checksums.damage(path, digest)]
    return min(others, default=None)


def _seal(folder: Path) -> None:
    """Writes the checksums of all files of a version, and flushes all files to the disk."""
    (folder / SERVABLE_SUMS).parent.mkdir(exist_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    checksums.seal(folder, [path.relative_to(folder).as_posix() for path in files], SERVABLE_SUMS)
