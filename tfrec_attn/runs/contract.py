"""Checks that a model of another package follows the contract of `SequenceModel`."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfrec_attn.errors import shown
from tfrec_attn.extensions import MODELS
from tfrec_attn.losses.features import with_wide_ids
from tfrec_attn.runs import weights


def check_contract(model: Any, name: str) -> None:
    """Checks a model of another package with a history of one item.

    Args:
        model: The model.
        name: Its `model.name`, for messages.

    Raises:
        ConfigError: If a method fails or returns a wrong result, or a checkpoint would not contain
            a weight of the model.
    """
    before = {id(one) for one in model.weights}
    layers = [one for one in model.submodules if isinstance(one, tf.keras.layers.Layer)]
    layers = [one for one in layers if not one.built]
    history = np.zeros((1, model.max_length), np.int32)
    history[0, -1] = model.num_items
    short, padded = (
        {"user": tf.ones([1], tf.int32), "history": tf.constant(one)}
        for one in (history[:, -1:], history)
    )
    try:
        vectors = [model.queries(features) for features in (short, padded)]
        items = model.item_vectors()
    except Exception as error:
        raise MODELS.failure(name, "fails for a history of one item", error) from None
    if {id(one) for one in model.weights} - before:
        late = ", ".join(one.name for one in layers if one.weights)
        raise MODELS.refusal(
            name,
            f"must build its layers in its constructor: call build(input_shape) of {late} there",
        )
    _check_vectors(model, name, items, *vectors)
    try:
        model.queries(with_wide_ids(padded))
    except Exception as error:
        raise MODELS.failure(name, "fails for ids of int64, as in training", error) from None
    if lost := weights.unnamed_weights(model):
        raise MODELS.refusal(
            name,
            "must keep its layers and weights as attributes, also in lists or dictionaries, but "
            f"{lost[0]} is in none",
        )
    _check_prior(model, name)


def _check_vectors(model: Any, name: str, items: tf.Tensor, query: tf.Tensor, padded: tf.Tensor):
    """Checks item vectors, and query vectors of one history without and with padding."""
    rows, dim = model.num_items + 1, items.shape[1]
    if items.shape[0] != rows:
        raise MODELS.refusal(
            name,
            f"must have item_vectors of {rows} rows, padding and items, but has {items.shape[0]}",
        )
    if query.shape.as_list() != [1, dim]:
        raise MODELS.refusal(
            name,
            f"must have query_vectors [B, {dim}], as wide as item_vectors, "
            f"but for one history they are {query.shape.as_list()}",
        )
    if not np.allclose(query, padded, rtol=1e-4, atol=1e-6):
        raise MODELS.refusal(
            name, "must have query_vectors that ignore padding: leave out positions with history 0"
        )


def _check_prior(model: Any, name: str) -> None:
    """Checks the prior of a history that has one item several times."""
    history = np.full((1, model.max_length), model.num_items, np.int32)
    features = {"user": tf.ones([1], tf.int32), "history": tf.constant(history)}
    try:
        prior = model.query(features).prior
        if prior is None:
            return
        items, values = (tf.convert_to_tensor(part) for part in prior)
    except Exception as error:
        raise MODELS.failure(name, "fails for the prior of a history", error) from None
    for what, part, dtype in (("items", items, tf.int32), ("values", values, tf.float32)):
        if part.dtype != dtype or part.shape != items.shape or items.shape[:-1] != [1]:
            raise MODELS.refusal(
                name,
                f"must have a prior of {what} {dtype.name} [B, P], but for one history they are "
                f"{part.dtype.name} {part.shape.as_list()}",
            )
    listed = items.numpy()[items.numpy() != 0]
    if (
        len(np.unique(listed)) < len(listed)
        or (listed < 0).any()
        or (listed > model.num_items).any()
    ):
        raise MODELS.refusal(
            name,
            "must have a prior of items 1..N, each once in a row, but for a history of one item "
            f"several times it lists {shown(items.numpy()[0].tolist())}",
        )
