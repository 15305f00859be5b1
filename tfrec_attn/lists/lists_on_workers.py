"""Makes lists on the workers of Apache Beam, batch by batch, the same as in one process."""

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from tfrec_attn.data.shards.beam_files import (
    read_frame,
    read_json,
    working_folder,
    write_frame,
    write_json,
)
from tfrec_attn.errors import DataError
from tfrec_attn.lists.list_table import list_table
from tfrec_attn.lists.model_folder import open_source
from tfrec_attn.lists.recommender import Recommender
from tfrec_attn.lists.user_histories import UserBatch
from tfrec_attn.runtime.beam_runner import Engine, package_version, require_version


def tables_of_workers(
    batches: Iterable[UserBatch],
    recommender: Sequence[object],
    nested: bool,
    work: str,
    options: Sequence[str],
) -> Iterator[tuple[pl.DataFrame, dict[str, int]]]:
    """Yields (table, counts) of the lists of each batch of users, in order.

    Args:
        batches: Batches of users.
        recommender: Path of the model, and the other arguments of `Recommender` in order.
        nested: As for `list_table`.
        work: Folder that this process and the workers share. This function creates a folder in it,
            and removes that folder at the end.
        options: Options of Beam.

    Raises:
        ConfigError: If the engine does not respond, or the workers cannot make lists.
        DataError: If the pipeline fails, or its files are missing in `work`.
    """
    with working_folder(work) as shared, Engine(options) as engine:
        count = 0
        for number, batch in enumerate(batches):
            users = pl.DataFrame({"user_id": batch.users, "length": batch.lengths})
            write_frame(users, f"{shared}/users/{number}")
            write_frame(pl.DataFrame({"item_id": batch.items}), f"{shared}/items/{number}")
            count = number + 1
        _run(engine, count, recommender, nested, shared)
        for number in range(count):
            found = read_json(f"{shared}/lists/{number}.json")
            if not found:
                raise DataError(
                    f"{shared} must hold the lists of the workers, but lacks some: give --work a "
                    "folder that the workers and this process share."
                )
            yield read_frame(f"{shared}/lists/{number}"), found[0]


def _run(
    engine: Engine, count: int, recommender: Sequence[object], nested: bool, shared: str
) -> None:
    import apache_beam as beam
    from apache_beam.utils.shared import Shared

    arguments = Shared(), tuple(recommender), nested, shared, package_version()
    with engine.pipeline() as p:
        numbers = p | beam.Create(list(range(count))) | beam.Reshuffle()
        _ = numbers | "Lists" >> beam.Map(_write_lists, *arguments)


def _write_lists(number: int, model, recommender, nested, shared, version) -> None:
    """Writes the lists of a batch. Each process of a worker loads the model once."""
    require_version(version)
    path, *options = recommender
    made = model.acquire(lambda: Recommender(open_source(path), *options))
    users, items = read_frame(f"{shared}/users/{number}"), read_frame(f"{shared}/items/{number}")
    batch = UserBatch(users["user_id"], items["item_id"], users["length"].to_numpy())
    lists = made.recommend(batch)
    table = list_table(batch.users, made.source.items, lists, nested)
    write_frame(table, f"{shared}/lists/{number}")
    write_json(lists.counts(), f"{shared}/lists/{number}.json")
