"""The output of a search: the table of its trials, and the best configuration."""

import copy
import csv
import io
import json
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

from tfrec_attn import config as configuration
from tfrec_attn.cli.terminal import format_table
from tfrec_attn.config import Config
from tfrec_attn.config.coercion import parse_flow
from tfrec_attn.config.yaml_tree import is_null, write_yaml
from tfrec_attn.errors import counted, shorten
from tfrec_attn.extensions import short_name
from tfrec_attn.studies.search.search_space import SearchSpace, with_point
from tfrec_attn.studies.search.trial_training import COMPLETED, FAILED, PRUNED, TrialResult

_SHOWN = 5


def best_of(results: list[TrialResult], metric: str) -> int | None:
    """Returns the index of the completed trial with the best value of a metric, or None."""
    places = [place for place, one in enumerate(results) if one.state == COMPLETED]
    return max(places, key=lambda place: results[place].metrics[metric], default=None)


def trials_csv(results: list[TrialResult], space: SearchSpace) -> str:
    """Returns a CSV table with a row for each trial."""
    metrics = list(next((one.metrics for one in results if one.metrics), {}))
    figures = ("best_epoch", "epochs", "seconds", "parameters")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "state", *space.ranges, *metrics, *figures, "error"])
    for number, one in enumerate(results, 1):
        row = [number, one.state, *(_shown(one.values[key]) for key in space.ranges)]
        row += [one.metrics.get(name, "") for name in metrics]
        row += [one.best_epoch, one.epochs, round(one.seconds, 3), one.parameters, one.error or ""]
        table.writerow(row)
    return text.getvalue()


def describe_trial(number: int, result: TrialResult, metric: str, is_best: bool) -> str:
    """Returns lines that describe a finished trial."""
    value = f"{metric} {result.metrics[metric]:.4f}" if result.metrics else ""
    outcome = {
        COMPLETED: f"{value} at epoch {result.best_epoch} of {result.epochs}",
        PRUNED: f"pruned after epoch {result.epochs}, {value}",
        FAILED: f"failed: {shorten((result.error or '').rstrip('.'), 200)}",
    }[result.state]
    best = ", the best so far" if is_best else ""
    values = " ".join(f"{key}={_shown(value)}" for key, value in result.values.items())
    return f"trial {number}: {values}\n  {outcome}, {result.seconds:.0f} s{best}"


def describe_search(results: list[TrialResult], metric: str) -> str:
    """Returns a table of the best trials, and the number of trials in each state."""
    completed = [place for place, one in enumerate(results) if one.state == COMPLETED]
    completed.sort(key=lambda place: -results[place].metrics[metric])
    rows = {f"trial {place + 1}": results[place].metrics for place in completed[:_SHOWN]}
    table = f"{format_table('validation', rows)}\n\n" if rows else ""
    return f"{table}{_counted(results)}."


def best_yaml(
    results: list[TrialResult],
    space: SearchSpace,
    base: Config,
    given: dict[str, Any],
    command: str,
) -> str:
    """Returns the configuration of the best trial, for `tfrec_attn.train`.

    Args:
        results: The finished trials, at least one of them completed.
        space: The search space.
        base: The resolved configuration of the search.
        given: The sections with the keys that the file, the arguments and the model set.
        command: The command of the search.
    """
    metric = base.evaluate.metric
    place = best_of(results, metric)
    best = results[place]
    figures = [f"{name} {value:.4f}" for name, value in best.metrics.items()]
    log = Path(base.data.path or base.data.source).name
    lines = [
        *_wrapped(
            f"{short_name(base.model.name)} on {log}: the best settings of a search by {metric} on "
            "the validation events."
        ),
        "",
        f"  {command}",
        "",
        *_wrapped(
            f"{_counted(results)}. Trial {place + 1}, epoch {best.best_epoch} of {best.epochs}, "
            f"seed {base.train.seed}, {best.seconds:.0f} s. Validation:"
        ),
        *("  " + "   ".join(figures[begin : begin + 4]) for begin in range(0, len(figures), 4)),
        "The best of many trials overfits these events. Searched:",
        *(f"  {key}: {_shown(best.values[key])} of {one}" for key, one in space.ranges.items()),
    ]
    # `shorten` escapes line breaks, which would end the comment.
    header = "".join(f"# {shorten(line, 10_000)}".rstrip() + "\n" for line in lines)
    config = configuration.to_dict(with_point(base, best.values))
    keys = configuration.overlay(copy.deepcopy(given), [f"{key}=" for key in best.values])
    return header + write_yaml(_part(config, keys))


def _part(config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Returns the part of a configuration with the keys of `given`."""
    part = {}
    for key, value in config.items():
        if key not in given:
            continue
        here = parse_flow(key, given[key])
        if isinstance(value, dict) and isinstance(here, dict):
            part[key] = _part(value, here)
        elif not (isinstance(value, dict) and is_null(here)):
            part[key] = value
    return part


def _counted(results: list[TrialResult]) -> str:
    """Returns the number of trials, by state, and their seconds."""
    states = Counter(one.state for one in results)
    parts = ", ".join(f"{states[state]} {state}" for state in (COMPLETED, PRUNED, FAILED))
    seconds = sum(one.seconds for one in results)
    return f"{counted(len(results), 'trial', form='')} ({parts}), {seconds:,.0f} s"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 98, break_long_words=False, break_on_hyphens=False)
