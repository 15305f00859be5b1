"""Transfer of weights and optimizer slots to a model with more users and items."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.transitions import Transitions
from tfrec_attn.errors import ConfigError
from tfrec_attn.keras_versions import keras
from tfrec_attn.keras_versions.variables import variable_of
from tfrec_attn.runs import weights


class Neighbours(NamedTuple):
    """Pairs of a new item and a known item that are adjacent in histories, in either order.

    Attributes:
        added: New items, from 0 for the first, int [P].
        known: Item index 1..N of the old model, int [P].
        counts: How often the pair occurs, at least 1, int64 [P].
    """

    added: np.ndarray
    known: np.ndarray
    counts: np.ndarray


def known_neighbours(transitions: Transitions, num_known: int) -> Neighbours:
    """Returns the pairs of items above `num_known` with items up to it."""
    before = np.repeat(np.arange(len(transitions.offsets) - 1), np.diff(transitions.offsets))
    after, counts = transitions.neighbours, transitions.counts
    first = (before > num_known) & (after <= num_known)
    second = (after > num_known) & (before <= num_known)
    return Neighbours(
        np.concatenate([before[first], after[second]]) - num_known - 1,
        np.concatenate([after[first], before[second]]),
        np.concatenate([counts[first], counts[second]]),
    )


def extend_table(table: np.ndarray, count: int, neighbours: Neighbours | None = None) -> np.ndarray:
    """Adds rows to a table, each a mean of known rows.

        row = sum of counts * table[known] / sum of counts    over its neighbours

    A new row without neighbours is the mean of all rows except padding. A mean meets every max-norm
    constraint that the known rows meet.

    Args:
        table: float32 [N + 1, D], row 0 is padding.
        count: Number of rows of the result, at least N + 1.
        neighbours: Neighbours of the new rows; None: no neighbours. Default None.

    Returns:
        float32 [count, D].
    """
    result = np.empty((count, table.shape[1]), table.dtype)
    result[: len(table)] = table
    result[len(table) :] = table[1:].mean(axis=0, dtype=np.float64)
    if neighbours is not None:
        size = count - len(table)
        total = np.bincount(neighbours.added, neighbours.counts, size)
        has = total > 0
        for column in range(table.shape[1]):
            weighted = neighbours.counts * table[neighbours.known, column].astype(np.float64)
            sums = np.bincount(neighbours.added, weighted, size)
            result[len(table) :, column][has] = sums[has] / total[has]
    return result


def copy_weights(old: Any, new: Any, neighbours: Neighbours | None = None) -> None:
    """Copies all weights of a model, and extends its tables by `extend_table`.

    Args:
        old: A `SequenceModel`.
        new: A model of the same class and parameters, not compiled yet, whose users and items begin
            with those of `old`.
        neighbours: Neighbours of the new items; None: no neighbours. Default None.
    """
    items, users = ({variable_of(one).ref() for one in new.tables(of)} for of in ("items", "users"))
    known = weights.named_weights(old)
    for name, target in weights.named_weights(new).items():
        value = known[name].numpy()
        if target.ref() in items | users:
            beside = neighbours if target.ref() in items else None
            value = extend_table(value, target.shape[0], beside)
        target.assign(value)


def load_slots(optimizer: Any, model: Any, checkpoint: Path) -> bool:
    """Reads the state of an optimizer from the checkpoint of a compiled model.

    Args:
        optimizer: A Keras optimizer.
        model: The model that it trains.
        checkpoint: Prefix of the checkpoint.

    Returns:
        Whether the checkpoint has the state.

    Raises:
        ConfigError: If the checkpoint is damaged.
    """
    keras.build(optimizer, model.trainable_variables)
    try:
        weights.read_optimizer(checkpoint, model, optimizer)
    except (AssertionError, ValueError):
        return False
    except tf.errors.OpError as error:
        reason = str(error.message).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"the weights {checkpoint} are damaged ({reason}); train again."
        ) from None
    return True


def copy_slots(old: Any, old_model: Any, new: Any, new_model: Any) -> None:
    """Copies the slots and the step counter of an optimizer; slots of added rows do not change.

    Args:
        old: A built Keras optimizer.
        old_model: The model of `old`.
        new: A built optimizer of the same class and options, except the learning rate.
        new_model: The model of `new`, with more rows in some tables.
    """
    known = weights.named_state(old_model, old)
    for name, target in weights.named_state(new_model, new).items():
        if name == "learning_rate":
            continue
        value = known[name].numpy()
        if value.shape != target.shape:
            value = np.concatenate([value, target.numpy()[len(value) :]])
        target.assign(value)
