"""The comparison of models on logs."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrec_attn.cli.terminal import write_line
from tfrec_attn.config import has_prior
from tfrec_attn.data.shards.prepared_log import is_folder
from tfrec_attn.errors import ConfigError, Interrupted, TrainingError, shown
from tfrec_attn.files.writing import replace_text
from tfrec_attn.runs import run_files
from tfrec_attn.runs.run import prepare_data
from tfrec_attn.runtime.process import import_tensorflow
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.studies.comparison.comparison_plan import Cell, LogPlan, log_name, plan_log
from tfrec_attn.studies.comparison.comparison_search import Budget, search_rows
from tfrec_attn.studies.comparison.comparison_training import check_log, is_finished, train_cells
from tfrec_attn.training.training_run import resolve

RESULTS, PLOT = "results", "plot"
_METRIC, _SPLITS = "NDCG@10", "-splits"


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
        metric: The metric of the differences, or None, as for `check_plan`.
        against: The row that all others are compared with, as for `compare_rows`.
        with_prior: Whether each model that is trained also has a row with a transition prior.
        slices: Whether the tables also have the metric of slices of the test events.
        splits: Names of `comparison_plan.SPLITS`, each with a table; none: that of the
            configurations.
        budget: That of a search of each trained row; None: the rows have their settings.
    """

    logs: Sequence[str]
    models: Sequence[str] | None
    overrides: Sequence[str]
    to: Path
    seeds: int
    jobs: int
    metric: str | None
    against: str | None
    with_prior: bool
    slices: bool
    splits: Sequence[str] = ()
    budget: Budget | None = None


def compare(comparison: Comparison) -> list[Path]:
    """Trains what is not trained yet, and writes a table for each log.

    A model that cannot be trained on a log is named below the table. The same command resumes an
    interrupted comparison.

    With several splits, how far they agree is printed and written to `LOG-splits.txt` and `.json`
    in the folder of the comparison.

    Returns:
        The folders of the tables; each has `results.txt`, `.md`, `.tex`, `.csv` and `.json`.

    Raises:
        ConfigError: If a configuration, a model or the folder cannot be used.
        TrainingError: If no model could be trained on a log, or a file cannot be written.
        Interrupted: If a signal was received; the finished runs and the checkpoints stay.
    """
    chosen = [(log, split) for log in comparison.logs for split in (comparison.splits or [None])]
    plans = [
        plan_log(
            *(log, comparison.models, comparison.overrides, comparison.seeds, comparison.to),
            with_prior=comparison.with_prior,
            split=split,
        )
        for log, split in chosen
    ]
    names = [plan.name for plan in plans]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"--data must name each log once, but has {doubled} twice.")
    metrics = [
        check_plan(
            *(plan, comparison.to / plan.name, comparison.metric, comparison.against),
            slices=comparison.slices,
            settings=comparison.budget is None,
        )
        for plan in plans
    ]
    folders, problem = [], None
    tables: dict[str, dict[str, Any]] = {}
    for log in {log_name(log) for log, split in chosen if split is not None}:
        _check_agreement(comparison.to / f"{log}{_SPLITS}")
    with StopSignals() as stop, explain_rest(comparison.to):
        for plan, metric, (log, split) in zip(plans, metrics, chosen, strict=True):
            for row, difference in plan.left_out.items():
                write_line(f"{plan.name} {row}: left out, because {difference}.")
            folder = comparison.to / plan.name
            try:
                if comparison.budget is not None:
                    plan = _searched(plan, folder, comparison.budget, stop)
                table = train_plan(
                    *(plan, folder, comparison.jobs, metric, stop),
                    against=comparison.against,
                    slices=comparison.slices,
                )
                folders.append(folder)
                if split is not None:
                    data = prepare_data(resolve(plan.cells[0].config)).split
                    tables.setdefault(log_name(log), {})[split] = (table, data)
            except NothingTrained as error:
                problem = error
                write_line(f"\n{error}\n")
        for log, found in tables.items():
            if len(found) > 1:
                _write_agreement(log, found, comparison.to)
    if problem is not None:
        raise problem
    return folders


def _check_agreement(path: Path) -> None:
    """Refuses to replace files that `_write_agreement` has not written."""
    text, figures = Path(f"{path}.txt"), Path(f"{path}.json")
    if not text.exists() and not figures.exists():
        return
    try:
        is_ours = "agreement" in json.loads(figures.read_bytes())
    except (OSError, ValueError, TypeError):
        is_ours = False
    if not is_ours:
        raise ConfigError(
            f"{path}.txt or .json exists and does not belong to a comparison; name another folder "
            "with --to, or move it away."
        )


def _searched(plan: LogPlan, folder: Path, budget: Budget, stop: StopSignals) -> LogPlan:
    with stop.deferred():
        found = search_rows(plan, folder, budget, stop)
    reasons = {row: why for row, why in found.left_out.items() if row not in plan.left_out}
    for row, why in reasons.items():
        write_line(f"{plan.name} {row}: left out, because {why}.")
    if not found.cells:
        row, why = next(iter(reasons.items()))
        raise NothingTrained(f"No model could be trained on {plan.name}: {row}: {why}.")
    check_log([cell for cell in found.cells if is_finished(cell)])
    return found


def _write_agreement(log: str, found: dict[str, Any], to: Path) -> None:
    from tfrec_attn.studies.comparison.split_agreement import SplitAgreement

    tables = {split: table for split, (table, _) in found.items()}
    splits = {split: data for split, (_, data) in found.items()}
    agreement = SplitAgreement(log, tables, splits)
    path = to / f"{log}{_SPLITS}"
    replace_text(Path(f"{path}.txt"), f"{agreement.text()}\n")
    replace_text(Path(f"{path}.json"), agreement.json())
    write_line(f"{agreement.text()}\n\nWrote {path}.txt and .json")


