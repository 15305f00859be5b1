"""Whose histories a load test sends."""

import random
from pathlib import Path


def read_histories(path: str | Path, count: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Some rows, drawn at random, of a Parquet file with the column history and perhaps user_id,
    such as test.parquet of a run.

    Raises:
        ValueError: If it is no such file.
    """
    import polars as pl

    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ValueError(
            f"--histories {path} cannot be read as Parquet ({str(error).splitlines()[0].rstrip('.')})."
        ) from None
    if (
        table.schema.get("history") != pl.List(pl.String)
        or table.schema.get("user_id", pl.String) != pl.String
        or table.is_empty()
    ):
        raise ValueError(
            f"--histories {path} must have rows with lists of texts in a column history; name test.parquet of a run."
        )
    table = table.sample(min(count, len(table)), shuffle=True, seed=seed)
    users = table["user_id"].to_list() if "user_id" in table.columns else [""] * len(table)
    return list(zip(users, table["history"].to_list(), strict=True))


def make_histories(path: str | Path, count: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Histories of 1 to 50 events of nobody, drawn from a text file with an item a line, such as
    assets/items.txt of a servable.

    Raises:
        ValueError: If it is no such file.
    """
    try:
        items = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"--items {path} cannot be read ({getattr(error, 'strerror', None) or 'it is not UTF-8 text'})."
        ) from None
    if not items[0]:
        raise ValueError(f"--items {path} has no items; name assets/items.txt of a servable.")
    draw = random.Random(seed)  # noqa: S311
    return [("", draw.choices(items, k=draw.randint(1, 50))) for _ in range(count)]
