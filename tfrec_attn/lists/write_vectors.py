"""Writes the vectors of items and the queries of users, with their ids."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.lists.batch_queries import BatchQueries
from tfrec_attn.lists.model_folder import fingerprint, open_source
from tfrec_attn.lists.output_format import VECTOR_FORMATS, output_format
from tfrec_attn.lists.partial_output import check_free, partial_output
from tfrec_attn.lists.source import Source
from tfrec_attn.lists.user_histories import Histories, UserHistories
from tfrec_attn.lists.users_of_model import users_of_model

_ROWS = 1 << 14  # Most rows of a part.


@dataclasses.dataclass(frozen=True)
class VectorReport:
    """Figures of the written vectors.

    Attributes:
        dim: D', the length of a vector.
        items: Number of items with a vector, or None without a file of items.
        untrained: Number of items without a vector, because they have no training events.
        users: Number of users with a vector, or None without a file of users.
        unknown: Number of users without a vector, because nothing is known of them.
        has_prior: Whether the model adds a prior to the inner product of the vectors.
        notes: Sentences for the user of the command.
    """

    dim: int
    items: int | None = None
    untrained: int = 0
    users: int | None = None
    unknown: int = 0
    has_prior: bool = False
    notes: tuple[str, ...] = ()


def write_vectors(
    model: str | Path,
    *,
    items_to: str | Path | None = None,
    users_to: str | Path | None = None,
    users: str | Path | None = None,
    histories: str | Path | None = None,
) -> VectorReport:
    """Writes vectors whose inner product is the score of an item for a user.

    Args:
        model: A run or a servable.
        items_to: New file for the vectors of the items, `.parquet` or `.npy`.
        users_to: New file for the queries of the users, `.parquet` or `.npy`.
        users: File with the ids of users of the run's log. None (default): all users.
        histories: File of histories, instead of the run's log.

    Raises:
        ConfigError: If an argument cannot be used, or a file cannot be written.
        DataError: If the histories or the ids cannot be used.
        ReadError: If the histories cannot be read to their end.
    """
    wanted = {"--items-to": items_to, "--users-to": users_to}
    wanted = {option: Path(file) for option, file in wanted.items() if file is not None}
    if not wanted:
        raise ConfigError("Give a file to write: --items-to, --users-to or both.")
    for option, file in wanted.items():
        check_free(file, output_format(file, VECTOR_FORMATS, option))
    if len({file.resolve() for file in wanted.values()}) < len(wanted):
        raise ConfigError(f"--items-to and --users-to must be two files, but both are {items_to}.")
    if users_to is None and (users or histories):
        raise ConfigError("--users and --histories need --users-to, the file to write.")
    everybody = None if users_to is None else users_of_model(model, users, histories)
    return _write(open_source(model), wanted, everybody)


def _write(
    source: Source, wanted: dict[str, Path], everybody: UserHistories | None
) -> VectorReport:
    model = fingerprint(source.path)
    nobody = source.queries([""], Histories(np.zeros(0, np.int32), np.zeros(1, np.int64)))
    report = VectorReport(source.vectors.shape[1], has_prior=nobody.prior is not None)
    # The users come first, because their file of histories can be wrong.
    if everybody is not None:
        request = {"model": model, "set of users and histories": everybody.checksum}
        totals = _parts(wanted["--users-to"], "--users-to", request, _users(source, everybody))
        report = dataclasses.replace(report, **totals, notes=everybody.notes)
    if "--items-to" in wanted:
        totals = _parts(wanted["--items-to"], "--items-to", {"model": model}, _items(source))
        report = dataclasses.replace(report, **totals)
    return report


def _parts(
    target: Path, option: str, request: dict[str, str], parts: Iterator[tuple[pl.DataFrame, dict]]
) -> dict[str, int]:
    """Writes all parts of a file without resuming, and returns the sums of the counts."""
    form = output_format(target, VECTOR_FORMATS, option)
    with partial_output(target, form, request, resumes=False) as output:
        for frame, counts in parts:
            output.add(frame, **counts)
        if not output.parts:
            raise DataError("There are no users to make vectors of; the file is empty.")
        output.finish()
    return output.totals


def _items(source: Source) -> Iterator[tuple[pl.DataFrame, dict[str, int]]]:
    for begin in range(0, len(source.items), _ROWS):
        trained = source.trained[begin : begin + _ROWS]
        ids = pl.Series(source.items[begin : begin + _ROWS], dtype=pl.String)
        vectors = source.vectors[begin : begin + _ROWS][trained]
        counts = {"items": len(vectors), "untrained": len(trained) - len(vectors)}
        yield _table("item_id", ids.filter(pl.Series(trained)), vectors), counts


def _users(
    source: Source, everybody: UserHistories
) -> Iterator[tuple[pl.DataFrame, dict[str, int]]]:
    queries = BatchQueries(source)
    for batch in everybody.batches(0, _ROWS):
        vectors = np.zeros((len(batch.lengths), source.vectors.shape[1]), np.float32)
        known = np.zeros(len(vectors), bool)
        for index, found in queries.blocks(batch.users, queries.known(batch)):
            vectors[index], known[index] = found.vectors, ~found.nothing_known
        counts = {"users": int(known.sum()), "unknown": int((~known).sum())}
        users = batch.users.filter(pl.Series(known))
        yield _table("user_id", users, vectors[known]), counts


def _table(name: str, ids: pl.Series, vectors: np.ndarray) -> pl.DataFrame:
    dtype = pl.Array(pl.Float32, vectors.shape[1])
    return pl.DataFrame({name: ids, "vector": pl.Series(vectors, dtype=dtype)})
