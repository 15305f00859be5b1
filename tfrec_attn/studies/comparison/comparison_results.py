"""The rows of a comparison: figures of finished runs, and tests of their differences."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrec_attn import models
from tfrec_attn.config import Config
from tfrec_attn.errors import ConfigError, shown
from tfrec_attn.evaluation.held_out import values_of
from tfrec_attn.evaluation.paired_tests import Difference, holm, paired_difference
from tfrec_attn.evaluation.protocol import require_same_protocol
from tfrec_attn.studies.comparison.comparison_plan import Cell
from tfrec_attn.studies.finished_runs import FIGURES, load_ranks, load_report
from tfrec_attn.training.evaluating import intervals

LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Row:
    """The results of a model on a log.

    Attributes:
        model: Name of the row.
        seeds: Number of seeds.
        counts: Whether the model only counts.
        valid: Mean over the seeds of the validation metrics.
        test: Mean over the seeds of the test metrics.
        intervals: Test metric -> 95 % bootstrap interval of its mean over the users. The bootstrap
            has the seed of the first training.
        deviations: Standard deviation of each test metric over the seeds; 0 for one seed.
        figures: Means over the seeds of `FIGURES`.
        epochs: "best_epoch" and "epochs" -> the lowest and the highest of the seeds.
        lists: Means over the seeds of `list_metrics`; empty for a row without the prior of its run.
        values: Test metric -> its mean over the seeds for each event, float64 [U].
        users: User of each test event, int [U]; None: one event for each user.
        protocol: Protocol of the runs.
        difference: Difference from the row that all are compared with; None for that row.
        p: p-value of the difference, adjusted for all rows; None for that row.
    """

    model: str
    seeds: int
    counts: bool
    valid: dict[str, float]
    test: dict[str, float]
    intervals: dict[str, list[float]]
    deviations: dict[str, float]
    figures: dict[str, float]
    epochs: dict[str, list[int]]
    values: dict[str, np.ndarray] = dataclasses.field(repr=False)
    users: np.ndarray | None = dataclasses.field(repr=False)
    protocol: dict[str, Any] = dataclasses.field(repr=False)
    lists: dict[str, float] = dataclasses.field(default_factory=dict)
    difference: Difference | None = None
    p: float | None = None

    @property
    def verdict(self) -> str:
        """Returns "better", "worse", or "" if the test shows no difference."""
        if self.p is None or self.p >= LEVEL:
            return ""
        return "better" if self.difference.mean > 0 else "worse"

    def to_dict(self) -> dict[str, Any]:
        """Returns the row for JSON."""
        names = ("model", "seeds", "valid", "test", "intervals", "deviations", "figures")
        found = {name: getattr(self, name) for name in (*names, "epochs", "lists")}
        if self.difference is not None:
            found["difference"] = {**self.difference._asdict(), "p_adjusted": self.p}
            found["verdict"] = self.verdict or "no difference shown"
        return found


def rows_of(cells: Sequence[Cell], alone: bool = True) -> list[Row]:
    """Returns the rows of finished cells.

    Args:
        cells: The cells.
        alone: Whether a model with a transition prior also has a row without it. Default True.

    Raises:
        ConfigError: If a run is damaged, or if the runs have different protocols.
    """
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.model, []).append(cell)
    rows, all_reports, events = [], {}, None
    for model, trained in found.items():
        folders, config = [cell.folder for cell in trained], trained[0].config
        reports = [load_report(folder) for folder in folders]
        all_reports |= dict(zip(folders, reports, strict=True))
        require_same_protocol(all_reports, "name another folder with --to")
        ranks = []
        for folder in folders:
            ranks.append(load_ranks(folder, events))
            events = events or {part: len(ranks[0][part]) for part in ("valid", "test")}
        variants = {model: ""}
        if alone and all("test_alone" in one for one in ranks):
            variants = {model: "_alone", f"{model} + prior": ""}
        for name, suffix in variants.items():
            parts = [{part: one[f"{part}{suffix}"] for part in ("valid", "test")} for one in ranks]
            row = _row(name, reports, parts, ranks[0].get("test_users"), config)
            if suffix:
                # A run has list metrics only with its prior.
                row = dataclasses.replace(row, lists={})
            rows.append(row)
    return rows


def compare_rows(rows: list[Row], metric: str, against: str | None = None) -> list[Row]:
    """Returns the rows with their differences from one row in a test metric.

    Args:
        rows: The rows.
        metric: The metric.
        against: Name of the row to compare with. None (default): the counting model with the best
            validation metric, or the best row if no model only counts.

    Raises:
        ConfigError: If there is no such row.
    """
    names = [row.model for row in rows]
    if against is None:
        candidates = [row for row in rows if row.counts] or rows
        against = max(candidates, key=lambda row: row.valid[metric]).model
    if against not in names:
        raise ConfigError(
            f"--against must be one of {', '.join(names)}, the finished rows, but is "
            f"{shown(against)}."
        )
    base = rows[names.index(against)]
    differences = {
        row.model: paired_difference(row.values[metric], base.values[metric], users=base.users)
        for row in rows
        if row is not base
    }
    adjusted = dict(zip(differences, holm([one.p for one in differences.values()]), strict=True))
    return [
        dataclasses.replace(row, difference=differences.get(row.model), p=adjusted.get(row.model))
        for row in rows
    ]


def _row(
    name: str, reports: list[dict], ranks: list[dict], users: np.ndarray | None, config: Config
) -> Row:
    cutoffs = reports[0]["protocol"]["k"]
    by_part = {}
    for part in ("valid", "test"):
        runs = [values_of(one[part], cutoffs) for one in ranks]
        # [seeds, events] of each metric.
        by_part[part] = {
            metric: np.stack([values[metric] for values in runs]) for metric in runs[0]
        }
    of_events = {metric: values.mean(axis=0) for metric, values in by_part["test"].items()}
    of_seeds = {metric: values.mean(axis=1) for metric, values in by_part["test"].items()}
    return Row(
        model=name,
        seeds=len(ranks),
        counts=models.trains_on(config.model.name) == models.COUNTS,
        valid={metric: float(values.mean()) for metric, values in by_part["valid"].items()},
        test={metric: float(means.mean()) for metric, means in of_seeds.items()},
        intervals=intervals(of_events, config, users),
        deviations={
            metric: float(means.std(ddof=1)) if len(means) > 1 else 0.0
            for metric, means in of_seeds.items()
        },
        figures={
            figure: float(np.mean([report[figure] for report in reports])) for figure in FIGURES
        },
        epochs={
            name: [end(report[name] for report in reports) for end in (min, max)]
            for name in ("best_epoch", "epochs")
        },
        lists=_means([report.get("lists", {}) for report in reports]),
        values=of_events,
        users=users,
        protocol=reports[0]["protocol"],
    )


def _means(reports: list[dict[str, float]]) -> dict[str, float]:
    names = set.intersection(*map(set, reports))
    return {
        name: float(np.mean([report[name] for report in reports]))
        for name in reports[0]
        if name in names
    }
