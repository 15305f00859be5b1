"""A model with its items in another order."""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.vocabulary import Vocabulary

from .weights import weights_of


def permuted(model, order):
    """A model that gives the same answers by raw id, its item i + 1 being item order[i] + 1 of the
    given one.

    Args:
      model: a `SequenceModel`; stays as it is.
      order: int [N], a permutation of 0..N - 1.

    Returns: a new model of the same class, not compiled, with its own weights and vocabularies.

    Errors: ValueError when `order` is not a permutation.
    """
    order = np.asarray(order)
    if order.shape != (model.num_items,) or not np.array_equal(
        np.sort(order), np.arange(model.num_items)
    ):
        raise ValueError(
            f"order must hold each of 0..{model.num_items - 1} once, but is {np.array2string(order, threshold=6)}."
        )
    rows = np.concatenate([[0], order + 1])
    tables = {table.ref() for table in model.tables("items")}
    result = type(model).from_config(model.get_config())
    for new, old in zip(weights_of(result), weights_of(model), strict=True):
        new.assign(tf.gather(old, rows) if old.ref() in tables else old)
    result.trained_users = model.trained_users
    result.trained_items = None if model.trained_items is None else model.trained_items[order]
    result.user_vocabulary = model.user_vocabulary
    result.item_vocabulary = model.item_vocabulary and Vocabulary(
        model.item_vocabulary.ids(rows[1:])
    )
    return result
