"""Searches the settings of the rows of a comparison, each with the same budget."""

import csv
import dataclasses
import hashlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.cli.terminal import write_line
from tfrec_attn.config import Config, has_prior
from tfrec_attn.config.loading import SEARCH, with_values
from tfrec_attn.config.yaml_tree import write_yaml
from tfrec_attn.errors import ConfigError
from tfrec_attn.evaluation.protocol import OF_THE_MODEL
from tfrec_attn.files.writing import check_kind
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.studies.comparison.comparison_plan import Cell, LogPlan
from tfrec_attn.studies.comparison.comparison_training import Process, run_process
from tfrec_attn.studies.search.study_folder import BEST, TRIALS

_BEGINNING = "# Written by tfrec_attn.compare --trials or --seconds."


class Budget(NamedTuple):
    """The budget of each search.

    Attributes:
        trials: Maximum number of trials, or None.
        seconds: No trial starts after all trials together took this long; or None.
    """

    trials: int | None
    seconds: float | None

    def __str__(self) -> str:
        parts = [] if self.trials is None else [f"{self.trials} trials"]
        parts += [] if self.seconds is None else [f"{self.seconds:.15g} seconds"]
        return " or ".join(parts)

    def arguments(self) -> list[str]:
        """Returns the arguments of `tfrec_attn.search`."""
        given = {"--trials": self.trials, "--seconds": self.seconds}
        return [f"{name}={value:.15g}" for name, value in given.items() if value is not None]


def search_rows(
    plan: LogPlan, folder: Path, budget: Budget, stop: StopSignals, lock: int | None = None
) -> LogPlan:
    """Searches the settings of each trained row, and returns the plan with the best settings.

    Each search runs in its own process, and writes `ROW/search` in the folder of the table. The
    same budget resumes an interrupted search, and a larger budget continues a complete one. The
    folder of a row's runs is named by the settings. A row whose search fails is left out.

    Args:
        plan: The plan.
        folder: Folder of the table.
        budget: Budget of each search.
        stop: Checked while a search runs.
        lock: As for `Process.start`.

    Raises:
        ConfigError: If a search has more trials than the budget, or if a file in its place does not
            belong to a search.
        Interrupted: If a signal was received.
        TrainingError: If a file cannot be written.
    """
    rows = {cell.model: cell.config for cell in reversed(plan.cells)}
    found, trials, left_out = {}, {}, dict(plan.left_out)
    for row, config in reversed(rows.items()):
        if models.trains_on(config.model.name) == models.COUNTS:
            continue
        base = folder / row
        check_kind(base / "search.yaml", _BEGINNING, "--to")
        if budget.trials is not None and (done := _trials(base)) > budget.trials:
            raise ConfigError(
                f"--trials must be {done} or more, because {base / 'search'} already has that "
                f"many, but is {budget.trials}; name another folder with --to for fewer."
            )
        command = [sys.executable, "-m", "tfrec_attn.search", str(base / "search.yaml")]
        reason = run_process(
            Process(
                [*command, *budget.arguments(), f"--to={base / 'search'}"],
                {base / "search.yaml": _search_file(config, plan.ranges.get(row))},
                base / "search.log",
                what="search",
            ),
            stop,
            lock,
        )
        if reason is None:
            found[row] = configuration.load(base / "search" / BEST, (), models.recommended)
            trials[row] = _trials(base)
            write_line(f"{plan.name} {row}: searched, {trials[row]} trials.")
        else:
            left_out[row] = f"its search failed: {reason.rstrip('.')}"
    cells = [
        cell._replace(config=_with_settings(cell, found[cell.model]))
        if cell.model in found
        else cell
        for cell in plan.cells
        if cell.model not in left_out
    ]
    counts = ", ".join(f"{row} {count}" for row, count in trials.items())
    note = f"Settings: the best by validation of a search of {budget} each; trials: {counts}."
    return dataclasses.replace(plan, cells=cells, left_out=left_out, note=note)


def default_ranges(config: Config) -> dict[str, Any]:
    """Returns the values to try if the configuration of a model has no section `search`."""
    rate = config.train.learning_rate
    ranges: dict[str, Any] = {
        "train.learning_rate": {"low": rate / 5, "high": rate * 5, "log": True}
    }
    if "dropout" in models.parameters(config.model.name):
        ranges["model.dropout"] = {"low": 0.1, "high": 0.7, "step": 0.1}
    return ranges


def _trials(base: Path) -> int:
    """Returns the number of trials of a search; 0 if its table is damaged or missing."""
    try:
        with open(base / "search" / TRIALS, newline="", encoding="utf-8") as stream:
            return sum(1 for _ in csv.DictReader(stream))
    except (OSError, ValueError, csv.Error):
        return 0


def _search_file(config: Config, ranges: Any) -> str:
    # A trial trains without a prior.
    values = {"prior.weight": 0.0} if has_prior(config) else {}
    tree = configuration.to_dict(with_values(config, values))
    del tree["run_dir"]
    return f"{_BEGINNING}\n{write_yaml({**tree, SEARCH: ranges or default_ranges(config)})}"


def _with_settings(cell: Cell, best: Config) -> Config:
    """Returns the configuration of a cell with the settings that its search has found."""
    config = cell.config
    data = {key: getattr(best.data, key) for key in OF_THE_MODEL}
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, **data),
        model=best.model,
        train=dataclasses.replace(best.train, seed=cell.seed),
    )
    tree = configuration.to_dict(config)
    settings = repr([tree["model"], {**tree["train"], "seed": 0}, data])
    name = f"settings-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"
    return dataclasses.replace(config, run_dir=str(cell.folder.parent / name / cell.folder.name))
