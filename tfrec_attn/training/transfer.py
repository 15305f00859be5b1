"""Weights and optimizer slots of a trained model, taken into one of the same kind with more users
and items.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.transitions import Transitions
from tfrec_attn.errors import ConfigError


class Neighbours(NamedTuple):
    """Pairs of a new and a known item that stand beside each other in histories, in either order.

    Attributes:
      added: new items, from 0 for the first, int [P].
      known: item index 1..N of the old model, int [P].
      counts: how often, at least 1, int64 [P].
    """

    added: np.ndarray
    known: np.ndarray
    counts: np.ndarray


def known_neighbours(transitions: Transitions, num_known: int) -> Neighbours:
    """The pairs of items above `num_known` with items up to it."""
    before = np.repeat(np.arange(len(transitions.offsets) - 1), np.diff(transitions.offsets))
    after, counts = transitions.neighbours, transitions.counts
    ahead, behind = (
        (before > num_known) & (after <= num_known),
        (after > num_known) & (before <= num_known),
    )
    return Neighbours(
        np.concatenate([before[ahead], after[behind]]) - num_known - 1,
        np.concatenate([after[ahead], before[behind]]),
        np.concatenate([counts[ahead], counts[behind]]),
    )


def grown(table: np.ndarray, count: int, neighbours: Neighbours | None = None) -> np.ndarray:
    """A table with more rows: the known ones as they are, each new one a mean of known ones.

        row = sum of counts * table[known] / sum of counts   over its neighbours;   without any, the mean of all rows but that of padding

    A mean is in every ball that the known rows are in.

    Args:
      table: float32 [N + 1, D], row 0 is padding.
      count: rows wanted, at least N + 1.
      neighbours: of the new rows, or None for the mean of all.

    Returns: float32 [count, D].
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


def copy_weights(old, new, neighbours: Neighbours | None = None) -> None:
    """Gives a model all weights of another; rows of its tables that the other has not are means
    (`grown`).

    Args:
      old: a `SequenceModel`.
      new: one of the same class and parameters, not compiled yet, whose users and items begin with
          those of `old`.
      neighbours: of the new items.
    """
    of_items = {table.ref() for table in new.tables("items")}
    tables = of_items | {table.ref() for table in new.tables("users")}
    for source, target in zip(old.weights, new.weights, strict=True):
        value = source.numpy()
        if target.ref() in tables:
            value = grown(value, target.shape[0], neighbours if target.ref() in of_items else None)
        target.assign(value)


def load_slots(optimizer, variables, checkpoint: str) -> bool:
    """Reads the state of an optimizer for some variables from the checkpoint of a compiled model ->
    whether it was there.

    Raises:
        ConfigError: If the checkpoint is damaged.
    """
    optimizer.build(variables)
    try:
        tf.train.Checkpoint(optimizer=optimizer).read(
            checkpoint
        ).expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError):
        return False
    except tf.errors.OpError as error:
        reason = str(error.message).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"the weights {checkpoint} are damaged ({reason}); train again."
        ) from None
    return True


def copy_slots(old, new) -> None:
    """Gives an optimizer the slots and the step counter of another; rows that the other has not
    keep their initial values.

    Args:
      old: a built Keras optimizer.
      new: one of the same class and options, built for the same variables in the same order, some
          of them with more rows.
    """
    old, new = (getattr(optimizer, "inner_optimizer", optimizer) for optimizer in (old, new))
    for source, target in zip(old.variables, new.variables, strict=True):
        value = source.numpy()
        if source.shape != target.shape:
            value = np.concatenate([value, target.numpy()[len(value) :]])
        target.assign(value)
