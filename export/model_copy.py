"""Copies a model: in float32 with one item matrix for serving, or with permuted items."""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.keras_versions.variables import variable_of
from tfrec_attn.layers.item_neighbours import ItemNeighbours
from tfrec_attn.models.base import SequenceModel

from .compact_matrix import FLOAT32, CompactMatrix, rows_of


def with_item_matrix(
    model: SequenceModel, kind: str = FLOAT32
) -> tuple[SequenceModel, tf.Variable | CompactMatrix]:
    """Copies a model in float32 and makes its item tables columns of one item matrix.

    Args:
        model: A `SequenceModel`; it does not change.
        kind: Type of the matrix: "float32" (default), "bfloat16" or "int8".

    Returns:
        (copy, matrix). The matrix [N + 1, D'] has zeros in row 0. It is a variable if `kind` is
        "float32", else a `CompactMatrix`.
    """
    prior, model = model.transition_prior, model.for_serving()
    if model.transition_prior is not prior:
        model.transition_prior = prior
    policy = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("float32")
    try:
        copy = model.twin()
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)
    copy.set_weights([variable.numpy() for variable in weights_of(model)])
    vectors = copy.item_vectors().numpy()
    vectors[0] = 0.0
    if kind == FLOAT32:
        matrix = tf.Variable(vectors, trainable=False, name="item_vectors")
    else:
        matrix = CompactMatrix(vectors, kind)
    for table, column in copy.item_columns().items():
        table.share(matrix, column, rows_of)
    return copy, matrix


def weights_read(model: SequenceModel, functions: list) -> list[tf.Variable]:
    """Returns the weights of a model that concrete functions read."""
    read = {variable.ref() for function in functions for variable in function.variables}
    return [one for one in map(variable_of, model.weights) if one.ref() in read]


def permute_items(model: SequenceModel, order: np.ndarray) -> SequenceModel:
    """Copies a model with its items in another order; responses in ids do not change.

    Args:
        model: A `SequenceModel`; it does not change.
        order: A permutation of 0..N - 1, int [N]. Item i + 1 of the copy is item order[i] + 1 of
            the model.

    Returns:
        A new model of the same class, not compiled, with its own weights and item vocabulary.

    Raises:
        ValueError: If `order` is not a permutation.
    """
    order = np.asarray(order)
    count = model.num_items
    if order.shape != (count,) or not np.array_equal(np.sort(order), np.arange(count)):
        raise ValueError(
            f"order must hold each of 0..{count - 1} once, "
            f"but is {np.array2string(order, threshold=6)}."
        )
    rows = np.concatenate([[0], order + 1])
    tables = {id(table) for table in model.tables("items")}
    result = model.twin()
    for new, old in zip(weights_of(result), weights_of(model), strict=True):
        new.assign(tf.gather(old, rows) if id(old) in tables else old)
    for layer in result.submodules:
        if isinstance(layer, ItemNeighbours):
            layer.permute(order)
    result.trained_users = model.trained_users
    result.trained_items = None if model.trained_items is None else model.trained_items[order]
    result.user_vocabulary = model.user_vocabulary
    result.item_vocabulary = model.item_vocabulary and Vocabulary(
        model.item_vocabulary.ids(rows[1:])
    )
    return result


def weights_of(model: SequenceModel) -> list[tf.Variable]:
    """Returns the weights of a model, without the states of metrics that Keras adds to them."""
    of_metrics = {id(state) for metric in model.metrics for state in metric.variables}
    return [variable for variable in model.weights if id(variable) not in of_metrics]
