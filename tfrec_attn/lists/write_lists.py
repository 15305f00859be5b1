"""Writes lists for all users of a log or a file: in parts, resumed after a kill."""

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

_USERS, _ENTRIES = 1 << 14, 1 << 22  # most of a part

# Function of the users that have a list, their total or None, and users a second.
Progress = Callable[[int, int | None, float], None]
# The lists of some users, and their counts.
Table = tuple[pl.DataFrame, dict[str, int]]


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
    work: str | None = None,
    beam_options: Sequence[str] | None = None,
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
        work: Folder that the workers share. None means `to`.partial/beam, for workers on this
            machine.
        beam_options: Options of Apache Beam, whose workers then make the lists. None: this process.
        progress: Function that is called after each part.

    Raises:
        ConfigError, DataError: If an argument or a file cannot be used. Nothing is left then,
            except lists that the same call resumes from.
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
