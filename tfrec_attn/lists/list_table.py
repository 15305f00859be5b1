"""Converts lists of users to a table for a file."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from tfrec_attn.lists.recommender import Lists


def list_table(users: pl.Series, items: Sequence[str], lists: Lists, nested: bool) -> pl.DataFrame:
    """Converts the lists of users to a table.

    Args:
        users: Ids of the users.
        items: Ids of the items 1..N of the model.
        lists: Lists of the users.
        nested: True for a row for each user, with lists; False for a row for each item of a list.
    """
    ids = pl.Series([None, *items], dtype=pl.String)
    return (_user_rows if nested else _item_rows)(users, ids, lists)


def _item_rows(users: pl.Series, items: pl.Series, lists: Lists) -> pl.DataFrame:
    """The table with a row for each item of each list."""
    user, column = np.nonzero(lists.rows)
    return pl.DataFrame(
        {
            "user_id": users.gather(user),
            "rank": pl.Series(column + 1, dtype=pl.Int32),
            "item_id": items.gather(lists.rows[user, column]),
            "score": lists.scores[user, column],
            "source": _sources(lists).gather(user),
        }
    )


def _user_rows(users: pl.Series, items: pl.Series, lists: Lists) -> pl.DataFrame:
    """The table with a row for each user."""
    shape = lists.rows.shape
    scores = pl.Series(lists.scores.ravel()).set(pl.Series(lists.rows.ravel() == 0), None)
    columns = {"items": items.gather(lists.rows.ravel()), "scores": scores}
    return pl.DataFrame(
        {
            "user_id": users,
            **{
                name: column.reshape(shape).arr.to_list().list.drop_nulls()
                for name, column in columns.items()
            },
            "source": _sources(lists),
        }
    )


def _sources(lists: Lists) -> pl.Series:
    return pl.Series(["model", "popular"]).gather(lists.popular.astype(np.int64))
