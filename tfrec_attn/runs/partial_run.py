"""The folder of an unfinished run, `<run_dir>.partial`."""

import hashlib
import os
from pathlib import Path

from tfrec_attn import config as configuration
from tfrec_attn.config import Config
from tfrec_attn.data.sequences.splits import Split, split_checksum
from tfrec_attn.errors import ConfigError, DataError, shorten
from tfrec_attn.files.work_folder import (
    BusyFolder,
    ForeignFolder,
    WorkFolder,
    check_removable,
    is_marked,
    unfinished_patterns,
)
from tfrec_attn.files.writing import replace_text
from tfrec_attn.runs.run_files import CONFIG, ITEM_TABLE, METRICS, REJECTED, STATE_FILES, STATES

KIND = "run"
_DATA, RESTARTED = "data.sha256", "restarted"
# Files that only an unfinished run has.
NOTES = (_DATA, RESTARTED)
# Files that a training writes. A folder with other files is not removed.
KNOWN = (
    *f"""
    {CONFIG} .{CONFIG}.* {METRICS} {REJECTED} {_DATA} .{_DATA}.* {RESTARTED} *SHA256SUMS
    history.csv .history.csv valid.parquet test.parquet ranks.npz tmp????????/?????.parquet
    vocabulary/users.txt vocabulary/items.txt vocabulary/item_counts.npy vocabulary/trained_*.npy
    {ITEM_TABLE}
    tensorboard/train/events.out.tfevents.* tensorboard/validation/events.out.tfevents.*
    checkpoints/best.* checkpoints/checkpoint
    """.split(),
    *(f"checkpoints/{state}/{name}" for state in ("last-*", ".last-*") for name in STATE_FILES),
)
USE_RESTART = "--restart to start again"
OTHER_NAME = "name another run_dir"


class OtherRun(ConfigError):
    """The path of a run is occupied by a run of another configuration, or by something else."""


class PartialRun:
    """The folder `<run_dir>.partial`, in which one process trains, and which it renames at the end.

    A training with the same configuration and data is resumed. With `restart`, the files of the
    program in the folder are removed instead.

    Args:
        target: The run directory.
        config: The resolved configuration.
        split: The data.
        restart: Whether to start again, and to replace a finished run at the end (default: False).

    Attributes:
        target: As given.
        folder: `<run_dir>.partial`.

    Raises:
        OtherRun: If the folder has a run of another configuration, or something else.
        ConfigError: If the run directory exists, the folder cannot be written, or another process
            uses it.
        DataError: If the unfinished run has other data.
    """

    def __init__(self, target: Path, config: Config, split: Split, restart: bool = False):
        self.target, self.folder = target, partial_folder(target)
        digest = _digest(split)
        try:
            self._work = WorkFolder(self.folder, KIND, KNOWN)
        except ForeignFolder as error:
            raise OtherRun(f"{error}; move it away, or {OTHER_NAME}.") from None
        except BusyFolder:
            check_same_config(self.folder, config)
            raise ConfigError(
                f"{self.folder} is being trained by another process; "
                f"wait until it ends, or {OTHER_NAME}."
            ) from None
        except OSError as error:
            raise self._not_writable(error) from None
        self._removable = self._work.is_new or restart
        try:
            self._prepare(config, digest, restart)
        except BaseException as error:
            if self._work.is_new:
                self._work.abandon()
            self._work.release()
            if isinstance(error, OSError):
                raise self._not_writable(error) from None
            raise

    def _prepare(self, config: Config, digest: str, restart: bool) -> None:
        if os.path.lexists(self.target) and not (restart or (self.folder / RESTARTED).exists()):
            raise ConfigError(f"run_dir {self.target} exists; {OTHER_NAME}.")
        if restart:
            check_removable(self.folder, unfinished_patterns(KNOWN), OTHER_NAME)
        else:
            check_same_config(self.folder, config)
            if not _is_of_log(self.folder, digest):
                raise DataError(
                    f"The log is not the one that the training in {self.folder} was started with; "
                    f"give that one, {USE_RESTART}, or {OTHER_NAME}."
                )
        if restart or not self.has_checkpoint():
            self._work.clear(keep=() if restart else (RESTARTED,))
            if restart and os.path.lexists(self.target):
                (self.folder / RESTARTED).touch()
            replace_text(self.folder / _DATA, digest)
            replace_text(self.folder / CONFIG, configuration.to_yaml(config))

    def _not_writable(self, error: OSError) -> ConfigError:
        return ConfigError(f"run_dir {self.target} cannot be written: {error.strerror}.")

    def has_checkpoint(self) -> bool:
        """Returns whether there is a checkpoint to resume from, which can be damaged."""
        return _has_checkpoint(self.folder)

    def finish(self) -> None:
        """Renames the folder to the run directory, and removes the replaced run."""
        if os.path.lexists(self.target):
            check_removable(self.target, KNOWN, OTHER_NAME)
        self._work.finish(self.target, NOTES)
        self._work.release()

    def leave(self) -> None:
        """Unlocks the folder, and removes it if it is new or restarted and has no checkpoint."""
        if self._removable and not self.has_checkpoint():
            self._work.abandon()
        self._work.release()


