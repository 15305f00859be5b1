"""The prior of item transitions, which a model gets after its training."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec_attn.cli.terminal import write_line
from tfrec_attn.config import Config, Prior
from tfrec_attn.data.sequences.neighbour_rows import decayed_transitions
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.evaluation.held_out import summarise
from tfrec_attn.evaluation.ranking import ranks
from tfrec_attn.layers.transition_prior import TransitionPrior
from tfrec_attn.models.base.scoring import add_prior
from tfrec_attn.training.checkpoints import Checkpoints
from tfrec_attn.training.evaluating import rank, rank_by_model

_AUTO = (0.1, 0.2, 0.5, 1.0, 2.0)
_PARTS = ("valid", "test")
_METRIC = 10  # cut-off of the NDCG that picks weight and epsilon


def candidates(prior: Prior) -> list[tuple[float, float]]:
    """Returns the pairs (weight, epsilon) from which the validation chooses."""
    weights = _AUTO if prior.weight == "auto" else prior.weight
    lists = (one if isinstance(one, (list, tuple)) else [one] for one in (weights, prior.epsilon))
    return list(itertools.product(*lists))


def at_the_edge(pairs: list[tuple[float, float]], weight: float, epsilon: float) -> str | None:
    """Returns advice if the chosen pair is at the edge of the candidates, or None."""
    weights, epsilons = ({pair[column] for pair in pairs} for column in (0, 1))
    edges = (
        ("weight", weights, max, weight, 5 * weight),
        ("epsilon", epsilons, min, epsilon, epsilon / 10),
        ("epsilon", epsilons, max, epsilon, 10 * epsilon),
    )
    tries = [
        f"prior.{key}={chosen:g},{beyond:g}"
        for key, values, edge, chosen, beyond in edges
        if len(values) > 1 and edge(values) == chosen and 1e-9 <= beyond <= 100
    ]
    if not tries:
        return None
    return f"These are at the edge of the values to choose from; try {' '.join(tries)} too."


def add_transition_prior(
    model: Any, config: Config, split: Split, folder: Path
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Counts transitions, chooses their weight, and writes the model with its prior.

    Args:
        model: A trained `SequenceModel` without a prior. It gets one.
        config: The configuration; `prior.weight` is not 0.
        split: The data.
        folder: The run, whose best weights are replaced.

    Returns:
        (report, ranks). The report is `prior` of metrics.json: `weight`, `epsilon`, `candidates`
        (all pairs with their NDCG@10 on the validation events), and `valid_alone` and `test_alone`
        (the metrics of the model without the prior). The ranks are those of the model without the
        prior, int32 [U], under the names `valid_alone` and `test_alone`.
    """
    prior, k = config.prior, config.evaluate.k
    layer = TransitionPrior(model.num_items, prior.neighbours, name="transition_prior")
    rows = decayed_transitions(
        split,
        layer.rows.width,
        span=prior.span,
        decay=prior.decay,
        backward=prior.backward,
        popularity_power=prior.popularity_power,
    )
    layer.rows.set_rows(*rows)
    pairs = candidates(prior)
    alone = {f"{part}_alone": rank_by_model(model, config, split, part) for part in _PARTS}
    # The prior has the weight 0 until a pair is chosen. The model already has it for the ranks
    # below: with a prior, a known history is enough, also if the model depends on the user alone.
    model.transition_prior = layer
    found = rank(_ranker(model, layer, [(0.0, 1.0), *pairs]), config, split, "valid")
    zero, *scores = (_score(column) for column in found.T)
    best = max(scores)
    weight, epsilon = pairs[scores.index(best)]
    if prior.weight == "auto" and zero > best:
        weight, best = 0.0, zero
    layer.weight.assign(weight)
    layer.epsilon.assign(epsilon)
    Checkpoints(folder).save_best(model)
    write_line(
        f"Prior of item transitions: weight {weight:g} and epsilon {epsilon:g}, "
        f"NDCG@{_METRIC} {_score(alone['valid_alone']):.4f} -> {best:.4f} on the validation events."
    )
    if weight and (note := at_the_edge(pairs, weight, epsilon)):
        write_line(note)
    report = {
        "weight": weight,
        "epsilon": epsilon,
        "candidates": [
            {"weight": one, "epsilon": other, f"NDCG@{_METRIC}": score}
            for (one, other), score in zip(pairs, scores, strict=True)
        ],
        **{name: summarise(ranks, k) for name, ranks in alone.items()},
    }
    return report, alone


def _score(ranks: np.ndarray) -> float:
    return summarise(ranks, [_METRIC])[f"NDCG@{_METRIC}"]


def _ranker(model: Any, layer: TransitionPrior, pairs: list[tuple[float, float]]):
    """Returns a function of a block that returns the ranks with each pair, int32 [B, P].

    `layer` must be the prior of the model, with the weight 0.
    """
    choices = np.array(pairs, np.float32)

    def ranks_by_pair(features):
        # A prior does not change popularity or `UNTRAINED`: a history without known items has no
        # prior, and the prior contains no untrained items.
        scores = model.recommendation_scores(features)
        items, shares = layer.shares(model.known(features)["history"][:, -model.max_length :])

        def ranks_of(choice):
            values = choice[0] * tf.math.log1p(shares / choice[1])
            both = add_prior(scores, (items, values), first=1)
            return ranks(both, features["target"], features["seen"])

        # One pair after the other, because each needs memory for the scores of all items.
        found = tf.map_fn(ranks_of, choices, fn_output_signature=tf.int32, parallel_iterations=1)
        return tf.transpose(found)

    return ranks_by_pair
