"""Searches the settings of the rows of a comparison, each with the same budget."""

import dataclasses
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.cli.terminal import write_line
from tfrec_attn.config import Config, has_prior
from tfrec_attn.config.loading import SEARCH, with_values
from tfrec_attn.config.yaml_tree import write_yaml
from tfrec_attn.evaluation.protocol import OF_THE_MODEL
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.studies.comparison.comparison_plan import Cell, LogPlan
from tfrec_attn.studies.comparison.comparison_training import Process, run_process
from tfrec_attn.studies.search.study_folder import BEST


class Budget(NamedTuple):
    """The budget of each search.

    Attributes:
        trials: Number of trials, or None.
        seconds: Seconds of all trials together, or None.
    """

    trials: int | None
    seconds: float | None

    def __str__(self) -> str:
        parts = [] if self.trials is None else [f"{self.trials} trials"]
        parts += [] if self.seconds is None else [f"{self.seconds:g} seconds"]
        return " or ".join(parts)

    def arguments(self) -> list[str]:
        """Returns the arguments of `tfrec_attn.search`."""
        given = {"--trials": self.trials, "--seconds": self.seconds}
        return [f"{name}={value:g}" for name, value in given.items() if value is not None]


def search_rows(plan: LogPlan, folder: Path, budget: Budget, stop: StopSignals) -> LogPlan:
    """Returns a plan with the settings that a search of each trained row finds.

    A search is a process of its own, and writes `ROW/search` in the folder of the table. The same
    budget continues it, or finds it complete. A row whose search fails is left out.

    Args:
        plan: The plan.
        folder: Folder of the table.
        budget: The budget of each search.
        stop: Checked while they run.

    Raises:
        Interrupted: If a signal was received.
        TrainingError: If a file cannot be written.
    """
    rows = {cell.model: cell.config for cell in reversed(plan.cells)}
    found, left_out = {}, dict(plan.left_out)
    for row, config in reversed(rows.items()):
        if models.trains_on(config.model.name) == models.COUNTS:
            continue
        base = folder / row
        command = [sys.executable, "-m", "tfrec_attn.search", str(base / "search.yaml")]
        reason = run_process(
            Process(
                [*command, *budget.arguments(), f"--to={base / 'search'}"],
                {base / "search.yaml": _search_file(config, plan.ranges.get(row))},
                base / "search.log",
                what="search",
            ),
            stop,
        )
        if reason is None:
            found[row] = configuration.load(base / "search" / BEST, (), models.recommended)
            write_line(f"{plan.name} {row}: searched, {budget}.")
        else:
            left_out[row] = f"its search failed: {reason.rstrip('.')}"
    cells = [
        cell._replace(config=_with_settings(cell, found[cell.model]))
        if cell.model in found
        else cell
        for cell in plan.cells
        if cell.model not in left_out
    ]
    note = f"Settings of each trained model: the best by validation of a search of {budget}."
    return dataclasses.replace(plan, cells=cells, left_out=left_out, note=note)


def default_ranges(config: Config) -> dict[str, Any]:
    """Returns the values that are tried for a model whose configuration has no section `search`."""
    rate = config.train.learning_rate
    ranges: dict[str, Any] = {
        "train.learning_rate": {"low": rate / 5, "high": rate * 5, "log": True}
    }
    if "dropout" in models.parameters(config.model.name):
        ranges["model.dropout"] = {"low": 0.1, "high": 0.7, "step": 0.1}
    return ranges


def _search_file(config: Config, ranges: Any) -> str:
    # A trial trains without a prior.
    values = {"prior.weight": 0.0} if has_prior(config) else {}
    tree = configuration.to_dict(with_values(config, values))
    del tree["run_dir"]
    return write_yaml({**tree, SEARCH: ranges or default_ranges(config)})


def _with_settings(cell: Cell, best: Config) -> Config:
    """Returns the configuration of a cell with the model, its data and the training of another."""
    config = cell.config
    data = {key: getattr(best.data, key) for key in OF_THE_MODEL}
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, **data),
        model=best.model,
        train=dataclasses.replace(best.train, seed=cell.seed),
    )