def partial_folder(target: Path) -> Path:
    """Returns the folder of the unfinished run of a run directory.

    Raises:
        ConfigError: If the run directory has no name, such as `.`.
    """
    if not target.name:
        raise ConfigError(f"run_dir must name a folder, but is {target}; {OTHER_NAME}.")
    return target.with_name(f"{target.name}.partial")


def check_same_config(folder: Path, config: Config) -> None:
    """Checks that a folder has no unfinished training of another configuration.

    Raises:
        OtherRun: If it has one.
    """
    path = folder / CONFIG
    if not is_marked(folder, KIND) or not path.is_file():
        return
    try:
        found = first_difference(configuration.load(path), config)
    except ConfigError:
        raise OtherRun(
            f"{path} cannot be read, so the training in its folder cannot be resumed; "
            f"give {USE_RESTART}, or {OTHER_NAME}."
        ) from None
    if found:
        key, other, own = found
        raise OtherRun(
            f"{folder} holds an unfinished training with {key}={other}, not {own}; "
            f"give that one, {USE_RESTART}, or {OTHER_NAME}."
        )


def first_difference(one: Config, other: Config) -> tuple[str, str, str] | None:
    """Returns (key, value, other value) of the first difference, or None. run_dir is ignored."""
    return _compare(configuration.to_dict(one), configuration.to_dict(other), "")


def _compare(one: dict, other: dict, prefix: str) -> tuple[str, str, str] | None:
    for key in dict.fromkeys((*one, *other)):
        first, second, name = one.get(key), other.get(key), f"{prefix}{key}"
        if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
            first, second = dict(enumerate(first)), dict(enumerate(second))
        if isinstance(first, dict) and isinstance(second, dict):
            if found := _compare(first, second, f"{name}."):
                return found
        elif name != "run_dir" and first != second:
            texts = str(first), str(second)
            short = tuple(shorten(text, 120) for text in texts)
            return name, *(texts if short[0] == short[1] else short)
    return None


def can_resume(target: Path, split: Split) -> bool:
    """Returns whether a run can be resumed with a log: it has the same log, or no checkpoint."""
    return _is_of_log(partial_folder(target), _digest(split))


def _has_checkpoint(folder: Path) -> bool:
    return any(folder.glob(f"{STATES}*"))


def _is_of_log(folder: Path, digest: str) -> bool:
    return not _has_checkpoint(folder) or _read_text(folder / _DATA) == digest


def _digest(split: Split) -> str:
    """The SHA-256 of a log and of its split."""
    result = hashlib.sha256(split_checksum(split).encode())
    for positions in (split.train_end, split.valid, split.test):
        result.update(positions.astype("<i8").tobytes())
    return result.hexdigest()


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
