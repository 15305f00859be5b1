"""Whether a SavedModel ranks the held-out events of its run as the run's metrics say: all items,
and in the lists that it recommends.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import tensorflow as tf

from .checksums import SERVABLE_SUMS, damage
from .replay import read_events, read_metrics, run_file
from .replayed_ranking import Ranking, rank_events
from .session import ServableError, Session

TOLERANCE = 1e-6
_CARD = "assets.extra/model_card.json"


def compare(servable: str | Path, run: str | Path, part: str = "test") -> dict:
    """Ranks the held-out events of a run through a SavedModel and compares the metrics.

    Args:
      servable: version folder, or the model folder above it.
      run: its run directory.
      part: "test" or "valid".

    Returns:
      {"servable", "run", "split", "events", "repeats", "metrics", "recommend": {"k", "keep_seen",
      "recall"}, "difference"}. "metrics" has for each name {"run", "servable", "difference",
      "recommend"}: `servable` is by the vectors, `recommend` by the served lists, None where they
      are too short for it. "recall" is None unless items are found by an index. The last
      "difference" is a sentence on the first one, or None.

    Errors: ServableError when one of them cannot be used or they do not belong together.
    """
    report = read_metrics(run)
    expected = _expected(report, run, part)
    events = read_events(run, part)
    with Session(servable) as session:
        card = _card(session.path)
        items = _same_items(session.path, run, card, report)
        serving = card.get("serving", {})
        approximate, longest = (
            bool(serving.get("index")),
            max((_cutoff(name) for name in expected), default=0) or 10,
        )
        rules = {
            "repeats": report.get("protocol", {}).get("repeats", "exclude"),
            "keep_seen": bool(serving.get("keep_seen", False)),
        }
        try:
            ranking = rank_events(session, events, items, longest, **rules, with_recall=approximate)
        except tf.errors.OpError as error:
            raise ServableError(
                f"{session.path} fails to answer ({error.message.splitlines()[0]}); export it again."
            ) from None
    metrics = {name: _row(name, value, ranking) for name, value in expected.items()}
    recall = (
        float(np.nanmean(ranking.recall))
        if approximate and not np.isnan(ranking.recall).all()
        else None
    )
    difference = _metric_difference(metrics, ranking, _precision(card))
    if difference is None and not approximate:
        difference = _list_difference(events, ranking) or _rule_difference(
            metrics, ranking, **rules
        )
    return {
        "servable": str(session.path),
        "run": str(run),
        "split": part,
        "events": len(events),
        "repeats": rules["repeats"],
        "metrics": metrics,
        "recommend": {"k": ranking.columns, "keep_seen": rules["keep_seen"], "recall": recall},
        "difference": difference,
    }


def _expected(report: dict, run: str | Path, part: str) -> dict[str, float]:
    expected = report.get(part)
    if not isinstance(expected, dict) or not expected:
        raise ServableError(f"metrics.json of {run} has no metrics of {part}; train again.")
    for name, value in expected.items():
        if not isinstance(value, (int, float)):
            raise ServableError(f"metrics.json of {run} has no number for {name}; train again.")
        if not re.fullmatch(r"(HR|NDCG)@[1-9]\d*|MRR", name):
            raise ServableError(
                f"metrics.json of {run} has the metric {name}, but only HR@k, NDCG@k and MRR can be computed; train again."
            )
    return expected


def _card(folder: Path) -> dict:
    path = folder / _CARD
    if what := damage(folder, SERVABLE_SUMS, [_CARD]):
        raise ServableError(f"{what}; export again.")
    try:
        card = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError):
        raise ServableError(f"{path} is not JSON; export again.") from None
    try:
        # What is read of it, so that another JSON file is told here.
        (
            card.get("data", {}).get("sha256"),
            card.get("serving", {}).get("index"),
            _precision(card).strip(),
        )
    except AttributeError:
        raise ServableError(f"{path} is no model card; export again.") from None
    return card


def _same_items(servable: Path, run: str | Path, card: dict, report: dict) -> list[str]:
    """Ids of the items in the run's order, once it is clear that the run's log is the servable's."""
    sums = [about.get("data", {}).get("sha256") for about in (card, report)]
    items = _lines(run_file(run, "vocabulary/items.txt"))
    same = sorted(items) == sorted(_lines(servable / "assets" / "items.txt"))
    if (servable / "assets" / "users.txt").is_file():
        same &= _lines(run_file(run, "vocabulary/users.txt")) == _lines(
            servable / "assets" / "users.txt"
        )
    if not same or (all(sums) and sums[0] != sums[1]):
        raise ServableError(
            f"{servable} was not exported from {run}: their logs differ; give the run that it comes from."
        )
    return items


