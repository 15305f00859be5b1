"""Adds items to a trained model: the row of a new item is a mean of rows of known items."""

from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn import models
from tfrec_attn.errors import ConfigError
from tfrec_attn.layers.item_neighbours import ItemNeighbours
from tfrec_attn.models.base import SequenceModel
from tfrec_attn.replay.event_blocks import padded
from tfrec_attn.runtime.runner import Runner
from tfrec_attn.training.transfer import extend_table

from .model_copy import weights_of
from .new_items import NewItems, listed

_AT_ONCE = 100
_EVENTS, _K = 200, 10
_ELEMENTS = 1 << 24


def add_items(model: SequenceModel, new: NewItems) -> SequenceModel:
    """Copies a model with more items.

    In each embedding table of items, the row of a new item is the weighted mean of the rows of its
    neighbours. The other weights and the scores of known items do not change.

    Args:
        model: A `SequenceModel` with vocabularies; it does not change.
        new: The new items.

    Returns:
        A model of the same class, not compiled.

    Raises:
        ConfigError: If a weight of the model depends on the number of items, but is not an
            embedding table.
    """
    if model.trains_on == models.COUNTS and not model.joins_runs:
        raise ConfigError(
            f"--add-items needs a model whose items are rows of tables, but "
            f"{type(model).__name__} counts the events; train it again, which takes seconds."
        )
    source, count = model.for_serving(), model.num_items + len(new.ids)
    result = type(source).from_config({**source.get_config(), "num_items": count})
    if model.transition_prior is not None:
        prior = source.transition_prior = model.transition_prior
        longer = {**prior.get_config(), "num_items": count}
        result.transition_prior = type(prior).from_config(longer)
    tables = {id(table) for table in result.tables("items")}
    # A new item has no counted neighbours.
    layers = [layer for layer in result.submodules if isinstance(layer, ItemNeighbours)]
    counted = {id(variable) for layer in layers for variable in (layer.items, layer.values)}
    for old, target in zip(weights_of(source), weights_of(result), strict=True):
        value = old.numpy()
        if id(target) in tables:
            value = extend_table(value, count + 1, new.neighbours)
        elif id(target) in counted:
            longer = np.zeros(target.shape, value.dtype)
            longer[: value.shape[0], : value.shape[1]] = value
            value = longer
        elif value.shape != target.shape:
            raise ConfigError(
                f"--add-items needs a model whose items are rows of tables, but the weight "
                f"{old.name} of {type(model).__name__} is not a table; train it again with "
                "train.warm_start."
            )
        target.assign(value)
    _set_ids(model, result, new)
    return result


def _set_ids(model: SequenceModel, result: SequenceModel, new: NewItems) -> None:
    result.set_vocabularies([*model.item_vocabulary.ids(), *new.ids], model.user_vocabulary)
    result.repeats, result.trained_users = model.repeats, model.trained_users
    if model.trained_items is not None:
        result.trained_items = np.append(model.trained_items, np.ones(len(new.ids), bool))
    if model.popularity is not None:
        # Where nothing is known, new items come after the popular ones.
        zeros = np.zeros(len(new.ids), np.float32)
        result.popularity = np.append(model.popularity, zeros)


def check_added_items(
    folder: Path, model: SequenceModel, events: pl.DataFrame, ids: list[str], serving: dict
) -> None:
    """Checks that a version serves the new items, and that the lists without them are as before.

    Args:
        folder: Folder of the version.
        model: The model without the new items.
        events: Held-out events as from `read_events`.
        ids: Ids of the new items.
        serving: Settings of the export: "max_k", "keep_seen" and "index".

    Raises:
        ConfigError: If a new item is not served or a list has changed.
    """
    with Runner(folder, optimize=False) as runner:
        for some in events.head(_EVENTS).iter_slices(max(1, _ELEMENTS // model.num_items)):
            if not _agrees(runner, model, some, ids, serving):
                raise ConfigError(
                    "With the new items the lists of the others changed; train again."
                )
        for begin in range(0, len(ids), _AT_ONCE):
            if not _serves(runner, ids[begin : begin + _AT_ONCE], model.uses_history):
                raise ConfigError(f"The new items {listed(ids)} are not served; train again.")


def _agrees(runner, model, events, ids, serving) -> bool:
    """Whether the best items, without the new ones, have the scores of the model."""
    users, histories = events["user_id"].to_list(), events["history"].to_list()
    k = min(_K, serving["max_k"], model.num_items)
    items, expected = model.recommend(histories, k, users, not serving["keep_seen"])
    request = {"user_id": users, "history": padded(histories, max(map(len, histories)) + 1)}
    if serving["index"] is None:
        options = {"exclude": [ids] * len(users), "allow": [[""]] * len(users)}
        found = runner.run("recommend", **request, **options, k=[k] * len(users))["scores"]
    else:
        # The index may not find all of these items, but `score` scores them.
        candidates = [[*one, *[""] * (k - len(one))] for one in items]
        found = runner.run("score", **request, candidates=candidates)["scores"]
    return all(
        np.allclose(scores[: len(own)], own, rtol=1e-4, atol=1e-5)
        for scores, own in zip(found, expected, strict=True)
    )


def _serves(runner, ids, uses_history) -> bool:
    """Whether the servable scores and recommends items, and knows them in histories."""
    nothing = {"user_id": [""], "history": [[""]]}
    known = runner.run("score", **nothing, candidates=[ids])["known"].all()
    options = {"exclude": [[""]], "allow": [ids], "k": [1]}
    best = runner.run("recommend", **nothing, **options)["items"][0, 0].decode()
    histories = {"user_id": [""] * len(ids), "history": [[item] for item in ids]}
    source = runner.run("serving_default", **histories)["source"]
    return known and best in ids and (not uses_history or (source == b"model").all())
