"""The ablation of a configuration: trainings with other values of some keys."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfrec_attn.cli.terminal import write_line
from tfrec_attn.files.locked_folder import locked_folder
from tfrec_attn.runs import run_files
from tfrec_attn.runtime.stop_signals import StopSignals, explain_rest
from tfrec_attn.studies.comparison.ablation_plan import combinations, plan_ablation
from tfrec_attn.studies.comparison.ablation_plot import draw
from tfrec_attn.studies.comparison.comparison_plan import Cell
from tfrec_attn.studies.comparison.comparison_run import (
    OTHER_FOLDER,
    PLOT,
    check_plan,
    rest_of,
    train_plan,
)

_BASELINE = "decayed_transitions"


def ablate(
    source: str | None,
    variations: dict[str, list[str]],
    overrides: Sequence[str],
    to: Path,
    *,
    seeds: int,
    jobs: int,
    metric: str | None,
    slices: bool,
) -> Path:
    """Runs the trainings that are not finished, and writes a table and a plot.

    The rows are compared with the row of the configuration's own values. If there is no such row,
    they are compared with the row that has the best validation metric. The same call resumes an
    interrupted ablation.

    Args:
        source: A configuration, as for `plan_ablation`.
        variations: Key -> its values.
        overrides: `section.key=value` texts for all trainings.
        to: Folder of the ablation.
        seeds: Number of seeds.
        jobs: Number of trainings that run at the same time.
        metric: Metric of the plot and of the differences, or None, as for `LogPlan`.
        slices: Whether the table also has the metric for slices of the test events.

    Returns:
        The folder, with `results.txt`, `.md`, `.tex`, `.csv` and `.json`, and with Matplotlib
        `plot.png`, `plot.svg` and `plot.pdf`.

    Raises:
        ConfigError: If the configuration, a key, a value or the folder cannot be used.
        TrainingError: If nothing could be trained, or a file cannot be written.
        Interrupted: If a signal was received; the finished runs and the checkpoints stay.
    """
    plan = plan_ablation(source, variations, overrides, seeds, to)
    plan = check_plan(dataclasses.replace(plan, metric=metric, slices=slices), to)
    locked, explained = locked_folder(to, OTHER_FOLDER), explain_rest(to, lambda: rest_of(to))
    with StopSignals() as stop, explained, locked as lock:
        table = train_plan(plan, to, jobs, stop, lock)
        cell = next(cell for cell in plan.cells if cell.model not in table.failed)
        baseline, key = _baseline(cell, table.metric), next(iter(variations))
        problem = draw(_lines(table, variations), key, table.metric, baseline, to / PLOT)
        if problem:
            write_line(problem)
    return to


def _baseline(cell: Cell, metric: str) -> tuple[str, float] | None:
    """Returns name and metric of the decayed transitions, a baseline of the runs, or None."""
    value = run_files.load_metrics(cell.folder).get("baselines", {}).get(_BASELINE, {}).get(metric)
    name = f"{_BASELINE} (default)" if cell.config.model.name == _BASELINE else _BASELINE
    return None if value is None else (name, value)


def _lines(
    table: Any, variations: dict[str, list[str]]
) -> dict[str, list[tuple[str, float, float, float]]]:
    """Returns the lines of the plot: name -> (value of the first key, mean, low, high)."""
    rows, metric = {row.model: row for row in table.rows}, table.metric
    first, *others = variations
    lines: dict[str, list[tuple[str, float, float, float]]] = {}
    for name, values in combinations(variations).items():
        if name in rows:
            line = " ".join(f"{key}={values[key]}" for key in others)
            point = (values[first], rows[name].test[metric], *rows[name].intervals[metric])
            lines.setdefault(line, []).append(point)
    return lines
