"""Ranks and metrics of the held-out events, for models and baselines."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec_attn import models
from tfrec_attn.config import Config
from tfrec_attn.data.sequences.splits import Split, item_counts
from tfrec_attn.evaluation.held_out import bootstrap_intervals, held_out_ranks, summarise, values_of
from tfrec_attn.evaluation.list_metrics import LIST_LENGTH
from tfrec_attn.evaluation.protocol import Repeats, choose_repeats
from tfrec_attn.evaluation.ranking import ranks
from tfrec_attn.layers.embedding_table import reading_in_place
from tfrec_attn.models.base.recommendation import best_unseen
from tfrec_attn.training.inputs import held_out

# Counting models with which every run is compared.
BASELINES = ("pop", "transition", "decayed_transitions")
_MAX_LENGTH = 50
_RESAMPLES = 1000  # if evaluate.bootstrap is 0
# For fewer blocks, eager execution takes less time than tracing.
_FEW_BLOCKS = 8


def with_repeats(config: Config, split: Split) -> tuple[Config, Repeats]:
    """Returns the configuration with `evaluate.repeats` set, and the reason for its value."""
    valid, test = (held_out(config, split, part).repeated() for part in ("valid", "test"))
    repeats = choose_repeats(config.evaluate.repeats, valid, test)
    evaluate = dataclasses.replace(config.evaluate, repeats=repeats.rule)
    return dataclasses.replace(config, evaluate=evaluate), repeats


def rank(ranker: Callable, config: Config, split: Split, part: str, eager: float = 0) -> np.ndarray:
    """Returns the rank of each held-out event of "valid" or "test".

    Args:
        ranker: Function of a block of events, such as `ranks` of a model.
        config: The configuration.
        split: The data.
        part: "valid" or "test".
        eager: As for `held_out_ranks`.
    """
    with reading_in_place():
        return held_out_ranks(ranker, held_out(config, split, part), eager)


def rank_by_model(model: Any, config: Config, split: Split, part: str) -> np.ndarray:
    """Returns the rank of each held-out event by a trained model, as `rank`."""
    traced = model.traced_ranks()
    # The validation has traced the function, unless the model counts or was trained eagerly.
    ranker = traced if traced.experimental_get_tracing_count() else model.ranks
    return rank(ranker, config, split, part, eager=_FEW_BLOCKS)


def rank_and_list(
    model: Any, config: Config, split: Split, part: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rank of each held-out event, int32 [U], and the best items, int32 [U, k].

    k is the smaller of `LIST_LENGTH` and N; 0 stands for no item.
    """
    k = min(LIST_LENGTH, model.num_items)

    def columns(features):
        scores = model.recommendation_scores(features)
        found, items = best_unseen(scores, features["seen"], k)
        items = tf.where(found > scores.dtype.min, items, 0)
        rank_of_target = ranks(scores, features["target"], features["seen"])
        return tf.concat([rank_of_target[:, tf.newaxis], items], axis=1)

    found = rank(columns, config, split, part, eager=_FEW_BLOCKS)
    return found[:, 0], found[:, 1:]


def report(ranks: np.ndarray, config: Config, part: str, users: np.ndarray) -> dict[str, dict]:
    """Returns the metrics of one part, and their intervals unless `evaluate.bootstrap` is 0.

    Args:
        ranks: Ranks of the held-out events, int [U].
        config: The configuration.
        part: "valid" or "test".
        users: User of each event, [U].
    """
    k = config.evaluate.k
    metrics = {part: summarise(ranks, k)}
    if config.evaluate.bootstrap:
        metrics[f"{part}_interval"] = intervals(values_of(ranks, k), config, users)
    return metrics


def intervals(
    values: dict[str, np.ndarray], config: Config, users: np.ndarray | None
) -> dict[str, list[float]]:
    """Returns the 95 % bootstrap intervals of metrics, the same in all commands.

    Args:
        values: Metric -> values of the held-out events, float [U].
        config: Its seed and `evaluate.bootstrap` are used; if that is 0, there are 1,000 resamples.
        users: As for `bootstrap_intervals`.
    """
    resamples = config.evaluate.bootstrap or _RESAMPLES
    return bootstrap_intervals(values, resamples, config.train.seed, users)


def is_baseline(config: Config) -> bool:
    """Returns whether a configuration is one of `BASELINES`, with the same settings."""
    name = config.model.name
    if name not in BASELINES:
        return False
    same_length = config.data.max_length == _MAX_LENGTH or not models.uses_history(name)
    defaults = models.parameters(name)
    return same_length and {**defaults, **config.model.parameters} == defaults


def rank_baselines(config: Config, split: Split) -> dict[str, np.ndarray]:
    """Returns the ranks of the test events by each of `BASELINES`, with its defaults.

    The baselines use the latest 50 events of a history, independently of `data.max_length`. Like a
    run, they use only events of items with training events.
    """
    data = dataclasses.replace(config.data, max_length=_MAX_LENGTH)
    config = dataclasses.replace(config, data=data)
    sequences, rankers = split.sequences, []
    trained = item_counts(split) > 0
    for name in BASELINES:
        model = models.get(name)(sequences.num_users, sequences.num_items, _MAX_LENGTH)
        model.count(split)
        model.trained_items = None if trained.all() else trained
        rankers.append(model.ranks)

    def ranks_of_all(block):
        return tf.stack([ranker(block) for ranker in rankers], axis=1)

    # With few operations, eager execution takes less time than tracing.
    columns = rank(ranks_of_all, config, split, "test", eager=math.inf).T
    return dict(zip(BASELINES, columns, strict=True))
