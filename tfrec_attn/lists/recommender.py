"""Makes lists of the best items for batches of users."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from tfrec_attn.errors import ConfigError, shown
from tfrec_attn.lists.batch_queries import BatchQueries
from tfrec_attn.lists.best_items import BestItems
from tfrec_attn.lists.list_reranking import ListReranking
from tfrec_attn.lists.source import Queries, Source
from tfrec_attn.lists.user_histories import UserBatch
from tfrec_attn.models.base.untrained import FLOOR, UNTRAINED

DEFAULT_K = 50


@dataclass(frozen=True, eq=False)
class Lists:
    """Lists of B users.

    Attributes:
        rows: Items 1..N, best first, int32 [B, k]; 0 where fewer items are left.
        scores: Scores of the items, float32 [B, k].
        popular: Whether a list is the popular items, because nothing is known, bool [B].
        unknown_events: Number of events with an item that the model does not know.
    """

    rows: np.ndarray
    scores: np.ndarray
    popular: np.ndarray
    unknown_events: int

    def counts(self) -> dict[str, int]:
        """Returns `users`, `popular`, `short` and `unknown_events`, as in a `ListReport`."""
        return {
            "users": len(self.rows),
            "popular": int(np.count_nonzero(self.popular)),
            "short": int(np.count_nonzero((self.rows == 0).any(axis=1))),
            "unknown_events": int(self.unknown_events),
        }


class Recommender:
    """Recommends the best items to batches of users.

    Args:
        source: The model.
        k: Number of items of a list. None (default): 50, or all if there are fewer.
        allow: Ids of the items that can be recommended. None (default): all items.
        exclude: Ids of items that are never recommended. None (default): no items.
        per_category: Most items of a category in a list. None (default): any number.
        allow_category: Categories that can be recommended. None (default): all categories.
        popularity_penalty: As in `ListReranking` (default: 0).
        diversity: As in `ListReranking` (default: 0).

    Attributes:
        source: As given.
        k: Number of items of a list.

    Raises:
        ConfigError: If no item is left, a number is out of range, or the model does not know the
            items or the categories.
    """

    def __init__(
        self,
        source: Source,
        k: int | None = None,
        allow: list[str] | None = None,
        exclude: list[str] | None = None,
        per_category: int | None = None,
        allow_category: list[str] | None = None,
        popularity_penalty: float = 0.0,
        diversity: float = 0.0,
    ):
        self.source = source
        self._batches = BatchQueries(source)
        rows = self._candidates(allow, exclude, allow_category)
        self.k = _checked_k(k, len(rows))
        trained = source.trained[rows - 1]
        # Untrained items come after all others, in the order of their rows.
        self._trained, self._last = rows[trained], rows[~trained]
        self._column = np.zeros(len(source.items) + 1, np.int32)
        self._column[self._trained] = np.arange(1, len(self._trained) + 1)
        self._rows = np.append(0, self._trained).astype(np.int32)
        index = self._trained - 1
        self._reranking, self._pool = None, self.k
        if per_category is not None:
            self._categories("--per-category")
            if per_category < 1:
                raise ConfigError(f"--per-category must be 1 or greater, but is {per_category}.")
        if per_category or popularity_penalty or diversity:
            options = per_category or 0, popularity_penalty, diversity
            self._reranking = ListReranking(source, self.k, *options)
            self._pool = min(self._reranking.pool(self.k), len(rows))
        self._width = min(self._pool, len(self._trained))
        self._best = BestItems(source.vectors[index], source.popularity[index], self._width)

    def recommend(self, batch: UserBatch) -> Lists:
        """Returns the lists of the users of a batch, in order."""
        histories, count = self._batches.known(batch), len(batch.lengths)
        rows = np.zeros((count, self.k), np.int32)
        scores = np.zeros((count, self.k), np.float32)
        popular = np.zeros(count, bool)
        for index, queries in self._batches.blocks(batch.users, histories):
            hidden = np.zeros((len(index), 0), np.int32)
            if not self.source.keep_seen:
                hidden = histories.rows(index).latest()
            rows[index], scores[index] = self._ranked(queries, hidden)
            popular[index] = queries.nothing_known
        return Lists(rows, scores, popular, len(batch.items) - len(histories.items))

    def _candidates(
        self,
        allow: list[str] | None,
        exclude: list[str] | None,
        allow_category: list[str] | None,
    ) -> np.ndarray:
        count = len(self.source.items)
        rows = np.arange(1, count + 1)
        if allow_category is not None:
            rows = rows[np.isin(self._categories("--allow-category"), allow_category)]
            if not len(rows):
                raise ConfigError(
                    "--allow-category must name categories of the items file, but no item has "
                    f"{' or '.join(map(shown, allow_category))}."
                )
        if allow is not None:
            rows = np.intersect1d(rows, self._known_rows(allow, "--allow"))
        if exclude is not None:
            rows = np.setdiff1d(rows, self._known_rows(exclude, "--exclude"))
        if not len(rows) and allow_category is not None:
            raise ConfigError(
                "--allow, --exclude and --allow-category together leave no item; leave one out."
            )
        if not len(rows):
            of = f"{count} items of the model" if allow is None else "items of --allow"
            raise ConfigError(f"--exclude leaves none of the {of}; leave some out of it.")
        return rows

    def _categories(self, option: str) -> list[str]:
        if self.source.categories is None or not any(self.source.categories):
            raise ConfigError(
                f"{option} needs categories, which {self.source.path} does not have; train with "
                "data.items=FILE, a table with a column category."
            )
        return self.source.categories

    def _known_rows(self, ids: list[str], option: str) -> np.ndarray:
        rows = self._batches.numbers(pl.Series(ids, dtype=pl.String))
        if not rows.any():
            raise ConfigError(
                f"{option} must name items of the model, but it knows none of the {len(ids)} ids; "
                "give ids as they are in the log."
            )
        return rows[rows > 0]

    def _ranked(self, queries: Queries, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(items [B, k], scores [B, k]) of a block, without the items `hidden` [B, X]."""
        shape = len(hidden), self._pool
        rows, scores = np.zeros(shape, np.int32), np.full(shape, FLOOR)
        columns, width = self._column[hidden], self._width
        popular = queries.nothing_known
        by_query, by_popularity = np.flatnonzero(~popular), np.flatnonzero(popular)
        if len(by_query) and width:
            found, scores[by_query, :width] = self._of_queries(queries, columns, by_query)
            rows[by_query, :width] = self._rows[found]
        if len(by_popularity) and width:
            found, scores[by_popularity, :width] = self._best.popular(columns[by_popularity])
            rows[by_popularity, :width] = self._rows[found]
        self._fill(rows, scores, hidden)
        if self._reranking is None:
            return rows, scores
        return self._reranking.first(rows, scores, popular)

    def _of_queries(self, queries: Queries, hidden: np.ndarray, some: np.ndarray) -> tuple:
        """(columns, scores) of the best items for some of the queries."""
        prior = None
        if queries.prior is not None:
            items, values = (part[some] for part in queries.prior)
            prior = self._column[items], values
        return self._best.of(queries.vectors[some], hidden[some], prior)

    def _fill(self, rows: np.ndarray, scores: np.ndarray, hidden: np.ndarray) -> None:
        """Appends untrained items to the lists that are too short."""
        if not len(self._last):
            return
        for row in np.flatnonzero((rows == 0).any(axis=1)):
            free = self._last[~np.isin(self._last, hidden[row])]
            count = np.count_nonzero(rows[row])
            more = free[: self._pool - count]
            rows[row, count : count + len(more)] = more
            scores[row, count : count + len(more)] = UNTRAINED


def _checked_k(k: int | None, most: int) -> int:
    if k is None:
        return min(DEFAULT_K, most)
    if not 1 <= k <= most:
        raise ConfigError(
            f"--k must be in 1..{most}, the number of items that can be recommended, but is {k}."
        )
    return k
