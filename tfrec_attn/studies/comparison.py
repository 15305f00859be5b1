"""The comparison of models on logs."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrec_attn.cli.terminal import write_line
from tfrec_attn.errors import ConfigError, Interrupted, TrainingError, shown
from tfrec_attn.files.writing import replace_text
from tfrec_attn.runs import run_files
from tfrec_attn.runtime.process import import_tensorflow
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.studies.comparison_plan import Cell, LogPlan, plan_log
from tfrec_attn.studies.comparison_training import is_finished, train_cells

RESULTS = "results"


@dataclass(frozen=True)
class Comparison:
    """A comparison.

    Attributes:
        logs: Configurations or folders of them, as for `plan_log`.
        models: Rows, as for `plan_log`; None: all.
        overrides: `section.key=value` texts for all trainings.
        to: The folder.
        seeds: Number of seeds.
        jobs: Trainings at a time.
        metric: The metric of the differences.
        against: The row that all others are compared with, as for `compare_rows`.
        with_prior: Whether each model that is trained also has a row with a transition prior.
    """

    logs: Sequence[str]
    models: Sequence[str] | None
    overrides: Sequence[str]
    to: Path
    seeds: int
    jobs: int
    metric: str
    against: str | None
    with_prior: bool


def compare(comparison: Comparison) -> list[Path]:
    """Trains what is not trained yet, and writes a table for each log.

    A model that cannot be trained on a log is named below the table. The same command resumes an
    interrupted comparison.

    Returns:
        The folders of the tables; each has `results.txt`, `.md`, `.tex`, `.csv` and `.json`.

    Raises:
        ConfigError: If a configuration, a model or the folder cannot be used.
        TrainingError: If no model could be trained on a log, or a file cannot be written.
        Interrupted: If a signal was received; the finished runs and the checkpoints stay.
    """
    plans = [
        plan_log(
            *(log, comparison.models, comparison.overrides, comparison.seeds, comparison.to),
            with_prior=comparison.with_prior,
        )
        for log in comparison.logs
    ]
    names = [plan.name for plan in plans]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"--data must name each log once, but has {doubled} twice.")
    for plan in plans:
        check_plan(plan, comparison.metric)
    folders = []
    with StopSignals() as stop, explain_rest(comparison.to):
        for plan in plans:
            for row, difference in plan.left_out.items():
                write_line(f"{plan.name} {row}: left out, because {difference}.")
            folders.append(comparison.to / plan.name)
            train_plan(
                *(plan, folders[-1], comparison.jobs, comparison.metric, stop),
                against=comparison.against,
            )
    return folders


def check_plan(plan: LogPlan, metric: str) -> None:
    """Checks the metric and the folders of a plan before anything is written.

    Raises:
        ConfigError: If the runs do not have the metric, or a folder holds something else.
    """
    cutoffs = plan.cells[0].config.evaluate.k
    metrics = [*(f"{name}@{k}" for k in cutoffs for name in ("HR", "NDCG")), "MRR"]
    if metric not in metrics:
        raise ConfigError(f"--metric must be one of {', '.join(metrics)}, but is {shown(metric)}.")
    for cell in plan.cells:
        is_finished(cell)


def train_plan(
    plan: LogPlan,
    folder: Path,
    jobs: int,
    metric: str,
    stop: StopSignals,
    *,
    against: str | None,
    in_order: bool = False,
) -> Any:
    """Trains the cells of a plan that are not finished, and prints and writes their table.

    Args:
        plan: The plan.
        folder: Folder of the table.
        jobs: Trainings at a time.
        metric: The metric of the differences.
        stop: Checked while they run.
        against: The row that all others are compared with, as for `compare_rows`.
        in_order: Whether the rows have the order of the plan; else they are sorted by the metric.

    Returns:
        The `ComparisonTable`.
    """
    failed: dict[str, str] = {}

    def done(cell: Cell, reason: str | None) -> None:
        if reason is not None:
            failed.setdefault(cell.model, reason)
        write_line(_describe(plan.name, cell, metric, reason))

    finished = [cell for cell in plan.cells if is_finished(cell)]
    for cell in finished:
        done(cell, None)
    waiting = [cell for cell in plan.cells if cell not in finished]
    with stop.deferred():
        train_cells(waiting, jobs, stop, done)
    complete = [cell for cell in plan.cells if cell.model not in failed]
    if not complete:
        reason = next(iter(failed.values()))
        raise TrainingError(f"No model could be trained on {plan.name}: {reason}")
    import_tensorflow()
    from tfrec_attn.studies.comparison_results import compare_rows, rows_of
    from tfrec_attn.studies.comparison_table import ComparisonTable

    rows = compare_rows(rows_of(complete), metric, against)
    table = ComparisonTable(plan.name, rows, metric, failed, in_order)
    for suffix, text in table.formats().items():
        replace_text(folder / f"{RESULTS}.{suffix}", text)
    write_line(f"\n{table.text()}\n")
    return table


def _describe(log: str, cell: Cell, metric: str, reason: str | None) -> str:
    name = f"{log} {cell.model}, seed {cell.seed}"
    if reason is not None:
        return f"{name}: failed: {reason}"
    report = run_files.load_metrics(cell.folder)
    epochs = f", epoch {report['best_epoch']} of {report['epochs']}" if report["epochs"] else ""
    return f"{name}: {metric} {report['test'][metric]:.4f}{epochs}, {report['train_seconds']:.0f} s"


@contextlib.contextmanager
def explain_rest(to: Path) -> Iterator[None]:
    """Adds to errors inside how to resume."""
    try:
        yield
    except (Interrupted, OSError) as error:
        if isinstance(error, OSError):
            error = TrainingError(f"{error.filename or to} cannot be written: {error.strerror}")
        rest = f"what is finished is in {to}, and the same command resumes it"
        error.args = (f"{str(error).rstrip('.')}; {rest}.",)
        raise error from None
