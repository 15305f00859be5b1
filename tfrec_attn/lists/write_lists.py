"""Writes lists for all users of a log or a file: in parts, resumed after a kill."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.errors import DataError
from tfrec_attn.lists.id_file import checksum_of_ids, read_ids
from tfrec_attn.lists.model_folder import fingerprint
from tfrec_attn.lists.open_source import open_source
from tfrec_attn.lists.output_format import list_format
from tfrec_attn.lists.partial_output import PartialOutput, check_free
from tfrec_attn.lists.recommender import Lists, Recommender
from tfrec_attn.lists.user_histories import UserHistories
from tfrec_attn.lists.users_of_model import users_of_model

_USERS, _ENTRIES = 1 << 14, 1 << 22  # most of a part

# Function of the users that have a list, their total or None, and users a second.
Progress = Callable[[int, int | None, float], None]


@dataclasses.dataclass(frozen=True)
class ListReport:
    """What was written.

    Attributes:
        users: Users in the file.
        k: Items of a list.
        popular: Users of whom nothing is known, who get the popular items.
        short: Users whose list is shorter than k.
        unknown_events: Events of the histories with an item that the model does not know.
        resumed: Users whose lists were there already.
        seconds: Time for the others.
        notes: Sentences that the user should read.
    """

    users: int
    k: int
    popular: int
    short: int
    unknown_events: int
    resumed: int
    seconds: float
    notes: tuple[str, ...]


def write_lists(
    model: str | Path,
    to: str | Path,
    *,
    k: int | None = None,
    users: str | Path | None = None,
    histories: str | Path | None = None,
    exclude: str | Path | None = None,
    allow: str | Path | None = None,
    per_category: int | None = None,
    allow_category: list[str] | None = None,
    popularity_penalty: float = 0.0,
    diversity: float = 0.0,
    progress: Progress | None = None,
) -> ListReport:
    """Writes the best items of each user to a file.

    Args:
        model: A run, or a servable.
        to: New file, Parquet, CSV or JSON lines by the end of its name.
        k: Items of a list. None: 50, or all if there are fewer.
        users: File with the ids of the only users of the run's log.
        histories: File of histories, instead of the run's log.
        exclude: File with ids of items that are never recommended.
        allow: File with ids of the only items to recommend.
        per_category: Most items of a category in a list. None: no limit.
        allow_category: Categories of the only items to recommend.
        popularity_penalty: What is subtracted from the scores for each ln(1 + N share).
        diversity: Weight from 0 to 1 of the cosine with the items of the list.
        progress: Function that is called after each part.

    Raises:
        ConfigError, DataError: If an argument or a file cannot be used. Nothing is left then,
            except lists that the same call resumes from.
    """
    target, form = Path(to), list_format(to)
    check_free(target, form)
    allowed = None if allow is None else read_ids(allow, "--allow")
    excluded = None if exclude is None else read_ids(exclude, "--exclude")
    everybody = users_of_model(model, users, histories)
    source = open_source(model)
    others = per_category, allow_category, popularity_penalty, diversity
    recommender = Recommender(source, k, allowed, excluded, *others)
    request = {
        "model": fingerprint(source.path),
        "--k": recommender.k,
        "--allow": checksum_of_ids(allowed),
        "--exclude": checksum_of_ids(excluded),
        "--per-category": per_category,
        "--allow-category": allow_category,
        "--popularity-penalty": popularity_penalty,
        "--diversity": diversity,
        "set of users and histories": everybody.checksum,
    }
    output = PartialOutput(target, form)
    try:
        output.begin(request)
        report = _write(recommender, everybody, output, form.nested, progress)
        output.finish()
    except BaseException as error:
        # A file of histories that is wrong will be another one.
        output.leave(keep=not isinstance(error, DataError))
        raise
    output.leave()
    return report


def _write(
    recommender: Recommender,
    everybody: UserHistories,
    output: PartialOutput,
    nested: bool,
    progress: Progress | None,
) -> ListReport:
    resumed, begin = output.totals.get("users", 0), time.perf_counter()
    size = max(1, min(_USERS, _ENTRIES // recommender.k))
    table = _user_rows if nested else _item_rows
    items = pl.Series([None, *recommender.source.items], dtype=pl.String)
    for batch in everybody.batches(resumed, size):
        lists = recommender.recommend(batch)
        output.add(
            table(batch.users, items, lists),
            users=len(lists.rows),
            popular=int(np.count_nonzero(lists.popular)),
            short=int(np.count_nonzero((lists.rows == 0).any(axis=1))),
            unknown_events=lists.unknown_events,
        )
        if progress is not None:
            done = output.totals["users"]
            progress(done, everybody.total, (done - resumed) / (time.perf_counter() - begin))
    if not output.parts:
        raise DataError("There are no users to recommend to; the file of histories is empty.")
    return ListReport(
        **output.totals,
        k=recommender.k,
        resumed=resumed,
        seconds=time.perf_counter() - begin,
        notes=everybody.notes,
    )


def _item_rows(users: pl.Series, items: pl.Series, lists: Lists) -> pl.DataFrame:
    """A row for each item of each list."""
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
    """A row for each user."""
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
