"""The item table of a run: the row of each item in the items file."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from tfrec_attn.config import Data
from tfrec_attn.data.reading.items_file import CATEGORY, ID, TITLE, describe, read_items
from tfrec_attn.data.sequences.ids import unified
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError, counted
from tfrec_attn.files.readable import readable_parquet
from tfrec_attn.replay.measured_run import check_files
from tfrec_attn.runs.run_files import ITEM_TABLE


class ItemTable(NamedTuple):
    """The rows of an items file for the items of the log.

    Attributes:
        frame: A row for each item 1..N in order, with `id` and the other columns of the file; null
            for an item without a row in the file.
        missing: Number of items without a row in the file.
        ignored: Number of rows in the file for other items.
    """

    frame: pl.DataFrame
    missing: int
    ignored: int

    def __str__(self) -> str:
        told = f"Items file: {self.frame.height - self.missing:,} of {self.frame.height:,} items"
        told += " have a row"
        if self.missing:
            told += f", {counted(self.missing, 'has', 'have')} none"
        ignored = ("row of another item is", "rows of other items are")
        return f"{told}; {counted(self.ignored, *ignored)} ignored."


def load_item_table(data: Data, items: Vocabulary) -> ItemTable:
    """Reads the items file of a configuration.

    Args:
        data: Section `data` of the configuration, with `items` set.
        items: Vocabulary of the items.

    Raises:
        DataError: If the file cannot be used.
    """
    found = read_items(data.items, data.columns.item)
    if data.ids == "unify":
        found = found.with_columns(unified(found[ID])).unique(ID, keep="first", maintain_order=True)
    ids = pl.DataFrame({ID: items.ids()}, schema={ID: pl.String})
    known = found.filter(pl.col(ID).is_in(ids[ID]))
    frame = ids.join(known, on=ID, how="left", maintain_order="left")
    return ItemTable(frame, len(items) - known.height, found.height - known.height)


def save_items(folder: Path, frame: pl.DataFrame) -> None:
    """Writes the item table to a run."""
    frame.write_parquet(folder / ITEM_TABLE)


def load_items(folder: Path) -> pl.DataFrame | None:
    """Returns the item table of a finished run, or None if it was trained without an items file.

    Raises:
        ConfigError: If the table is damaged.
    """
    path = folder / ITEM_TABLE
    if not path.exists():
        return None
    check_files(folder, ITEM_TABLE)
    with readable_parquet(path, ConfigError, "; train again"):
        return pl.read_parquet(path, glob=False)


def titles_of(frame: pl.DataFrame | None) -> dict[str, str]:
    """Returns the title of each item that has one."""
    if frame is None or TITLE not in frame.columns:
        return {}
    return {one: title for one, title in frame.select(ID, TITLE).rows() if title}


def described(frame: pl.DataFrame) -> list[tuple[str, str]]:
    """Returns (JSON of the row, category) of each item; "" if unknown."""
    return [(describe(row), row.get(CATEGORY) or "") for row in frame.iter_rows(named=True)]
