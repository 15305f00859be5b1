"""How far the order of models depends on the split of their log."""

import json
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrec_attn.cli.terminal import align
from tfrec_attn.data.sequences.leakage import LeakReport, leak_report
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.studies.comparison.comparison_table import ComparisonTable

_LEAKS = {
    "test events before some training event": "tests_before_training",
    "training events after the median test event": "training_after_median_test",
    "test events of items with later training events only": "targets_only_seen_later",
}


class SplitAgreement:
    """A metric of the same models under several splits of a log.

    Args:
        log: Name of the log.
        tables: Name of a split -> its table.
        splits: Name of a split -> its data.

    Reference:
        "Time to Split: Exploring Data Splitting Strategies for Offline Evaluation of Sequential
        Recommenders", RecSys 2025 (arXiv 2507.16289).
    """

    def __init__(
        self, log: str, tables: Mapping[str, ComparisonTable], splits: Mapping[str, Split]
    ):
        self.log, self.metric = log, next(iter(tables.values())).metric
        rows = {name: {row.model: row for row in table.rows} for name, table in tables.items()}
        self.models = [
            row for row in next(iter(rows.values())) if all(row in one for one in rows.values())
        ]
        self.values = {
            name: [one[model].test[self.metric] for model in self.models]
            for name, one in rows.items()
        }
        self._leaks: dict[str, LeakReport] = {
            name: leak_report(split) for name, split in splits.items()
        }

    def agreement(self) -> dict[tuple[str, str], float]:
        """Returns Kendall's tau-b of the models for each pair of splits; NaN for equal values."""
        names = list(self.values)
        return {
            (one, other): kendall_tau(self.values[one], self.values[other])
            for place, one in enumerate(names)
            for other in names[place + 1 :]
        }

    def text(self) -> str:
        """Returns aligned text."""
        caption = (
            f"{self.log}: {self.metric} by split, best model of the first split last. Agreement is "
            "Kendall's tau: 1 for the same order of the models, -1 for the opposite one."
        )
        lines = [["model", *self.values]]
        lines += [
            [model, *(f"{values[place]:.4f}" for values in self.values.values())]
            for place, model in enumerate(self.models)
        ]
        pairs = [
            f"{one} and {other}: "
            + (f"tau {tau:.3f}" if tau == tau else "no tau, all models of a split are equal")
            for (one, other), tau in self.agreement().items()
        ]
        leaks = [["training knows", *self._leaks]]
        for title, name in _LEAKS.items():
            shares = [getattr(one, name) for one in self._leaks.values()]
            leaks.append([title, *(f"{share:.1%}" for share in shares)])
        return "\n".join(
            [textwrap.fill(caption, 100), "", align(lines), "", *pairs, "", align(leaks)]
        )

    def json(self) -> str:
        """Returns all figures."""
        tree: dict[str, Any] = {
            "log": self.log,
            "metric": self.metric,
            "models": self.models,
            "splits": {
                name: {"values": values, "leaks": self._leaks[name].to_dict()}
                for name, values in self.values.items()
            },
            "agreement": [
                {"splits": list(pair), "tau": None if np.isnan(tau) else tau}
                for pair, tau in self.agreement().items()
            ],
        }
        return json.dumps(tree, indent=2) + "\n"


def kendall_tau(one: list[float], other: list[float]) -> float:
    """Returns Kendall's tau-b of two lists of values.

        tau = (concordant - discordant) / sqrt(pairs that differ in one * those in other)

    NaN if all values of a list are equal.
    """
    first, second = (
        np.sign(np.subtract.outer(values, values))[np.triu_indices(len(values), 1)]
        for values in (one, other)
    )
    pairs = np.count_nonzero(first) * np.count_nonzero(second)
    return float(first @ second / np.sqrt(pairs)) if pairs else float("nan")
