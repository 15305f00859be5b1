"""The agreement of splits: whether models have the same order under each split of a log."""

import itertools
import json
import textwrap
from collections.abc import Mapping

import numpy as np

from tfrec_attn.cli.terminal import align
from tfrec_attn.data.sequences.leakage import LeakReport, leak_report
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.errors import counted
from tfrec_attn.studies.comparison.comparison_table import ComparisonTable

_FEW = 5  # models, below which tau says little
_LEAKS = {
    "test events before some training event": "tests_before_training",
    "training events after the median test event": "training_after_median_test",
    "test events of items with later training events only": "targets_only_seen_later",
}


def split_agreement(
    log: str, found: Mapping[str, tuple[ComparisonTable, Split]]
) -> tuple[str, str]:
    """Compares the order of the same models under several splits of a log.

    The agreement of two splits is Kendall's tau-b of the models. It is NaN if all values of a split
    are equal.

    Args:
        log: Name of the log.
        found: Name of a split -> its table and its data.

    Returns:
        The text of the comparison, and its JSON.

    Reference:
        "Time to Split: Exploring Data Splitting Strategies for Offline Evaluation of Sequential
        Recommenders", RecSys 2025 (arXiv 2507.16289).
    """
    metric = next(iter(found.values()))[0].metric
    rows = {name: {row.model: row for row in table.rows} for name, (table, _) in found.items()}
    models = [row for row in next(iter(rows.values())) if all(row in one for one in rows.values())]
    values = {name: [one[model].test[metric] for model in models] for name, one in rows.items()}
    leaks = {name: leak_report(split) for name, (_, split) in found.items()}
    agreement = {
        (one, other): kendall_tau(values[one], values[other])
        for one, other in itertools.combinations(values, 2)
    }
    caption = (
        f"{log}: {metric} by split, best model of the first split last. Agreement is "
        "Kendall's tau: 1 for the same order of the models, -1 for the opposite one."
    )
    tree = {
        "log": log,
        "metric": metric,
        "models": models,
        "splits": {
            name: {"values": values[name], "leaks": leaks[name].to_dict()} for name in values
        },
        "agreement": [
            {"splits": list(pair), "tau": None if np.isnan(tau) else tau}
            for pair, tau in agreement.items()
        ],
    }
    text = "\n\n".join([textwrap.fill(caption, 100), *_tables(models, values, agreement, leaks)])
    return text, json.dumps(tree, indent=2) + "\n"


def _tables(
    models: list[str],
    values: dict[str, list[float]],
    agreement: dict[tuple[str, str], float],
    leaks: dict[str, LeakReport],
) -> tuple[str, str, str]:
    lines = [["model", *values]]
    for place, model in enumerate(models):
        lines.append([model, *(f"{of_split[place]:.4f}" for of_split in values.values())])
    of_rows = f" over {counted(len(models), 'row')}"
    pairs = [
        f"{one} and {other}: "
        + (f"tau {tau:.3f}{of_rows}" if tau == tau else "no tau, all models of a split are equal")
        for (one, other), tau in agreement.items()
    ]
    if len(models) < _FEW:
        pairs.append(f"With fewer than {_FEW} rows, tau says little: random orders often agree.")
    known = [["training knows", *leaks]]
    for title, name in _LEAKS.items():
        known.append([title, *(f"{getattr(one, name):.1%}" for one in leaks.values())])
    return align(lines), "\n".join(pairs), align(known)


def kendall_tau(one: list[float], other: list[float]) -> float:
    """Returns Kendall's tau-b of two lists of values.

        tau = (concordant - discordant) / sqrt(n_one * n_other)

    n_one and n_other are the numbers of pairs with different values in `one` and in `other`.

    NaN if all values of a list are equal.
    """
    first, second = (
        np.sign(np.subtract.outer(values, values))[np.triu_indices(len(values), 1)]
        for values in (one, other)
    )
    pairs = np.count_nonzero(first) * np.count_nonzero(second)
    return float(first @ second / np.sqrt(pairs)) if pairs else float("nan")
