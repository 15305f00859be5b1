"""Computes the queries of batches of users, in blocks with histories of similar length."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.vocabulary import numbers_of
from tfrec_attn.evaluation.held_out import block_size
from tfrec_attn.lists.source import Queries, Source
from tfrec_attn.lists.user_histories import Histories, UserBatch


class BatchQueries:
    """Computes the queries of users with histories in raw ids.

    Args:
        source: The model.
    """

    def __init__(self, source: Source):
        self._source = source
        self._enum = pl.Enum(source.items)
        self._size = block_size(len(source.items))
        self._trained = np.append(False, source.trained)

    def numbers(self, ids: pl.Series) -> np.ndarray:
        """Returns the numbers 1..N of item ids, int32; 0 if the model does not know an id."""
        return numbers_of(ids, self._enum)

    def known(self, batch: UserBatch) -> Histories:
        """Returns the histories without the items that the model does not know."""
        histories = Histories(self.numbers(batch.items), batch.lengths)
        return histories.filter(histories.items > 0)

    def blocks(
        self, users: pl.Series, histories: Histories
    ) -> Iterator[tuple[np.ndarray, Queries]]:
        """Yields blocks of users: (their positions in `users`, their queries).

        Args:
            users: Ids of the users.
            histories: Their histories, as from `known`.
        """
        events = histories.filter(self._trained[histories.items])
        order = np.argsort(histories.lengths, kind="stable")
        for begin in range(0, len(order), self._size):
            index = order[begin : begin + self._size]
            some = users.gather(index).to_list()
            yield index, self._source.queries(some, events.rows(index))
