"""Compares the metrics of a servable with those of its run, on the held-out events of the run."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import tensorflow as tf

from tfrec_attn.errors import ConfigError
from tfrec_attn.files.checksums import SERVABLE_SUMS, first_damage
from tfrec_attn.replay.event_ranking import Predict, Ranking, cutoff, mean, rank_events
from tfrec_attn.replay.measured_run import (
    metrics_of,
    read_events,
    read_items,
    read_lines,
    read_report,
    repeats_of,
    run_file,
)
from tfrec_attn.runtime.runner import Runner

TOLERANCE = 1e-6
_CARD = "assets.extra/model_card.json"


def compare(servable: str | Path, run: str | Path, split: str = "test") -> dict:
    """Ranks the held-out events of a run through a SavedModel and compares the metrics.

    Args:
        servable: Version folder, or the model folder above it.
        run: Run directory that the servable was exported from.
        split: "test" (default) or "valid".

    Returns:
        A dictionary with these keys:

        - "servable", "run", "split": The version folder and the other arguments.
        - "events": Number of held-out events.
        - "repeats": The run's rule for items of the history, "exclude" or "include".
        - "metrics": For each metric {"run", "servable", "difference", "recommend"}. "servable" is
          computed from the vectors. "recommend" is computed from the served lists; it is None where
          the metric needs longer lists.
        - "recommend": {"k", "keep_seen", "recall"} of the lists. "recall" is None without an index.
        - "matrix": Type of the item vectors.
        - "tolerance": The largest allowed difference of a metric.
        - "difference": A sentence about the first difference found, or None.

    Raises:
        ConfigError: If the servable or the run cannot be used, or they do not belong together.
    """
    report = read_report(run)
    expected = metrics_of(report, run, split)
    events = read_events(run, split)
    with Runner(servable) as runner:
        card = _card(runner.path)
        items = _same_items(runner.path, run, card, report)
        serving = card.get("serving", {})
        has_index, matrix = bool(serving.get("index")), serving.get("matrix")
        rules = {"repeats": repeats_of(report), "keep_seen": bool(serving.get("keep_seen", False))}
        k = max(map(cutoff, expected)) or 10
        predict = _without(runner.run, serving.get("added_items", []))
        try:
            ranking = rank_events(predict, events, items, k, **rules, with_recall=has_index)
        except tf.errors.OpError as error:
            raise ConfigError(
                f"{runner.path} fails to respond ({error.message.splitlines()[0]}); export it "
                "again."
            ) from None
        path = runner.path
    metrics = {name: _row(name, value, ranking) for name, value in expected.items()}
    tolerance = _tolerance(matrix, len(events))
    difference = _metric_difference(metrics, ranking, _precision(card), tolerance)
    if difference is None and not has_index:
        difference = _list_difference(events, ranking)
        difference = difference or _rule_difference(metrics, **rules, tolerance=tolerance)
    measured = ranking.recall[~np.isnan(ranking.recall)]
    return {
        "servable": str(path),
        "run": str(run),
        "split": split,
        "events": len(events),
        "repeats": rules["repeats"],
        "metrics": metrics,
        "recommend": {
            "k": ranking.columns,
            "keep_seen": rules["keep_seen"],
            "recall": float(np.mean(measured)) if len(measured) else None,
        },
        "matrix": _type(matrix),
        "tolerance": tolerance,
        "difference": difference,
    }


def _card(folder: Path) -> dict:
    """The model card of a servable; {} if there is none."""
    path = folder / _CARD
    if what := first_damage(folder, [_CARD], SERVABLE_SUMS):
        raise ConfigError(f"{what}; export again.")
    try:
        card = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError):
        raise ConfigError(f"{path} is not JSON; export again.") from None
    try:
        # Fails if a value that is read later has another type.
        card.get("data", {}).get("sha256"), card.get("serving", {}).get("index")
        matrix = card.get("serving", {}).get("matrix")
        _tolerance(matrix, 1), _type(matrix)
        _precision(card).strip()
        "".join(card.get("serving", {}).get("added_items", []))
    except (AttributeError, KeyError, TypeError, StopIteration):
        raise ConfigError(f"{path} is not a model card; export again.") from None
    return card


def _precision(card: dict) -> str:
    return card.get("training", {}).get("config", {}).get("runtime", {}).get("precision", "float32")


def _same_items(servable: Path, run: str | Path, card: dict, report: dict) -> list[str]:
    """Item ids in the run's order, after a check that run and servable come from the same log."""
    sums = [about.get("data", {}).get("sha256") for about in (card, report)]
    items, added = read_items(run), card.get("serving", {}).get("added_items", [])
    same = sorted([*items, *added]) == sorted(read_lines(servable / "assets" / "items.txt"))
    users = servable / "assets" / "users.txt"
    if users.is_file():
        same &= read_lines(run_file(run, "vocabulary/users.txt")) == read_lines(users)
    if not same or (all(sums) and sums[0] != sums[1]):
        raise ConfigError(
            f"{servable} was not exported from {run}: their logs differ; "
            "give the run that it comes from."
        )
    return items


