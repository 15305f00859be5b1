"""The items that occur together with each item in the training events, with weights."""

import numbers
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrec_attn.data.sequences.pair_sums import PairBlock, PairSums
from tfrec_attn.data.sequences.splits import Split, item_counts
from tfrec_attn.data.sequences.transitions import (
    TrainingEvents,
    most_pairs,
    pairs_of_steps,
    training_events,
)


class NeighbourRows(NamedTuple):
    """The neighbours of each item with the greatest weights, best first.

    Attributes:
        items: Items 1..N, int32 [N + 1, K]; 0 fills a shorter row. Row 0 is for padding.
        values: Weights of `items`, float32 [N + 1, K]; 0 where there is no item.
    """

    items: np.ndarray
    values: np.ndarray


def decayed_transitions(
    split: Split,
    neighbours: int,
    *,
    span: int = 50,
    decay: float = 0.5,
    backward: float = 0.0,
    popularity_power: float = 0.25,
) -> NeighbourRows:
    """Counts how often item j follows item i in a history; more distant pairs count less.

        R[i, j] = (sum of d^-decay over pairs with j d steps after i, d <= span,
                   + backward * the same with j d steps before i) / popularity_j^popularity_power

    Only training events count. With a span of 1 and all other parameters 0, these are the counts of
    transitions.

    Args:
        split: The events.
        neighbours: K, maximum number of neighbours in a row.
        span: Maximum number of steps d between the two events. Default 50.
        decay: Exponent of the steps. Default 0.5.
        backward: Weight of the pairs in the opposite order. Default 0.
        popularity_power: Exponent of the number of training events of j. Default 0.25.
    """
    counts = np.maximum(item_counts(split), 1).astype(np.float64)

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
        for events in training_events(split):
            for step, (first, second) in enumerate(pairs_of_steps(events, span), start=1):
                yield first, second, step**-decay
                if backward:
                    yield second, first, backward * step**-decay

    def weights(block: PairBlock) -> np.ndarray:
        return block.sums / counts[block.second - 1] ** popularity_power

    number = most_pairs(split, span) * (2 if backward else 1)
    return _best_rows(split, pairs(), number, weights, neighbours)


def check_decay(span: int, decay: float, backward: float, popularity_power: float) -> None:
    """Checks parameters of `decayed_transitions`.

    Raises:
        ValueError: If a parameter is not in its range.
    """
    if not isinstance(span, numbers.Integral) or isinstance(span, bool) or span < 1:
        raise ValueError(f"`span` must be an integer of at least 1; got {span!r}.")
    for name, value in (
        ("decay", decay),
        ("backward", backward),
        ("popularity_power", popularity_power),
    ):
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 <= value <= 100:
            raise ValueError(f"`{name}` must be from 0 to 100; got {value!r}.")


def co_occurrences(split: Split, neighbours: int, *, shrink: float = 0.0) -> NeighbourRows:
    """Returns the cosine similarity of items by the users who have both in the training events.

        W[i, j] = |users of i and j| / (sqrt(|users of i| |users of j|) + shrink),   i != j

    Args:
        split: The events.
        neighbours: K, maximum number of neighbours in a row.
        shrink: Constant in the denominator; with a larger one, rare pairs count less. Default 0.
    """
    num_items = split.sequences.num_items
    users = np.zeros(num_items + 1, np.int64)
    for events in training_events(split):
        users += np.bincount(_first_events(events, num_items).items, minlength=num_items + 1)

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
        for events in training_events(split):
            for one, other in pairs_of_steps(_first_events(events, num_items), num_items):
                yield one, other, 1.0
                yield other, one, 1.0

    def weights(block: PairBlock) -> np.ndarray:
        norms = np.sqrt(users[block.first].astype(np.float64) * users[block.second])
        return block.sums / (norms + shrink)

    return _best_rows(split, pairs(), 2 * most_pairs(split, num_items), weights, neighbours)


def popularity_levels(counts: np.ndarray) -> np.ndarray:
    """Returns the ranks of the counts, scaled to [0, 1), float32 [N]; equal counts are equal.

    Few counts are different, so the levels are far enough apart to break ties of scores.
    """
    distinct, level = np.unique(counts, return_inverse=True)
    return (level / len(distinct)).astype(np.float32)


def _first_events(events: TrainingEvents, num_items: int) -> TrainingEvents:
    """Returns the first event of each user with each item."""
    lengths = events.ends - events.begins
    user = np.repeat(np.arange(len(lengths)), lengths)
    event = np.arange(len(user)) + np.repeat(
        events.begins - (np.cumsum(lengths) - lengths), lengths
    )
    keys = user * np.int64(num_items + 1) + events.items[event]
    first = np.sort(np.unique(keys, return_index=True)[1])
    ends = np.cumsum(np.bincount(user[first], minlength=len(lengths)))
    return TrainingEvents(events.items[event[first]], np.append(0, ends)[:-1], ends)


def _best_rows(
    split: Split,
    pairs: Iterator[tuple[np.ndarray, np.ndarray, float]],
    number: int,
    weights: Callable[[PairBlock], np.ndarray],
    neighbours: int,
) -> NeighbourRows:
    """Sums the weights of about `number` pairs, and keeps the best neighbours of each item.

    `pairs` yields (first, second, weight of each of these pairs). `weights` turns the sums of pairs
    into values of the rows, above 0.
    """
    num_items, popularity = split.sequences.num_items, item_counts(split)
    items = np.zeros((num_items + 1, neighbours), np.int32)
    values = np.zeros((num_items + 1, neighbours), np.float32)
    with tempfile.TemporaryDirectory(prefix="neighbours-") as folder:
        sums = PairSums(Path(folder), num_items, number)
        for first, second, weight in pairs:
            sums.add(first, second, weight)
        for block in sums.blocks():
            value = weights(block)
            # Among equal values, popular items come first.
            order = np.lexsort((-popularity[block.second - 1], -value, block.first))
            row = block.first[order]
            place = np.arange(len(row)) - np.searchsorted(row, row)
            kept = place < neighbours
            row, place, order = row[kept], place[kept], order[kept]
            items[row, place], values[row, place] = block.second[order], value[order]
    return NeighbourRows(items, values)
