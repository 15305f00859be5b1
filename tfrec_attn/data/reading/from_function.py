"""Reads a log from a function of another package, and checks it like a file."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tfrec_attn.data.reading.columns import NAMES, require_column, wanted_columns
from tfrec_attn.data.reading.fields import check
from tfrec_attn.data.reading.interactions import ReadResult
from tfrec_attn.data.reading.parquet_reader import require_type
from tfrec_attn.data.reading.rejections import begin_rejected, write_rejected
from tfrec_attn.errors import DataError, TfrecError, counted
from tfrec_attn.extensions import SOURCES, cause


def read_function(
    source: str,
    path: str | None = None,
    *,
    columns: Mapping[str, str | None] | None = None,
    on_error: str = "raise",
    rejected: str | Path | None = None,
) -> ReadResult:
    """Calls a function and reads its table as `read_interactions` reads a Parquet file.

    Args:
        source: `package.module:function`, or an entry point of the group `tfrec_attn.sources`. The
            function takes `path` and returns a polars DataFrame or LazyFrame, or a dict of columns,
            with a row for each event.
        path: Argument of the function. Default None.
        columns: As for `read_interactions`.
        on_error: As for `read_interactions`.
        rejected: As for `read_interactions`.

    Raises:
        ConfigError: If there is no such function, or if it takes other arguments.
        DataError: If the function fails, or if it does not return the table of a log.
    """
    wanted, function = wanted_columns(columns), _function(source)
    try:
        given = function(path)
        table = given.collect() if isinstance(given, pl.LazyFrame) else given
    except TfrecError:
        raise
    except (Exception, SystemExit) as error:
        reason = cause(error, SOURCES.target(source))
        raise DataError(f"data.source={source} failed: {reason}.") from None
    log, table = f"data.source={source}", _as_frame(source, table)
    for role, name in wanted.items():
        require_column(log, name, role, table.columns, f"name it in data.columns.{role}")
        if table.height:
            require_type(log, name, role, table.schema[name])
    frame = raw = table.select(**{NAMES[role]: pl.col(name) for role, name in wanted.items()})
    bad = []
    if raw.height:
        frame, bad, _ = check(raw, pl.int_range(1, raw.height + 1, eager=True))
    if bad and on_error != "skip":
        remedy = "correct it, or leave such rows out with data.on_error=skip"
        raise DataError(f"{log}, row {bad[0].line}: {bad[0].reason}; {remedy}.")
    if on_error == "skip" and rejected is not None:
        begin_rejected(rejected, source)
        rows = [one._replace(text="\t".join(map(str, raw.row(one.line - 1)))) for one in bad]
        write_rejected(Path(rejected), source, rows)
    if not frame.height:
        rows = counted(len(bad), "row was", "rows were", form="")
        why = (
            f": all {rows} rejected, row {bad[0].line} because of this: {bad[0].reason}"
            if bad
            else ""
        )
        raise DataError(f"{log} gives no interactions{why}.")
    if "timestamp" not in wanted:
        frame = frame.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64))
    return ReadResult(frame, len(bad))


def _function(source: str) -> Any:
    function = SOURCES.load(source, SOURCES.target(source))
    if not callable(function):
        raise SOURCES.refusal(source, f"must be a function, but is a {type(function).__name__}")
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise SOURCES.refusal(
            source, "must be a function of (path), but takes other arguments"
        ) from None
    except ValueError:
        # Some functions that are not written in Python have no signature.
        return function
    return function


def _as_frame(source: str, table: Any) -> pl.DataFrame:
    if isinstance(table, Mapping):
        try:
            table = pl.DataFrame(dict(table))
        except (Exception, SystemExit) as error:
            text = str(error).strip().strip('"')
            text = text.removeprefix("could not create a new DataFrame: ") or repr(error)
            reason = text.splitlines()[0].rstrip(".")
            raise DataError(
                f"data.source={source} gives columns that do not form a table: {reason}."
            ) from None
    if not isinstance(table, pl.DataFrame):
        raise DataError(
            f"data.source={source} must give a polars DataFrame or a dict of columns, "
            f"but gives a {type(table).__name__}."
        )
    return table
