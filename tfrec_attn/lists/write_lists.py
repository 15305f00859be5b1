"""Writes the lists of all users of a log or a file, in parts, so that work resumes after a kill."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.lists.id_file import checksum_of_ids, read_ids
from tfrec_attn.lists.list_table import list_table
from tfrec_attn.lists.lists_on_workers import tables_of_workers
from tfrec_attn.lists.model_folder import fingerprint, open_source
from tfrec_attn.lists.output_format import LIST_FORMATS, output_format
from tfrec_attn.lists.partial_output import BEAM, PartialOutput, check_free, partial_output
from tfrec_attn.lists.recommender import Recommender
from tfrec_attn.lists.user_histories import UserBatch, UserHistories
from tfrec_attn.lists.users_of_model import users_of_model

_USERS, _ENTRIES = 1 << 14, 1 << 22  # Most users of a part, and most items of its lists.

# Function of (number of users with a list, total number or None, users a second).
Progress = Callable[[int, int | None, float], None]
# (table of lists, their `Lists.counts`).
Table = tuple[pl.DataFrame, dict[str, int]]


@dataclasses.dataclass(frozen=True)
class ListReport:
    """Figures of the written lists.

    Attributes:
        users: Number of users in the file.
        k: Number of items of a list.
        popular: Number of users who get the popular items, because nothing is known of them.
        short: Number of users whose list is shorter than k.
        unknown_events: Number of events with an item that the model does not know.
        resumed: Number of users whose lists an earlier call had written.
        seconds: Time of this call for the other users.
        notes: Sentences for the user of the command.
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
    work: str | None = None,
    beam_options: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> ListReport:
    """Writes the best items of each user to a file.

    Args:
        model: A run or a servable.
        to: New file. The end of its name chooses Parquet, CSV or JSON lines.
        k: Number of items of a list. None (default): 50, or all if there are fewer.
        users: File with the ids of users of the run's log. None (default): all users.
        histories: File of histories, instead of the run's log.
        exclude: File with ids of items that are never recommended.
        allow: File with ids of the items that can be recommended. None (default): all items.
        per_category: Most items of a category in a list. None (default): any number.
        allow_category: Categories that can be recommended. None (default): all categories.
        popularity_penalty: The score of an item falls by this number times ln(1 + N share), as in
            `tfrec_attn.lists.reranking` (default: 0).
        diversity: Weight of the cosine with other items of the list, from 0 (default) to 1.
        work: Folder that this process and the workers share. None (default): `to`.partial/beam, for
            workers on this machine.
        beam_options: Options of Apache Beam, whose workers then make the lists. None (default):
            this process makes them.
        progress: Function that is called after each part.

    Raises:
        ConfigError: If an argument or a file cannot be used. Then no files are left, except lists
            from which the same call resumes.
        DataError: If the histories cannot be used, or the pipeline fails.
        ReadError: If the histories cannot be read to their end. The same call resumes.
    """
    if work is not None and beam_options is None:
        raise ConfigError("--work needs --runner: give both, or leave it out.")
    target, form = Path(to), output_format(to, LIST_FORMATS, "--to")
    check_free(target, form)
    allowed = None if allow is None else read_ids(allow, "--allow")
    excluded = None if exclude is None else read_ids(exclude, "--exclude")
    everybody = users_of_model(model, users, histories)
    source = open_source(model)
    others = per_category, allow_category, popularity_penalty, diversity
    options = k, allowed, excluded, *others
    recommender = Recommender(source, *options)
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
    with partial_output(target, form, request) as output:
        batches = partial(everybody.batches, output.totals.get("users", 0))
        size = max(1, min(_USERS, _ENTRIES // recommender.k))
        if beam_options is None:
            tables = _tables(recommender, batches(size), form.nested)
        else:
            shared = work or str(output.folder / BEAM)
            arguments = str(source.path), *options
            tables = tables_of_workers(batches(size), arguments, form.nested, shared, beam_options)
        report = _write(tables, recommender.k, everybody, output, progress)
        output.finish()
    return report


def _tables(
    recommender: Recommender, batches: Iterable[UserBatch], nested: bool
) -> Iterator[Table]:
    for batch in batches:
        lists = recommender.recommend(batch)
        yield list_table(batch.users, recommender.source.items, lists, nested), lists.counts()


def _write(
    tables: Iterable[Table],
    k: int,
    everybody: UserHistories,
    output: PartialOutput,
    progress: Progress | None,
) -> ListReport:
    resumed, begin = output.totals.get("users", 0), time.perf_counter()
    for frame, counts in tables:
        output.add(frame, **counts)
        if progress is not None:
            done = output.totals["users"]
            progress(done, everybody.total, (done - resumed) / (time.perf_counter() - begin))
    if not output.parts:
        raise DataError("There are no users to recommend to; the file of histories is empty.")
    return ListReport(
        **output.totals,
        k=k,
        resumed=resumed,
        seconds=time.perf_counter() - begin,
        notes=everybody.notes,
    )