class NothingTrained(TrainingError):
    """No row of a table could be trained."""


def check_plan(
    plan: LogPlan,
    folder: Path,
    metric: str | None,
    against: str | None = None,
    slices: bool = False,
    settings: bool = True,
) -> str:
    """Checks a plan before anything is written, and returns the metric of the differences.

    Args:
        plan: The plan.
        folder: Folder of the table.
        metric: The metric of the differences; None: NDCG@10, or `evaluate.metric` where the runs do
            not have it.
        against: The row that all others are compared with, or None.
        slices: Whether the table has slices.
        settings: Whether the settings of the rows are known, so that finished runs can be checked.

    Raises:
        ConfigError: If the runs do not have the metric, the plan does not have the row, a folder
            holds something else, or slices are asked for without events in memory.
        DataError: If there are finished runs, and the log cannot be read.
    """
    evaluate = plan.cells[0].config.evaluate
    metrics = [*(f"{name}@{k}" for k in evaluate.k for name in ("HR", "NDCG")), "MRR"]
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
    if slices and is_folder(plan.cells[0].config.data.source):
        raise ConfigError(
            "--slices needs a log, but data.source is a prepared folder; give the log itself."
        )
    _check_results(folder)
    if settings:
        check_log([cell for cell in plan.cells if is_finished(cell)])
    return metric


def _rows_of(cell: Cell) -> list[str]:
    prior = [f"{cell.model} + prior"] if has_prior(cell.config) else []
    return [cell.model, *prior]


def _check_results(folder: Path) -> None:
    """Refuses to replace files beside which there is no table."""
    found = sorted(path.name for name in (RESULTS, PLOT) for path in folder.glob(f"{name}.*"))
    if not found:
        return
    try:
        is_table = "protocol" in json.loads((folder / f"{RESULTS}.json").read_bytes())
    except (OSError, ValueError, TypeError):
        is_table = False
    if not is_table:
        raise ConfigError(
            f"{folder} holds {found[0]}, which does not belong to a table; name another folder "
            "with --to, or move it away."
        )


def train_plan(
    plan: LogPlan,
    folder: Path,
    jobs: int,
    metric: str,
    stop: StopSignals,
    *,
    against: str | None,
    in_order: bool = False,
    slices: bool = False,
) -> Any:
    """Trains the cells of a plan that are not finished, and prints and writes their table.

    Args:
        plan: The plan.
        folder: Folder of the table.
        jobs: Trainings at a time.
        metric: The metric of the differences.
        stop: Checked while they run.
        against: The row that all others are compared with, as for `compare_rows`.
        in_order: Whether the rows are those of the plan in its order. Else (default) they are
            sorted by the metric, a model with a prior has a row without it too, and a better
            baseline that is no row is named.
        slices: Whether the table has the metric of slices of the test events.

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
        raise NothingTrained(f"No model could be trained on {plan.name}: {reason}")
    if against is not None and against.removesuffix(" + prior") in failed:
        write_line(f"{against} was not trained; the rows are compared with the best by validation.")
        against = None
    import_tensorflow()
    from tfrec_attn.studies.comparison.comparison_results import compare_rows, rows_of
    from tfrec_attn.studies.comparison.comparison_table import ComparisonTable

    rows = compare_rows(rows_of(complete, alone=not in_order), metric, against)
    found = []
    if slices:
        from tfrec_attn.evaluation.slices import event_slices

        found = event_slices(prepare_data(resolve(complete[0].config)).split)
    table = ComparisonTable(plan.name, rows, metric, failed, in_order, found, plan.note)
    for suffix, text in table.formats().items():
        replace_text(folder / f"{RESULTS}.{suffix}", text)
    write_line(f"\n{table.text()}\n")
    if not in_order and (note := _better_baseline(complete, table)):
        write_line(f"{note}\n")
    return table


def _better_baseline(cells: Sequence[Cell], table: Any) -> str | None:
    """Returns a note on a baseline of the runs that is better than what rows are compared with."""
    baselines = run_files.load_metrics(cells[0].folder).get("baselines", {})
    base = next(row.test[table.metric] for row in table.rows if row.difference is None)
    values = {name: metrics.get(table.metric, 0.0) for name, metrics in baselines.items()}
    best = max(values, key=values.get, default=None)
    if best is None or values[best] <= base or best in {row.model for row in table.rows}:
        return None
    return (
        f"note: {best}, a baseline of every run that is not a row of this table, has "
        f"{table.metric} {values[best]:.4f}; add it to --models to compare with it."
    )


def _describe(log: str, cell: Cell, metric: str, reason: str | None) -> str:
    # With a prior, the metrics of the run are those of its last row.
    name = f"{log} {_rows_of(cell)[-1]}, seed {cell.seed}"
    if reason is not None:
        return f"{name}: failed: {reason}"
    report = run_files.load_metrics(cell.folder)
    epochs = f", epoch {report['best_epoch']} of {report['epochs']}" if report["epochs"] else ""
    return f"{name}: {metric} {report['test'][metric]:.4f}{epochs}, {report['train_seconds']:.0f} s"


@contextlib.contextmanager
def explain_rest(to: Path) -> Iterator[None]:
    """Adds how to resume to the errors raised inside."""
    try:
        yield
    except (Interrupted, OSError) as error:
        if isinstance(error, OSError):
            error = TrainingError(f"{error.filename or to} cannot be written: {error.strerror}")
        rest = f"what is finished is in {to}, and the same command resumes it"
        error.args = (f"{str(error).rstrip('.')}; {rest}.",)
        raise error from None
