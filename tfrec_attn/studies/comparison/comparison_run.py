"""Trains the cells of a plan and writes their table, for comparisons and ablations."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfrec_attn.cli.terminal import write_line
from tfrec_attn.config import has_prior
from tfrec_attn.data.shards.prepared_log import is_folder
from tfrec_attn.errors import ConfigError, TrainingError, shown
from tfrec_attn.files.writing import replace_text
from tfrec_attn.runs import run_files
from tfrec_attn.runs.run import prepare_data
from tfrec_attn.runtime.process import import_tensorflow
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.studies.comparison.comparison_plan import Cell, LogPlan
from tfrec_attn.studies.comparison.comparison_training import check_log, is_finished, train_cells
from tfrec_attn.studies.finished_runs import load_leaks, load_report
from tfrec_attn.training.training_run import resolve

RESULTS, PLOT = "results", "plot"
_FILES = (f"{RESULTS}.", f"{PLOT}.")
OTHER_FOLDER = "name another folder with --to"
_METRIC = "NDCG@10"


class NothingTrained(TrainingError):
    """No row of a table could be trained."""


def check_plan(plan: LogPlan, folder: Path, settings: bool = True) -> LogPlan:
    """Checks a plan before anything is written, and returns it with its metric.

    Args:
        plan: The plan.
        folder: Folder of the table.
        settings: Whether the settings of the rows are known, so that the runs of all rows can be
            checked. Default True.

    Raises:
        ConfigError: If the runs do not have the metric, the plan does not have the row
            `plan.against`, a row is named as a file of the table, a folder holds something else, or
            slices are asked for a prepared folder.
        DataError: If the log cannot be read.
    """
    evaluate = plan.cells[0].config.evaluate
    metrics = [*(f"{name}@{k}" for k in evaluate.k for name in ("HR", "NDCG")), "MRR"]
    metric, against = plan.metric, plan.against
    if metric is None:
        metric = _METRIC if _METRIC in metrics else evaluate.metric
    if metric not in metrics:
        raise ConfigError(f"--metric must be one of {', '.join(metrics)}, but is {shown(metric)}.")
    rows = {name: None for cell in plan.cells for name in _rows_of(cell)}
    if against is not None and against not in rows:
        raise ConfigError(
            f"--against must be one of {', '.join(rows)}, the rows of {plan.name}, but is "
            f"{shown(against)}."
        )
    if taken := next((one for one in rows if one.startswith(_FILES)), None):
        raise ConfigError(
            f"The names of rows must not begin with {' or '.join(_FILES)}, as the files of the "
            f"table do, but one is {shown(taken)}; rename its configuration."
        )
    if plan.slices and is_folder(plan.cells[0].config.data.source):
        raise ConfigError(
            "--slices needs a log, but data.source is a prepared folder; give the log itself."
        )
    check_results(folder)
    # The folders of the runs are known only with their settings.
    check_log(plan.cells if settings else plan.cells[:1])
    return dataclasses.replace(plan, metric=metric)


def _rows_of(cell: Cell) -> list[str]:
    prior = [f"{cell.model} + prior"] if has_prior(cell.config) else []
    return [cell.model, *prior]


def check_results(folder: Path) -> None:
    """Refuses to replace files that do not belong to a table."""
    found = sorted(path.name for name in _FILES for path in folder.glob(f"{name}*"))
    if not found:
        return
    if _rows_before(folder) is None:
        raise ConfigError(
            f"{folder} holds {found[0]}, which does not belong to a table; name another folder "
            "with --to, or move it away."
        )


def train_plan(
    plan: LogPlan, folder: Path, jobs: int, stop: StopSignals, lock: int | None = None
) -> Any:
    """Trains the cells of a plan that are not finished, and prints and writes their table.

    Args:
        plan: The plan, as `check_plan` returns it.
        folder: Folder of the table.
        jobs: Number of trainings that run at the same time.
        stop: Checked while trainings run.
        lock: Descriptor of `locked_folder`, which the trainings inherit.

    Returns:
        The `ComparisonTable`.

    Raises:
        NothingTrained: If no cell could be trained.
        TrainingError: If a file cannot be written.
        Interrupted: If a signal was received.
    """
    failed: dict[str, str] = {}

    def done(cell: Cell, reason: str | None) -> None:
        if reason is not None:
            failed.setdefault(cell.model, reason)
        write_line(_describe(plan, cell, reason))

    finished = [cell for cell in plan.cells if is_finished(cell)]
    for cell in finished:
        done(cell, None)
    waiting = [cell for cell in plan.cells if cell not in finished]
    with stop.deferred():
        train_cells(waiting, jobs, stop, done, lock)
    complete = [cell for cell in plan.cells if cell.model not in failed]
    if not complete:
        reason = next(iter(failed.values()))
        raise NothingTrained(f"No model could be trained on {plan.name}: {reason}")
    if (against := plan.against) is not None and against.removesuffix(" + prior") in failed:
        write_line(f"{against} was not trained; the rows are compared with the best by validation.")
        plan = dataclasses.replace(plan, against=None)
    table = _make_table(plan, complete, failed)
    now = {row.model for row in table.rows}
    left = [name for name in _rows_before(folder) or [] if name not in now]
    for suffix, text in table.formats().items():
        replace_text(folder / f"{RESULTS}.{suffix}", text)
    write_line(f"\n{table.text()}\n")
    if not plan.in_order and (note := _better_baseline(complete, table)):
        write_line(f"{note}\n")
    if left:
        write_line(f"note: the table before also had {', '.join(left)}; their runs are kept.\n")
    return table


def _rows_before(folder: Path) -> list[str] | None:
    """Returns the rows of the table that a folder already holds, or None if it holds no table."""
    try:
        tree = json.loads((folder / f"{RESULTS}.json").read_bytes())
        rows = [str(row["model"]) for row in tree["rows"]]
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    return rows if "protocol" in tree else None


def _make_table(plan: LogPlan, cells: Sequence[Cell], failed: dict[str, str]) -> Any:
    """Returns the table of finished cells."""
    import_tensorflow()
    from tfrec_attn.evaluation.slices import event_slices
    from tfrec_attn.studies.comparison.comparison_results import compare_rows, rows_of
    from tfrec_attn.studies.comparison.comparison_table import ComparisonTable

    rows = compare_rows(rows_of(cells, alone=not plan.in_order), plan.metric, plan.against)
    found = []
    if plan.slices:
        found = event_slices(prepare_data(resolve(cells[0].config)).split)
    if plan.against is not None:
        reason = "the row of the configuration itself" if plan.in_order else ""
    else:
        counts = any(row.counts for row in rows)
        reason = f"the best {'counting model' if counts else 'row'} by validation"
    leaks = load_leaks(cells[0].folder)
    return ComparisonTable(
        plan.name, rows, plan.metric, failed, plan.in_order, found, plan.note, reason, leaks
    )


def _better_baseline(cells: Sequence[Cell], table: Any) -> str | None:
    """Returns a note if a baseline of the runs is better than the row to compare with, or None."""
    from tfrec_attn.training.evaluating import is_baseline

    metric = table.metric
    baselines = run_files.load_metrics(cells[0].folder).get("baselines", {})
    base = next(row.test[metric] for row in table.rows if row.difference is None)
    values = {name: metrics.get(metric, 0.0) for name, metrics in baselines.items()}
    best = max(values, key=values.get, default=None)
    rows = {cell.config.model.name for cell in cells if is_baseline(resolve(cell.config))}
    if best is None or values[best] <= base or best in rows:
        return None
    if best in {row.model for row in table.rows}:
        return (
            f"note: {best} with its default settings, a baseline of every run, has {metric} "
            f"{values[best]:.4f}; the row {best} has other settings."
        )
    return (
        f"note: {best}, a baseline of every run that is not a row of this table, has {metric} "
        f"{values[best]:.4f}; add it to --models to compare with it."
    )


def _describe(plan: LogPlan, cell: Cell, reason: str | None) -> str:
    # The metrics of a run with a prior are those of the row with the prior, its last row.
    name = f"{plan.name} {_rows_of(cell)[-1]}, seed {cell.seed}"
    if reason is not None:
        return f"{name}: failed: {reason}"
    report = load_report(cell.folder, plan.metric)
    epochs = f", epoch {report['best_epoch']} of {report['epochs']}" if report["epochs"] else ""
    value = f"test {plan.metric} {report['test'][plan.metric]:.4f}"
    return f"{name}: {value}{epochs}, {report['train_seconds']:.0f} s"


def rest_of(to: Path) -> str:
    """Returns where the finished part of an interrupted study is, and how to resume the study."""
    return f"what is finished is in {to}, and the same command resumes it"
