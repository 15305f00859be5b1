"""The comparison of models on logs."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
    _check(plans, comparison)
    with StopSignals() as stop, _explain_rest(comparison.to):
        return [_compare_on(plan, comparison, stop) for plan in plans]


def _check(plans: list[LogPlan], comparison: Comparison) -> None:
    names = [plan.name for plan in plans]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"--data must name each log once, but has {doubled} twice.")
    for plan in plans:
        cutoffs = plan.cells[0].config.evaluate.k
        metrics = [*(f"{name}@{k}" for k in cutoffs for name in ("HR", "NDCG")), "MRR"]
        if comparison.metric not in metrics:
            raise ConfigError(
                f"--metric must be one of {', '.join(metrics)}, but is {shown(comparison.metric)}."
            )
        for cell in plan.cells:
            is_finished(cell)


def _compare_on(plan: LogPlan, comparison: Comparison, stop: StopSignals) -> Path:
    failed: dict[str, str] = {}
    for row, difference in plan.left_out.items():
        write_line(f"{plan.name} {row}: left out, because {difference}.")

    def done(cell: Cell, reason: str | None) -> None:
        if reason is not None:
            failed.setdefault(cell.model, reason)
        write_line(_describe(plan.name, cell, comparison.metric, reason))

    finished = [cell for cell in plan.cells if is_finished(cell)]
    for cell in finished:
        done(cell, None)
    waiting = [cell for cell in plan.cells if cell not in finished]
    with stop.deferred():
        train_cells(waiting, comparison.jobs, stop, done)
    complete = [cell for cell in plan.cells if cell.model not in failed]
    if not complete:
        raise TrainingError(
            f"No model could be trained on {plan.name}: {next(iter(failed.values()))}"
        )
    folder = plan.cells[0].folder.parent.parent
    write_line(f"\n{write_table(folder, plan.name, complete, comparison, failed)}\n")
    return folder


def write_table(
    folder: Path,
    log: str,
    cells: Sequence[Cell],
    comparison: Comparison,
    failed: dict[str, str],
) -> str:
    """Writes the table of finished cells in all formats, and returns it as text."""
    import_tensorflow()
    from tfrec_attn.studies.comparison_results import compare_rows, rows_of
    from tfrec_attn.studies.comparison_table import ComparisonTable

    rows = compare_rows(rows_of(cells), comparison.metric, comparison.against)
    table = ComparisonTable(log, rows, comparison.metric, failed)
    text = table.text()
    for suffix, content in (
        ("txt", text + "\n"),
        ("md", table.markdown()),
        ("tex", table.latex()),
        ("csv", table.csv()),
        ("json", table.json()),
    ):
        replace_text(folder / f"{RESULTS}.{suffix}", content)
    return text


def _describe(log: str, cell: Cell, metric: str, reason: str | None) -> str:
    name = f"{log} {cell.model}, seed {cell.seed}"
    if reason is not None:
        return f"{name}: failed: {reason}"
    report = run_files.load_metrics(cell.folder)
    epochs = f", epoch {report['best_epoch']} of {report['epochs']}" if report["epochs"] else ""
    return f"{name}: {metric} {report['test'][metric]:.4f}{epochs}, {report['train_seconds']:.0f} s"


@contextlib.contextmanager
def _explain_rest(to: Path):
    """Adds to errors inside how to resume."""
    try:
        yield
    except (Interrupted, OSError) as error:
        if isinstance(error, OSError):
            error = TrainingError(f"{error.filename or to} cannot be written: {error.strerror}")
        error.args = (
            f"{str(error).rstrip('.')}; what is finished is in {to}, and the same command resumes "
            "the comparison.",
        )
        raise error from None
