"""The findings about a finished run that a report shows."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrec_attn import extensions
from tfrec_attn.config import Config
from tfrec_attn.data.sequences.splits import Split, item_counts, split_checksum
from tfrec_attn.data.sequences.transitions import Transitions, count_transitions
from tfrec_attn.errors import ConfigError, shown
from tfrec_attn.evaluation.held_out import values_of
from tfrec_attn.evaluation.paired_tests import paired_difference
from tfrec_attn.evaluation.ranking import MISS
from tfrec_attn.evaluation.slices import event_slices
from tfrec_attn.models.base.similarity import item_space
from tfrec_attn.runs import run, run_files
from tfrec_attn.runs.items import load_items, titles_of
from tfrec_attn.runtime.process import set_precision
from tfrec_attn.studies.finished_runs import load_ranks, load_report
from tfrec_attn.training.evaluating import (
    intervals,
    is_baseline,
    rank_and_list,
    rank_baselines,
)

METRIC = "NDCG@10"
_MAP = 12  # events of an attention map
_EXAMPLES = (0.0, 0.25, 0.5, 0.75, 1.0)
_ITEMS, _NEIGHBOURS = 10, 5
_GROUPS = 10


class Measured(NamedTuple):
    """The test metrics of a model.

    Attributes:
        values: Metric -> its value for each test event, float64 [U].
        means: Metric -> its mean.
        intervals: Metric -> 95 % bootstrap interval of the mean.
    """

    values: dict[str, np.ndarray]
    means: dict[str, float]
    intervals: dict[str, list[float]]


class Example(NamedTuple):
    """A test event and the list for it.

    Attributes:
        user: Id of the user.
        history: The latest items of the history, at most 12, oldest first.
        earlier: Number of earlier events, which `history` does not have.
        target: The item of the test event.
        rank: Rank of the target; None if the target cannot be recommended.
        items: The recommended items, best first.
        attention: Name of an attention map of the model -> the map for the latest l events of
            `history`, float [l, l].
    """

    user: str
    history: list[str]
    earlier: int
    target: str
    rank: int | None
    items: list[str]
    attention: dict[str, np.ndarray]


class Neighbours(NamedTuple):
    """Items related to an item.

    Attributes:
        item: The item.
        learned: Nearest items by the cosine of the item vectors without biases, best first.
        counted: Items that follow the item most often in the training events, with their counts.
    """

    item: str
    learned: list[str]
    counted: list[tuple[str, int]]


class RunFindings:
    """The findings about a run.

    Args:
        folder: The run.
        users: Ids of users whose test events are the examples. Default: five events from the best
            rank to the worst.

    Attributes:
        folder: The run.
        config: Configuration of the run.
        report: metrics.json of the run.
        metric: Metric of the differences and slices.
        model: Name of the model.
        rows: Name -> `Measured`: the baselines, the model without its prior, and last the run. If
            the run is a baseline itself, it is only the last.
        best_baseline: Name of the baseline with the best `metric`.
        difference: Difference of the run from `best_baseline`.
        users: User of each test event, int [U].
        curves: Column of history.csv -> its values over the epochs.
        slices: Partitions of the test events.
        shares: Share of the recommended items in ten groups of items, most popular first. Each
            group has about the same number of training events.
        examples: Test events with their lists.
        neighbours: Neighbours of the most popular items; empty for a model that only counts.
        titles: Item -> its title, if the items file of the run has one.

    Raises:
        ConfigError: If the folder is damaged or not a finished run, if its log has changed, or if a
            user has no test event.
        DataError: If the log cannot be read.
    """

    def __init__(self, folder: Path, users: Sequence[str] = ()):
        self.folder, self.config = folder, run_files.load_config(folder)
        self.report, config = load_report(folder, sizes=True), self.config
        set_precision(config.runtime.precision)
        split = _split_of(folder, self.report)
        ranks = load_ranks(folder, {"test": len(split.test)})
        model = run.load_model(folder)
        self.users, counts = split.rows(split.test), item_counts(split)
        self._set_metrics(rank_baselines(config, split), ranks)
        self.curves, self.slices = _curves(folder), event_slices(split)
        lists = rank_and_list(model, config, split, "test")[1]
        self.shares = popularity_shares(lists, counts)
        self.examples = _examples(model, split, ranks["test"], lists, users)
        self.neighbours = []
        if item_space(model, model.item_vectors().shape[1]).points.any():
            self.neighbours = _neighbours(model, counts, count_transitions(split))
        self.titles = titles_of(load_items(folder))

    def _set_metrics(self, baselines: dict[str, np.ndarray], ranks: dict[str, np.ndarray]) -> None:
        """Sets the metrics from the ranks of the baselines and of the run."""
        name = extensions.short_name(self.config.model.name)
        if is_baseline(self.config):
            # Otherwise the run would be compared with itself.
            baselines = {one: baselines[one] for one in baselines if one != name}
        found = {f"{one} (default)" if one == name else one: baselines[one] for one in baselines}
        names = list(found)
        if "test_alone" in ranks:
            found[name] = ranks["test_alone"]
            name = f"{name} + prior"
        found[name] = ranks["test"]
        self.model = name
        self.rows = {one: _measure(of, self.config, self.users) for one, of in found.items()}
        self.metric = METRIC if METRIC in self.measured.means else self.config.evaluate.metric
        self.best_baseline = max(names, key=lambda one: self.rows[one].means[self.metric])
        best = self.rows[self.best_baseline].values[self.metric]
        values = self.measured.values[self.metric]
        self.difference = paired_difference(values, best, users=self.users)

    @property
    def measured(self) -> Measured:
        """The test metrics of the run itself."""
        return self.rows[self.model]


def popularity_shares(lists: np.ndarray, counts: np.ndarray, groups: int = _GROUPS) -> list[float]:
    """Returns the share of the recommended items in groups of items by popularity.

    The training events are sorted by the popularity of their items and cut into equal parts. An
    item is in the group that has the middle of its events.

    Args:
        lists: Recommended items 1..N, int [U, k]; 0 stands for no item.
        counts: Training events of each item, int [N].
        groups: Number of groups. Default 10.
    """
    order = np.argsort(-counts, kind="stable")
    middle = np.cumsum(counts[order]) - counts[order] / 2
    group = np.empty(len(counts), np.int64)
    group[order] = np.minimum(groups * middle / max(counts.sum(), 1), groups - 1)
    found = np.bincount(lists.ravel(), minlength=len(counts) + 1)[1:]
    return (np.bincount(group, found, groups) / max(found.sum(), 1)).tolist()


def _split_of(folder: Path, report: dict[str, Any]) -> Split:
    split = run.load_data(folder).split
    if split.sequences.items is None:
        raise ConfigError(
            f"{folder} was trained on a prepared folder that is read in parts; a report needs all "
            "events in memory: train with data.cache=memory."
        )
    if split_checksum(split) != report["data"].get("sha256"):
        raise ConfigError(
            f"The log of {folder} has changed since the training; a report needs the events "
            "of the training: restore them, or train again."
        )
    return split


def _measure(ranks: np.ndarray, config: Config, users: np.ndarray) -> Measured:
    values = values_of(ranks, config.evaluate.k)
    means = {name: float(one.mean()) for name, one in values.items()}
    return Measured(values, means, intervals(values, config, users))


def _curves(folder: Path) -> dict[str, list[float]]:
    """Returns the columns of history.csv; empty for a counting model, which has no such file."""
    path = folder / "history.csv"
    if not path.is_file():
        return {}
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}
    except (OSError, ValueError, TypeError):
        raise ConfigError(f"{path} is damaged; train again.") from None


def _examples(
    model: Any, split: Split, ranks: np.ndarray, lists: np.ndarray, users: Sequence[str]
) -> list[Example]:
    rows = split.rows(split.test)
    if users:
        chosen = [_event_of(user, split, rows) for user in users]
    else:
        order = np.argsort(ranks, kind="stable")
        places = np.unique(np.round(np.asarray(_EXAMPLES) * (len(ranks) - 1)).astype(int))
        chosen = order[places].tolist()
    return [_example(model, split, event, rows[event], ranks, lists) for event in chosen]


def _event_of(user: str, split: Split, rows: np.ndarray) -> int:
    row = int(split.sequences.user_vocabulary.lookup([user])[0]) - 1
    found = np.flatnonzero(rows == row)
    if not len(found):
        raise ConfigError(
            f"--user must be a user with a test event, but {shown(user)} "
            f"{'has none' if row >= 0 else 'is not in the log'}."
        )
    return int(found[-1])


def _example(
    model: Any, split: Split, event: int, row: int, ranks: np.ndarray, lists: np.ndarray
) -> Example:
    sequences, position = split.sequences, split.test[event]
    history = sequences.items[sequences.offsets[row] : position]
    ids = sequences.item_vocabulary.ids
    shown_events = history[-_MAP:]
    rank = int(ranks[event])
    return Example(
        user=sequences.user_vocabulary.ids([row + 1])[0],
        history=ids(shown_events),
        earlier=len(history) - len(shown_events),
        target=ids([sequences.items[position]])[0],
        rank=None if rank == MISS else rank,
        items=[one for one in ids(lists[event]) if one],
        attention=_attention(model, row + 1, history),
    )


def _attention(model: Any, user: int, history: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the attention maps of the latest events that the model sees."""
    latest = np.zeros((1, model.max_length), np.int32)
    part = history[-model.max_length :]
    latest[0, model.max_length - len(part) :] = part
    features = {"user": tf.constant([user], tf.int32), "history": tf.constant(latest)}
    count = min(len(part), _MAP)
    # The model ignores untrained items, so it has no attention for them.
    if not count or (model.known(features)["history"].numpy() != latest).any():
        return {}
    if hasattr(model, "attention_streams"):
        maps = model.attention_streams(features)
    else:
        maps = {"attention": model.attention_map(features)}
    return {name: one.numpy()[0, -count:, -count:] for name, one in maps.items() if one is not None}


def _neighbours(model: Any, counts: np.ndarray, transitions: Transitions) -> list[Neighbours]:
    ids, found = model.item_vocabulary.ids, []
    popular = np.argsort(-counts, kind="stable")[:_ITEMS]
    learned, _ = model.similar(ids(popular + 1), _NEIGHBOURS)
    for item, nearest in zip(popular, learned, strict=True):
        begin, end = transitions.offsets[item + 1], transitions.offsets[item + 2]
        order = np.argsort(-transitions.counts[begin:end], kind="stable")[:_NEIGHBOURS] + begin
        followers, counted = ids(transitions.neighbours[order]), transitions.counts[order].tolist()
        pairs = list(zip(followers, counted, strict=True))
        found.append(Neighbours(ids([item + 1])[0], nearest, pairs))
    return found
