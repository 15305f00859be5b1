"""Runs the trainings of a comparison, each in its own process."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tfrec_attn import config as configuration
from tfrec_attn.cli.terminal import write_line
from tfrec_attn.config import Config
from tfrec_attn.data.sequences.splits import split_checksum
from tfrec_attn.errors import ConfigError, TrainingError
from tfrec_attn.files.writing import replace_text
from tfrec_attn.runs.partial_run import can_resume, partial_folder
from tfrec_attn.runs.run import prepare_data
from tfrec_attn.runs.run_dir import check_run_dir
from tfrec_attn.runs.run_files import METRICS, load_metrics
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.studies.comparison.comparison_plan import Cell
from tfrec_attn.training.training_run import resolve

# Separates the problem from its remedy in the errors of a run directory.
_REMEDY = re.compile("; (?:name another|give )")
_WAIT = 0.1  # seconds between polls of the processes


def is_finished(cell: Cell) -> bool:
    """Whether the run of a cell is complete.

    Raises:
        ConfigError: If the folder of the cell holds something else, such as a run of another
            configuration, or if a file beside it does not belong to its training.
    """
    try:
        check_run_dir(_resolved(cell))
    except ConfigError as error:
        what = _REMEDY.split(str(error))[0]
        raise ConfigError(f"{what}; name another folder with --to, or remove that run.") from None
    finished = (cell.folder / METRICS).is_file()
    if not finished:
        _check_files_beside(cell)
    return finished


def _resolved(cell: Cell) -> Config:
    try:
        return resolve(cell.config)
    except ConfigError:
        # The training reports what its model refuses.
        return cell.config


def _check_files_beside(cell: Cell) -> None:
    """Refuses to replace files that no training of this cell has written."""
    process = _process_of(cell)
    (config,) = process.files
    found = [path for path in (config, process.log) if os.path.lexists(path)]
    if not found:
        return
    try:
        is_ours = Path(configuration.load(config).run_dir or "").name == cell.folder.name
    except ConfigError:
        is_ours = False
    if not is_ours:
        raise ConfigError(
            f"{found[0]} exists and is not of a training in {cell.folder}; name another folder "
            "with --to, or move it away."
        )


def check_log(cells: Sequence[Cell]) -> None:
    """Checks that the log can be read, and that finished and partial runs were trained on it.

    Args:
        cells: The cells, all of one log.

    Raises:
        ConfigError: If a run was trained on another log, or as for `is_finished`.
        DataError: If the log cannot be read.
    """
    finished = [cell for cell in cells if is_finished(cell)]
    begun = [
        cell
        for cell in cells
        if cell not in finished
        and partial_folder(cell.folder).is_dir()
        # A training with a warm start also has the users and items of another run.
        and cell.config.train.warm_start is None
    ]
    try:
        split = prepare_data(_resolved((finished or begun or cells)[0])).split
    except ConfigError:
        if finished or begun:
            raise
        # The error may concern only one row, whose training reports it.
        return
    now = split_checksum(split)
    others = [
        *(
            cell.folder
            for cell in finished
            if load_metrics(cell.folder)["data"].get("sha256") != now
        ),
        *(partial_folder(cell.folder) for cell in begun if not can_resume(cell.folder, split)),
    ]
    if others:
        raise ConfigError(
            f"{others[0]} is a run of another log, or the log has changed; name another folder "
            "with --to, or remove that run."
        )


def train_cells(
    cells: Sequence[Cell],
    jobs: int,
    stop: StopSignals,
    done: Callable[[Cell, str | None], None],
    lock: int | None = None,
) -> None:
    """Trains cells in parallel processes, and resumes interrupted trainings.

    `seed-N.yaml` and `seed-N.log` beside the run directory hold the configuration of a cell and the
    output of its training.

    Args:
        cells: The cells that are not finished.
        jobs: Number of processes that run at the same time.
        stop: Checked while trainings run. A signal stops all of them; they keep their checkpoints.
        done: Called when a training ends, with its cell and None, or the reason why it failed.
        lock: As for `Process.start`.

    Raises:
        Interrupted: If a signal was received.
        TrainingError: If a file cannot be written.
    """
    waiting, running = list(cells), {}
    try:
        while waiting or running:
            stop.check()
            while waiting and len(running) < jobs:
                cell = waiting.pop(0)
                running[_process_of(cell).start(_threads(jobs), lock)] = cell
            for process in [one for one in running if one.poll() is not None]:
                cell = running.pop(process)
                done(cell, _process_of(cell).failure(process.returncode))
            time.sleep(_WAIT if running else 0)
    finally:
        if running:
            names = ", ".join(f"{cell.model}, seed {cell.seed}" for cell in running.values())
            write_line(f"Stopping when the state is saved: {names}.")
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait()


class Process(NamedTuple):
    """A command of the package that runs in its own process.

    Attributes:
        command: The command and its arguments.
        files: File that the command reads -> its text. `start` writes it.
        log: File for the output.
        what: Noun for the command in messages. Default "training".
    """

    command: list[str]
    files: dict[Path, str]
    log: Path
    what: str = "training"

    def start(
        self, environment: dict[str, str] | None = None, lock: int | None = None
    ) -> subprocess.Popen:
        """Starts the process in its own session, so that a terminal does not send it signals.

        Args:
            environment: Further environment variables.
            lock: Descriptor of `locked_folder`. If the caller is killed, the folder stays locked
                until the started process ends.

        Raises:
            TrainingError: If a file cannot be written.
        """
        try:
            for file, text in self.files.items():
                file.parent.mkdir(parents=True, exist_ok=True)
                replace_text(file, text)
            with open(self.log, "w", encoding="utf-8") as log:
                return subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **(environment or {})},
                    start_new_session=True,
                    pass_fds=() if lock is None else (lock,),
                )
        except OSError as error:
            raise TrainingError(
                f"{error.filename or self.log} cannot be written: {error.strerror}."
            ) from None

    def failure(self, code: int) -> str | None:
        """Returns why the process failed with an exit code, or None for the exit code 0."""
        if code == 0:
            return None
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            for line in reversed(lines):
                if line.startswith("error: "):
                    return line.removeprefix("error: ")
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"The {self.what} {how}; see {self.log}."


def run_process(process: Process, stop: StopSignals, lock: int | None = None) -> str | None:
    """Runs a process, and returns why it failed, or None.

    Args:
        process: The process.
        stop: Checked while the process runs.
        lock: As for `Process.start`.

    Raises:
        Interrupted: If a signal was received; the process is then stopped too.
        TrainingError: If a file cannot be written.
    """
    running = process.start(lock=lock)
    try:
        while running.poll() is None:
            stop.check()
            time.sleep(_WAIT)
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGTERM)
            running.wait()
    return process.failure(running.returncode)


def _process_of(cell: Cell) -> Process:
    base, name = cell.folder.parent, cell.folder.name
    config = base / f"{name}.yaml"
    return Process(
        [sys.executable, "-m", "tfrec_attn.train", str(config)],
        {config: configuration.to_yaml(cell.config)},
        base / f"{name}.log",
    )


def _threads(jobs: int) -> dict[str, str]:
    """Returns environment variables with which parallel processes share the cores."""
    if jobs == 1:
        return {}
    return {"TF_NUM_INTRAOP_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}
