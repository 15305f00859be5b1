"""The comparison of models on logs."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfrec_attn.cli.terminal import write_line
from tfrec_attn.errors import ConfigError
from tfrec_attn.files.locked_folder import locked_folder
from tfrec_attn.files.writing import replace_text
from tfrec_attn.runs.run import prepare_data
from tfrec_attn.runtime.stop_signals import StopSignals, explain_rest
from tfrec_attn.studies.comparison.comparison_plan import LogPlan, log_name, plan_log
from tfrec_attn.studies.comparison.comparison_run import (
    OTHER_FOLDER,
    NothingTrained,
    check_plan,
    rest_of,
    train_plan,
)
from tfrec_attn.studies.comparison.comparison_search import Budget, search_rows
from tfrec_attn.studies.comparison.comparison_training import check_log
from tfrec_attn.training.training_run import resolve

_SPLITS = "-splits"


def compare(
    logs: Sequence[str],
    rows: Sequence[str] | None,
    overrides: Sequence[str],
    to: Path,
    *,
    seeds: int,
    jobs: int,
    metric: str | None,
    against: str | None,
    with_prior: bool,
    slices: bool,
    splits: Sequence[str] = (),
    budget: Budget | None = None,
) -> list[Path]:
    """Runs the trainings that are not finished, and writes a table for each log.

    A model that cannot be trained on a log is named below the table. The same call resumes an
    interrupted comparison.

    With several splits, the agreement between them is printed and written to `LOG-splits.txt` and
    `.json` in the folder of the comparison.

    Args:
        logs: Configurations or folders of them, as for `plan_log`.
        rows: Rows, as for `plan_log`; None: all.
        overrides: `section.key=value` texts for all trainings.
        to: Folder of the comparison.
        seeds: Number of seeds.
        jobs: Number of trainings that run at the same time.
        metric: Metric of the differences, or None, as for `LogPlan`.
        against: The row that all others are compared with, as for `compare_rows`.
        with_prior: Whether each model that is trained also has a row with a transition prior.
        slices: Whether the tables also have the metric for slices of the test events.
        splits: Names of `comparison_plan.SPLITS`; each has a table. Empty (default): one table,
            with the split of the configurations.
        budget: Budget of the search of each trained row. None (default): there is no search.

    Returns:
        The folders of the tables; each has `results.txt`, `.md`, `.tex`, `.csv` and `.json`.

    Raises:
        ConfigError: If a configuration, a model or the folder cannot be used.
        TrainingError: If no model could be trained on a log, or a file cannot be written.
        Interrupted: If a signal was received; the finished runs and the checkpoints stay.
    """
    chosen = [(log, split) for log in logs for split in (splits or [None])]
    plans = [
        plan_log(log, rows, overrides, seeds, to, with_prior=with_prior, split=split)
        for log, split in chosen
    ]
    names = [plan.name for plan in plans]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"--data must name each log once, but has {doubled} twice.")
    table_options = {"metric": metric, "against": against, "slices": slices}
    plans = [
        check_plan(dataclasses.replace(plan, **table_options), to / plan.name, budget is None)
        for plan in plans
    ]
    folders, problem = [], None
    tables: dict[str, dict[str, Any]] = {}
    for log in {log_name(log) for log, split in chosen if split is not None}:
        _check_agreement(to / f"{log}{_SPLITS}")
    explained, locks = explain_rest(to, lambda: rest_of(to)), contextlib.ExitStack()
    with StopSignals() as stop, explained, locks:
        held = [locks.enter_context(locked_folder(to / name, OTHER_FOLDER)) for name in names]
        for plan, lock, (log, split) in zip(plans, held, chosen, strict=True):
            for row, difference in plan.left_out.items():
                write_line(f"{plan.name} {row}: left out, because {difference}.")
            folder = to / plan.name
            try:
                if budget is not None:
                    plan = _searched(plan, folder, budget, stop, lock)
                table = train_plan(plan, folder, jobs, stop, lock)
                folders.append(folder)
                if split is not None:
                    data = prepare_data(resolve(plan.cells[0].config)).split
                    tables.setdefault(log_name(log), {})[split] = (table, data)
            except NothingTrained as error:
                problem = error
                if len(plans) > 1:
                    write_line(f"\n{error}\n")
        for log, found in tables.items():
            if len(found) > 1:
                _write_agreement(log, found, to)
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


def _searched(plan: LogPlan, folder: Path, budget: Budget, stop: StopSignals, lock: int) -> LogPlan:
    with stop.deferred():
        found = search_rows(plan, folder, budget, stop, lock)
    reasons = {row: why for row, why in found.left_out.items() if row not in plan.left_out}
    for row, why in reasons.items():
        write_line(f"{plan.name} {row}: left out, because {why}.")
    if not found.cells:
        row, why = next(iter(reasons.items()))
        raise NothingTrained(f"No model could be trained on {plan.name}: {row}: {why}.")
    check_log(found.cells)
    return found


def _write_agreement(log: str, found: dict[str, Any], to: Path) -> None:
    from tfrec_attn.studies.comparison.split_agreement import split_agreement

    (text, figures), path = split_agreement(log, found), to / f"{log}{_SPLITS}"
    # `_check_agreement` reads the JSON file, so it is written first.
    replace_text(Path(f"{path}.json"), figures)
    replace_text(Path(f"{path}.txt"), f"{text}\n")
    write_line(f"{text}\n\nWrote {path}.txt and .json")
