"""SavedModels on disk: written whole, under the next version, beside the earlier ones."""

import contextlib
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tfrec_attn.errors import ConfigError


def save(servable, folder: Path) -> None:
    """Writes a `Servable` with its signatures as a SavedModel."""
    tf.saved_model.save(servable, str(folder), signatures=servable.signatures())


def versions(base: Path) -> list[int]:
    """Versions in a folder, ascending."""
    return sorted(int(entry.name) for entry in base.iterdir() if entry.name.isascii() and entry.name.isdigit()) if base.is_dir() else []


def next_version(base: Path) -> int:
    """The number after the greatest version there, 1 where there is none."""
    return max(versions(base), default=0) + 1


def publish(base: Path, version: int | None, write: Callable[[Path], None], keep: int | None) -> Path:
    """Makes a version that appears under its number when it is complete, so that a server which watches the folder never sees a part.

    Args:
      base: folder of the versions, made where it is missing.
      version: a positive number; None takes the next one.
      write: fills the folder it is given, which lies in `base` under another name meanwhile.
      keep: versions that stay, the new one and the greatest others; None keeps all.

    Returns: the folder of the version.

    Errors: ConfigError when the version exists or the folder cannot be written. After this or any other exception nothing is left.
    """
    base = Path(base)
    version = version or next_version(base)
    _check_free(base, version)
    missing = [folder for folder in (base, *base.parents) if not folder.exists()]
    partial = base / f"{version}.partial-{secrets.token_hex(4)}"
    try:
        _make(partial)
        write(partial)
        _check_free(base, version)
        target = partial.rename(base / str(version))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    _prune(base, version, keep)
    return target


def _check_free(base: Path, version: int) -> None:
    if version in versions(base):
        raise ConfigError(f"version {version} exists in {base}; name another one with --version, or leave it out for the next.")


def _make(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except OSError as error:
        raise ConfigError(f"--to {folder.parent} cannot be written: {error.strerror}; name a folder that can.") from None


def _prune(base: Path, version: int, keep: int | None) -> None:
    others = [one for one in versions(base) if one != version]
    for old in others[: len(others) + 1 - keep] if keep is not None and keep <= len(others) else []:
        # A server must not see half of it either.
        removed = (base / str(old)).rename(base / f"{old}.removed-{secrets.token_hex(4)}")
        shutil.rmtree(removed)
