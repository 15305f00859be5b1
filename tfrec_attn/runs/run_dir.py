"""Chooses the run directory: a free name, a run to resume, or a complete run."""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

from tfrec_attn import config as configuration
from tfrec_attn.config import Config
from tfrec_attn.data.reading.log_parts import name_of
from tfrec_attn.data.sequences.splits import Split, split_checksum
from tfrec_attn.errors import ConfigError
from tfrec_attn.extensions import short_name
from tfrec_attn.files.work_folder import check_removable, clean_up, is_marked, unfinished_patterns
from tfrec_attn.runs.partial_run import (
    KIND,
    KNOWN,
    NOTES,
    OTHER_NAME,
    RESTARTED,
    OtherRun,
    PartialRun,
    check_same_config,
    first_difference,
    partial_folder,
)
from tfrec_attn.runs.run_files import CONFIG, METRICS

_REPLACE = f"{OTHER_NAME}, or give --restart to replace it"


def check_run_dir(config: Config, restart: bool = False) -> None:
    """Checks `run_dir` before a long log is read, without changes on the disk.

    Args:
        config: The resolved configuration.
        restart: Whether the command replaces a run (default: False).

    Raises:
        ConfigError: If `run_dir` is neither free nor a run of this configuration. With `restart`,
            if it has files that this program did not write.
    """
    if config.run_dir is None:
        return
    target = Path(config.run_dir)
    partial = partial_folder(target)
    if os.path.lexists(target):
        found = _finished_config(target)
        if restart:
            check_removable(target, unfinished_patterns(KNOWN), OTHER_NAME)
        elif difference := first_difference(found, config):
            key, other, own = difference
            raise ConfigError(
                f"run_dir {target} exists: it is a finished run with {key}={other}, not {own}; "
                f"{_REPLACE}."
            )
    if os.path.lexists(partial) and is_marked(partial, KIND):
        if restart:
            check_removable(partial, unfinished_patterns(KNOWN), OTHER_NAME)
        else:
            check_same_config(partial, config)


def complete_run(config: Config, split: Split) -> Path | None:
    """Returns the finished run of a configuration and its data, or None.

    Raises:
        ConfigError: If `run_dir` is a finished run of the configuration with other data.
    """
    for target in _targets(config):
        if not os.path.lexists(target):
            return None
        try:
            same = first_difference(_finished_config(target), config) is None
        except OtherRun:
            same = False
        if same and not _is_being_replaced(target, config):
            if _data_checksum(target) == split_checksum(split):
                clean_up(target, KIND, KNOWN, NOTES)
                return target
            if config.run_dir is not None:
                raise ConfigError(
                    f"run_dir {target} exists: it is a finished run of another log, or the log "
                    f"has changed; {_REPLACE}."
                )
    return None


def open_run(config: Config, split: Split, restart: bool = False) -> PartialRun:
    """Opens the folder to train in.

    It belongs to `run_dir`, or without `run_dir` to the first `runs/<source>-<model>[-N]` that is
    free or can be resumed.

    Args:
        config: The resolved configuration.
        split: The data.
        restart: Whether to start the unfinished or finished run of the same command again (default:
            False).

    Raises:
        ConfigError: As for `PartialRun`.
        DataError: As for `PartialRun`.
    """
    if config.run_dir is not None:
        return PartialRun(Path(config.run_dir), config, split, restart)
    for target in default_names(config):
        try:
            if os.path.lexists(target):
                same = first_difference(_finished_config(target), config) is None
                same = same and _data_checksum(target) == split_checksum(split)
                if not same or not (restart or _is_being_replaced(target, config)):
                    continue
                check_removable(target, unfinished_patterns(KNOWN), OTHER_NAME)
            check_same_config(partial_folder(target), config)
            return PartialRun(target, config, split, restart)
        except OtherRun:
            continue
    raise AssertionError("default_names is infinite")


def _targets(config: Config) -> Iterator[Path]:
    return iter([Path(config.run_dir)]) if config.run_dir is not None else default_names(config)


def default_names(config: Config) -> Iterator[Path]:
    """Yields runs/<source>-<model>, runs/<source>-<model>-2, and so on."""
    source, path = config.data.source, config.data.path
    name = name_of(path) if source == "file" and path else short_name(Path(source).name)
    base = Path("runs") / f"{name}-{short_name(config.model.name)}"
    yield base
    for number in itertools.count(2):
        yield base.with_name(f"{base.name}-{number}")


def taken_name_note(config: Config, target: Path) -> str | None:
    """Returns a note about why a run without `run_dir` has a number in its name, or None."""
    first = next(default_names(config))
    if config.run_dir is not None or target == first:
        return None
    return (
        f"{first} is a run of other settings or another log, or no run; this run is written to "
        f"{target}."
    )


def _finished_config(target: Path) -> Config:
    """The configuration of a finished run; raises OtherRun if the folder is something else."""
    remedy = f"{OTHER_NAME}, or move it away."
    if target.is_symlink():
        raise OtherRun(f"run_dir {target} exists: it is a symbolic link; {remedy}")
    if not (target / METRICS).is_file() or not (target / CONFIG).is_file():
        raise OtherRun(
            f"run_dir {target} exists: it is not a finished run, it has no {METRICS} and {CONFIG}; "
            f"{remedy}"
        )
    try:
        return configuration.load(target / CONFIG)
    except ConfigError:
        raise OtherRun(
            f"run_dir {target} exists, and its {CONFIG} cannot be read; {remedy}"
        ) from None


def _is_being_replaced(target: Path, config: Config) -> bool:
    """Whether there is an unfinished training of this configuration that replaces the run."""
    folder = partial_folder(target)
    if not is_marked(folder, KIND) or not (folder / RESTARTED).is_file():
        return False
    try:
        check_same_config(folder, config)
    except OtherRun:
        return False
    return True


def _data_checksum(target: Path) -> str | None:
    """The checksum of the data in the metrics of a finished run, or None."""
    try:
        return json.loads((target / METRICS).read_text(encoding="utf-8"))["data"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
