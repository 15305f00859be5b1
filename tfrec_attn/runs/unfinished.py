"""The folder of an unfinished run: who may work in it, and whether a training may go on in it."""

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfrec_attn import config as configuration
from tfrec_attn.config import Config
from tfrec_attn.data.reading.log_parts import name_of
from tfrec_attn.data.sequences.replay_log import split_checksum
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.extensions import short
from tfrec_attn.files.work_folder import (
    BusyFolder,
    ForeignFolder,
    WorkFolder,
    clean_up,
    is_marked,
    refuse_foreign_paths,
    unfinished_patterns,
)
from tfrec_attn.files.writing import replace_text
from tfrec_attn.runs.run import CONFIG, METRICS, REJECTED, STATES

_KIND = "run"
_DATA, _RESTARTED = "data.sha256", "restarted"
_NOTES = (_DATA, _RESTARTED)
# What a training writes; of a folder with anything else in it nothing is removed.
KNOWN = (
    CONFIG, f".{CONFIG}.*", METRICS, REJECTED, f".{_DATA}.*", *_NOTES, "*SHA256SUMS", "history.csv", ".history.csv",
    "valid.parquet", "test.parquet", "tmp????????/?????.parquet",
    "vocabulary/users.txt", "vocabulary/items.txt", "vocabulary/item_counts.npy", "vocabulary/trained_*.npy",
    "checkpoints/best.*", "checkpoints/checkpoint",
    *(f"checkpoints/{state}/{name}" for state in ("last-*", ".last-*") for name in (
        "weights.*", "best.*", "weights_temp/*", "progress.json", "SHA256SUMS", "checkpoint"
    )),
    "tensorboard/train/events.out.tfevents.*", "tensorboard/validation/events.out.tfevents.*",
)  # fmt: skip
_BEGIN_ANEW = "--restart to begin anew"
_ANOTHER = "name another run_dir"


class OtherRun(ConfigError):
    """A run of another configuration, or what is no run, where a run was to go."""


class PartialRun:
    """`<run_dir>.partial`, which one process at a time works in, and which becomes `<run_dir>` by a
    rename when the run is complete.

    A training goes on in it with the same configuration and the same data. What is there already
    is removed with `restart` only, and only where this program wrote it.

    Args:
      target: The run directory.
      config: Resolved.
      split: The data.
      restart: Whether to begin anew, and to replace a finished run when this one is complete.

    Raises:
      OtherRun: If a run by another configuration, or something else, is there.
      ConfigError: If the folder cannot be written, or if another process works in it.
      DataError: If the run there was begun with other data.
    """

    def __init__(self, target: Path, config: Config, split: Split, restart: bool = False):
        self.target, self.folder = target, _partial(target)
        digest = _digest(split)
        try:
            self._work = WorkFolder(self.folder, _KIND, KNOWN)
        except ForeignFolder as error:
            raise OtherRun(f"{error}; move it away, or {_ANOTHER}.") from None
        except BusyFolder:
            _refuse_other(self.folder, config)
            raise ConfigError(
                f"{self.folder} is being trained by another process; wait until it ends, or {_ANOTHER}."
            ) from None
        except OSError as error:
            raise ConfigError(f"run_dir {target} cannot be written: {error.strerror}.") from None
        self._removable = self._work.is_new or restart
        try:
            self._prepare(config, digest, restart)
        except BaseException as error:
            if self._work.is_new:
                self._work.abandon()
            self._work.release()
            if isinstance(error, OSError):
                raise ConfigError(
                    f"run_dir {target} cannot be written: {error.strerror}."
                ) from None
            raise

    def _prepare(self, config: Config, digest: str, restart: bool) -> None:
        if os.path.lexists(self.target) and not (restart or (self.folder / _RESTARTED).exists()):
            raise ConfigError(f"run_dir {self.target} exists; {_ANOTHER}.")
        if restart:
            _refuse_strangers(self.folder, unfinished_patterns(KNOWN))
        else:
            _refuse_other(self.folder, config)
            if self.has_checkpoint() and _text(self.folder / _DATA) != digest:
                raise DataError(
                    f"The log is not the one that the training in {self.folder} was begun with; "
                    f"give that one, {_BEGIN_ANEW}, or {_ANOTHER}."
                )
        if restart or not self.has_checkpoint():
            self._work.clear(keep=() if restart else (_RESTARTED,))
            if restart and os.path.lexists(self.target):
                (self.folder / _RESTARTED).touch()
            replace_text(self.folder / _DATA, digest)
            replace_text(self.folder / CONFIG, configuration.to_yaml(config))

    def has_checkpoint(self) -> bool:
        """Whether there is one to go on from, be it damaged."""
        return _has_checkpoint(self.folder)

    def finish(self) -> None:
        """Gives the folder its name; what `restart` replaces goes then."""
        if os.path.lexists(self.target):
            _refuse_strangers(self.target, KNOWN)
        self._work.finish(self.target, _NOTES)
        self._work.release()

    def leave(self) -> None:
        """Lets go of the folder; where there is no checkpoint in it, nothing stays of what this
        object made.
        """
        if self._removable and not self.has_checkpoint():
            self._work.abandon()
        self._work.release()


