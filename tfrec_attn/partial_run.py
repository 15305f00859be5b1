"""The folder of an unfinished run: who may work in it, and whether a training may go on in it."""

import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
from pathlib import Path

from tfrec_attn import config as configuration
from tfrec_attn.config import Config
from tfrec_attn.data.log_parts import name_of
from tfrec_attn.data.replay_log import split_checksum
from tfrec_attn.data.splits import Split
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.run import CONFIG, STATES

_LOCK = "lock"
_DATA = "data.sha256"
_WAY_OUT = "remove that folder, or name another run_dir."


class OtherConfiguration(ConfigError):
    """A folder in which a training by another configuration can go on."""


class PartialRun:
    """`<run_dir>.partial`, which one process at a time works in, and which becomes `<run_dir>` by a rename when the run is complete.

    A folder without a checkpoint is begun anew; one with a checkpoint goes on, with the same configuration and the same data.

    Args:
      target: the run directory.
      config: resolved.

    Errors: ConfigError when the target is there, the folder cannot be written, another process works in it, or a training by another
      configuration can go on in it.
    """

    def __init__(self, target: Path, config: Config):
        self.target = target
        self.folder = target.with_name(f"{target.name}.partial")
        self._made = [parent for parent in target.parents if not parent.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(f"run_dir {target} cannot be written: {error.strerror}.") from None
        try:
            self._take(config)
            if not self.has_checkpoint():
                self.begin_anew()
                (self.folder / CONFIG).write_text(configuration.to_yaml(config), encoding="utf-8")
        except BaseException:
            os.close(self._lock)
            raise

    def has_checkpoint(self) -> bool:
        """Whether there is one to go on from, be it damaged."""
        return any(self.folder.glob(f"{STATES}*"))

    def check_data(self, split: Split) -> None:
        """Notes the data at the start of a run; later checks that they are the same.

        Errors: DataError when they are not.
        """
        path, digest = self.folder / _DATA, _digest(split)
        if not self.has_checkpoint():
            path.write_text(digest, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != digest:
            raise DataError(f"The log is not the one that the training in {self.folder} was begun with; {_WAY_OUT}")

    def begin_anew(self) -> None:
        """Empties the folder of all but its configuration and the note of its data."""
        for entry in self.folder.iterdir():
            if entry.name not in (_LOCK, _DATA, CONFIG):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def finish(self) -> None:
        """Gives the folder its name."""
        (self.folder / _DATA).unlink(missing_ok=True)
        self.folder.rename(self.target)
        (self.target / _LOCK).unlink()
        os.close(self._lock)

    def leave(self) -> None:
        """Lets go of the folder; where there is no checkpoint in it, nothing stays."""
        if not self.has_checkpoint():
            shutil.rmtree(self.folder, ignore_errors=True)
            for parent in self._made:
                with contextlib.suppress(OSError):
                    parent.rmdir()
        os.close(self._lock)

    def _take(self, config: Config) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process that had the lock may have finished or removed the folder meanwhile.
            mine = os.path.samestat(os.fstat(self._lock), os.stat(self.folder / _LOCK)) and not self.target.exists()
        except OSError:
            mine = False
        self._refuse_other(config)
        if not mine:
            raise ConfigError(f"{self.folder} is being trained by another process; wait until it ends, or name another run_dir.")

    def _refuse_other(self, config: Config) -> None:
        path = self.folder / CONFIG
        if not path.is_file() or not self.has_checkpoint():
            return
        try:
            found = _first_difference(configuration.to_dict(configuration.load(path)), configuration.to_dict(config))
        except ConfigError:
            raise OtherConfiguration(f"{path} cannot be read, so the training in its folder cannot go on; {_WAY_OUT}") from None
        if found:
            key, there, here = found
            raise OtherConfiguration(
                f"{self.folder} holds an unfinished training with {key}={there}, not {here}; give that one, {_WAY_OUT}"
            )


def open_run(config: Config) -> PartialRun:
    """The folder to train in: that of `run_dir`, or the first `runs/<source>-<model>[-N]` that is free or can go on.

    Errors: those of `PartialRun`.
    """
    if config.run_dir is not None:
        target = Path(config.run_dir)
        if target.exists():
            raise ConfigError(f"run_dir {target} exists; name a new one, or remove it.")
        return PartialRun(target, config)
    for target in default_names(config):
        if not target.exists():
            with contextlib.suppress(OtherConfiguration):
                return PartialRun(target, config)
    raise AssertionError("the names do not end")


def default_names(config: Config):
    """Yields runs/<source>-<model>, runs/<source>-<model>-2, and so on."""
    name = name_of(config.data.path) if config.data.source == "file" and config.data.path else Path(config.data.source).name
    base = Path("runs") / f"{name}-{config.model.name}"
    yield base
    for number in itertools.count(2):
        yield base.with_name(f"{base.name}-{number}")


def _first_difference(one: dict, other: dict, prefix: str = "") -> tuple | None:
    """The first key, dotted, at which two trees differ, and their values; where the run goes does not count."""
    for key in [*one, *(key for key in other if key not in one)]:
        mine, theirs, name = one.get(key), other.get(key), f"{prefix}{key}"
        if isinstance(mine, dict) and isinstance(theirs, dict):
            if found := _first_difference(mine, theirs, f"{name}."):
                return found
        elif name != "run_dir" and mine != theirs:
            return name, mine, theirs
    return None


def _digest(split: Split) -> str:
    """SHA-256 of a prepared log and of how it is split."""
    result = hashlib.sha256(split_checksum(split).encode())
    for positions in (split.train_end, split.valid, split.test):
        result.update(positions.astype("<i8").tobytes())
    return result.hexdigest()