def _without(predict: Predict, added: list[str]) -> Predict:
    """Wraps `predict` so that lists exclude the added items, which the run does not have."""

    def excluding(signature, **inputs):
        if added and "exclude" in inputs:
            inputs["exclude"] = np.array([added] * len(inputs["exclude"]), object)
        return predict(signature, **inputs)

    return excluding


def _row(name: str, expected: float, ranking: Ranking) -> dict[str, float | None]:
    value = mean(name, ranking.rank)
    long_enough = 0 < cutoff(name) <= ranking.columns
    return {
        "run": expected,
        "servable": value,
        "difference": value - expected,
        "recommend": mean(name, ranking.listed) if long_enough else None,
    }


def _type(matrix: dict | None) -> str:
    return matrix["kind"] if matrix else "float32"


def _tolerance(matrix: dict | None, events: int) -> float:
    """The largest allowed difference of a metric.

    With a compact matrix, it is 1 - recall, and at least two events' share of the metric.
    """
    if not matrix:
        return TOLERANCE
    recall = next(value for name, value in matrix.items() if name.startswith("recall@"))
    return max(TOLERANCE, 1.0 - recall, 2.0 / max(events, 1))


def _metric_difference(
    metrics: dict, ranking: Ranking, precision: str, tolerance: float
) -> str | None:
    for name, row in metrics.items():
        if not abs(row["difference"]) <= tolerance:
            notes, close = [], int(np.count_nonzero(ranking.best != ranking.worst))
            if close:
                notes.append(
                    f"{close} of {len(ranking.rank)} targets have another item's score "
                    "within rounding"
                )
            if precision != "float32":
                notes.append(
                    f"the run was measured in {precision}, the servable computes in float32"
                )
            note = f" ({'; '.join(notes)})" if notes else ""
            return (
                f"{name} must be {row['run']:.8f} as in metrics.json, "
                f"but the servable gives {row['servable']:.8f}{note}."
            )
    return None


def _list_difference(events: pl.DataFrame, ranking: Ranking) -> str | None:
    """A sentence about the first list whose target has another rank, beyond rounding, or None."""
    wrong = ~ranking.agrees(ranking.listed, ranking.columns)
    if not wrong.any():
        return None
    first = int(wrong.argmax())
    expected, found = (
        "nowhere" if np.isinf(rank) else f"at rank {rank:.0f} of {ranking.columns}"
        for rank in (ranking.expected[first], ranking.listed[first])
    )
    return (
        f"recommend must put {events['target'][first]!r} of user {events['user_id'][first]!r} "
        f"{expected}, but has it {found}."
    )


def _rule_difference(metrics: dict, repeats: str, keep_seen: bool, tolerance: float) -> str | None:
    """A sentence if the lists have another rule for repeats and so other metrics, or None."""
    if keep_seen == (repeats == "include"):
        return None
    for name, row in metrics.items():
        if row["recommend"] is not None and not abs(row["recommend"] - row["run"]) <= tolerance:
            served, option = (
                ("recommends", "--no-keep-seen") if keep_seen else ("leaves out", "--keep-seen")
            )
            return (
                f"{name} of the served lists is {row['recommend']:.8f}, but the run reports "
                f"{row['run']:.8f}: the servable {served} items of the history, the run was "
                f"evaluated with evaluate.repeats={repeats}; export it again with {option}."
            )
    return None