def check_run_dir(config: Config, restart: bool = False) -> None:
    """Checks, before a long log is read, that a run can go to `run_dir`, or be complete there;
    nothing is touched.

    Raises:
      ConfigError: If `run_dir` is neither free nor a run by this configuration that can go on or is
          complete.
    """
    if config.run_dir is None:
        return
    target = Path(config.run_dir)
    partial = _partial(target)
    if os.path.lexists(target):
        found = _finished(target)
        if restart:
            _refuse_strangers(target, unfinished_patterns(KNOWN))
        elif difference := _difference(found, config):
            key, there, here = difference
            raise ConfigError(
                f"run_dir {target} exists: it is a finished run with {key}={there}, not {here}; "
                f"{_ANOTHER}, or give --restart to replace it."
            )
    if os.path.lexists(partial) and is_marked(partial, _KIND):
        if restart:
            _refuse_strangers(partial, unfinished_patterns(KNOWN))
        else:
            _refuse_other(partial, config)


def complete_run(config: Config, split: Split) -> Path | None:
    """The finished run of the same configuration and data, where this training would go; None where
    there is none.

    Raises:
      ConfigError: If `run_dir` is a finished run of other data.
    """
    for target in _targets(config):
        if not os.path.lexists(target):
            return None
        try:
            same = _difference(_finished(target), config) is None
        except OtherRun:
            same = False
        if same and not _is_being_replaced(target, config):
            if _checksum(target) == split_checksum(split):
                clean_up(target, _KIND, KNOWN, _NOTES)
                return target
            if config.run_dir is not None:
                raise ConfigError(
                    f"run_dir {target} exists: it is a finished run of another log or of what the log was then; "
                    f"{_ANOTHER}, or give --restart to replace it."
                )
        if config.run_dir is not None:
            return None
    return None


def open_run(config: Config, split: Split, restart: bool = False) -> PartialRun:
    """The folder to train in: that of `run_dir`, or the first `runs/<source>-<model>[-N]` that is
    free or can go on.

    Args:
      config: Resolved.
      split: The data.
      restart: Whether to begin anew what the same command would go on with or has completed.

    Raises:
      ConfigError, DataError: Those of `PartialRun`.
    """
    if config.run_dir is not None:
        return PartialRun(Path(config.run_dir), config, split, restart)
    for target in _targets(config):
        try:
            if os.path.lexists(target):
                same = _difference(_finished(target), config) is None and _checksum(
                    target
                ) == split_checksum(split)
                if not same or not (restart or _is_being_replaced(target, config)):
                    continue
                _refuse_strangers(target, unfinished_patterns(KNOWN))
            _refuse_other(_partial(target), config)
            return PartialRun(target, config, split, restart)
        except OtherRun:
            continue
    raise AssertionError("the names do not end")


def _targets(config: Config) -> Iterator[Path]:
    return iter([Path(config.run_dir)]) if config.run_dir is not None else default_names(config)


def default_names(config: Config) -> Iterator[Path]:
    """Yields runs/<source>-<model>, runs/<source>-<model>-2, and so on."""
    data = config.data
    name = (
        name_of(data.path) if data.source == "file" and data.path else short(Path(data.source).name)
    )
    base = Path("runs") / f"{name}-{short(config.model.name)}"
    yield base
    for number in itertools.count(2):
        yield base.with_name(f"{base.name}-{number}")


def _partial(target: Path) -> Path:
    if not target.name:
        raise ConfigError(f"run_dir must name a folder, but is {target}; {_ANOTHER}.")
    return target.with_name(f"{target.name}.partial")


def _has_checkpoint(folder: Path) -> bool:
    return any(folder.glob(f"{STATES}*"))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _finished(target: Path) -> Config:
    """The configuration of a finished run."""
    if target.is_symlink() or not (target / METRICS).is_file() or not (target / CONFIG).is_file():
        what = (
            "a symbolic link"
            if target.is_symlink()
            else f"no finished run, it has no {METRICS} and {CONFIG}"
        )
        raise OtherRun(f"run_dir {target} exists: it is {what}; {_ANOTHER}, or move it away.")
    try:
        return configuration.load(target / CONFIG)
    except ConfigError:
        raise OtherRun(
            f"run_dir {target} exists, and its {CONFIG} cannot be read; {_ANOTHER}, or move it away."
        ) from None


def _is_being_replaced(target: Path, config: Config) -> bool:
    """Whether a training that replaces a finished run can go on."""
    folder = _partial(target)
    if not is_marked(folder, _KIND) or not (folder / _RESTARTED).is_file():
        return False
    try:
        _refuse_other(folder, config)
    except OtherRun:
        return False
    return True


def _checksum(target: Path) -> str | None:
    """The checksum of the data that a finished run has in its metrics."""
    try:
        return json.loads((target / METRICS).read_text(encoding="utf-8"))["data"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _refuse_strangers(folder: Path, known: Sequence[str]) -> None:
    try:
        refuse_foreign_paths(folder, known)
    except ForeignFolder as error:
        raise ConfigError(
            f"{error}, so that --restart removes nothing; move it away, or {_ANOTHER}."
        ) from None


def _refuse_other(folder: Path, config: Config) -> None:
    """Refuses an unfinished training by another configuration."""
    path = folder / CONFIG
    if not is_marked(folder, _KIND) or not path.is_file():
        return
    try:
        found = _difference(configuration.load(path), config)
    except ConfigError:
        raise OtherRun(
            f"{path} cannot be read, so the training in its folder cannot go on; give {_BEGIN_ANEW}, or {_ANOTHER}."
        ) from None
    if found:
        key, there, here = found
        raise OtherRun(
            f"{folder} holds an unfinished training with {key}={there}, not {here}; give that one, {_BEGIN_ANEW}, or {_ANOTHER}."
        )


def _difference(one: Config, other: Config) -> tuple | None:
    return _first_difference(configuration.to_dict(one), configuration.to_dict(other))


def _first_difference(one: dict, other: dict, prefix: str = "") -> tuple | None:
    """The first key, dotted, at which two trees differ, and their values; where the run goes does
    not count.
    """
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