def _lines(path: Path) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError):
        raise ServableError(f"{path} is missing or no text; export or train again.") from None


def _cutoff(name: str) -> int:
    return int(name.partition("@")[2] or 0)


def _function(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Metric of ranks, float64; infinity is a rank too low to know."""
    k = _cutoff(name)
    if name.startswith("HR"):
        return lambda ranks: (ranks <= k).astype(np.float64)
    if name.startswith("NDCG"):
        return lambda ranks: np.where(ranks <= k, 1 / np.log2(ranks + 1.0), 0.0)
    return lambda ranks: 1.0 / ranks


def _row(name: str, expected: float, ranking: Ranking) -> dict[str, float | None]:
    value = float(np.mean(_function(name)(ranking.rank)))
    of_lists = float(np.mean(_function(name)(ranking.place)))
    long_enough = 0 < _cutoff(name) <= ranking.columns
    return {
        "run": expected,
        "servable": value,
        "difference": value - expected,
        "recommend": of_lists if long_enough else None,
    }


def _precision(card: dict) -> str:
    return card.get("training", {}).get("config", {}).get("runtime", {}).get("precision", "float32")


def _metric_difference(metrics: dict, ranking: Ranking, precision: str) -> str | None:
    for name, row in metrics.items():
        if not abs(row["difference"]) <= TOLERANCE:
            close = int(np.count_nonzero(ranking.best != ranking.worst))
            notes = (
                [
                    f"{close} of {len(ranking.rank)} targets have another item's score within rounding"
                ]
                if close
                else []
            )
            notes += (
                [f"the run was measured in {precision}, the servable computes in float32"]
                if precision != "float32"
                else []
            )
            note = f" ({'; '.join(notes)})" if notes else ""
            return f"{name} must be {row['run']:.8f} as in metrics.json, but the servable gives {row['servable']:.8f}{note}."
    return None


def _list_difference(events: pl.DataFrame, ranking: Ranking) -> str | None:
    in_list = (ranking.best <= ranking.place) & (ranking.place <= ranking.worst)
    wrong = ~np.where(ranking.place <= ranking.columns, in_list, ranking.worst > ranking.columns)
    if not wrong.any():
        return None
    first = int(wrong.argmax())
    user, target = events["user_id"][first], events["target"][first]
    expected, place = (
        _place(values[first], ranking.columns) for values in (ranking.expected, ranking.place)
    )
    return f"recommend must put {target!r} of user {user!r} {expected}, but has it {place}."


def _place(place: float, columns: int) -> str:
    return "nowhere" if np.isinf(place) else f"at place {place:.0f} of {columns}"


def _rule_difference(metrics: dict, ranking: Ranking, repeats: str, keep_seen: bool) -> str | None:
    """A sentence where the lists follow another rule for repeats than the run's metrics, and reach
    others.
    """
    if keep_seen == (repeats == "include"):
        return None
    for name, row in metrics.items():
        if row["recommend"] is not None and not abs(row["recommend"] - row["run"]) <= TOLERANCE:
            served, option = (
                ("recommends", "--no-keep-seen") if keep_seen else ("leaves out", "--keep-seen")
            )
            return (
                f"{name} of the served lists is {row['recommend']:.8f}, but the run reports {row['run']:.8f}: the servable {served} items "
                f"of the history, the run was evaluated with evaluate.repeats={repeats}; export it again with {option}."
            )
    return None
