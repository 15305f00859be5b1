"""Reads new items, which a run does not have, and their neighbours among its items."""

import csv
import dataclasses
import math
import re
from pathlib import Path

import numpy as np

from tfrec_attn.config import Config
from tfrec_attn.data.reading.catalog import load_configured
from tfrec_attn.data.sequences.encoding import encode_log
from tfrec_attn.data.sequences.event_filters import filter_events
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.data.sequences.transitions import count_transitions
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import DataError, counted, shown
from tfrec_attn.runs import run
from tfrec_attn.training.transfer import Neighbours, known_neighbours

_EXAMPLES = 5
_HEAD = 1 << 16
# No id of a log has one of these characters.
_BROKEN = re.compile("[\n\r\t\ufeff]")


@dataclasses.dataclass(frozen=True)
class NewItems:
    """Items that a run does not have, and their neighbours among the items of the run.

    Attributes:
        ids: Ids of the new items.
        neighbours: Neighbours of the new items, one or more for each.
        left_out: Ids of new items that are left out, because they have no trained neighbour.
    """

    ids: list[str]
    neighbours: Neighbours
    left_out: list[str]

    def __str__(self) -> str:
        pairs = len(self.neighbours.added)
        neighbours = counted(pairs, "neighbour", form="")
        text = f"Adding {listed(self.ids)}: means of the rows of {neighbours}."
        if self.left_out:
            text += f" {listed(self.left_out)} left out, without a known neighbour."
        return text


def read_new_items(path: str | Path, run_folder: str | Path) -> NewItems:
    """Reads new items and their neighbours.

    Args:
        path: A table or a log. A table (.tsv or .csv) has the columns item, neighbour and, if
            wanted, weight. A log is read with the settings of the run; the neighbours of a new item
            are the known items before and after it in the histories, weighted by their counts.
        run_folder: The run.

    Raises:
        ConfigError: If the run cannot be used.
        DataError: If the file cannot be read, or no new item has a trained neighbour.
    """
    path, run_folder = Path(path), Path(run_folder)
    if not path.exists():
        raise DataError(f"--add-items {path} does not exist; give a file of new items.")
    vocabularies, trained = run.load_vocabularies(run_folder), run.load_trained_rows(run_folder)
    if (rows := _table(path)) is not None:
        ids, neighbours = _from_table(path, rows, vocabularies[1], trained.items)
    else:
        ids, neighbours = _from_log(path, run.load_config(run_folder), vocabularies)
    kept = trained.items[neighbours.known - 1]
    neighbours = Neighbours(*(part[kept] for part in neighbours))
    has = np.bincount(neighbours.added, minlength=len(ids)) > 0
    if not has.any():
        raise DataError(_nothing_new(path, ids, is_table=rows is not None))
    number = np.cumsum(has) - 1
    return NewItems(
        [one for one, kept in zip(ids, has, strict=True) if kept],
        neighbours._replace(added=number[neighbours.added]),
        [one for one, kept in zip(ids, has, strict=True) if not kept],
    )


def _nothing_new(path: Path, ids: list[str], is_table: bool) -> str:
    if is_table:
        return (
            f"--add-items {path} has a header but no rows; give each new item and an item that the "
            "run has trained, one pair a row."
        )
    new = f"{listed(ids)} there" if ids else "it names no new item"
    return (
        f"--add-items {path} has no new item next to an item that the run has trained ({new}); "
        "give events before and after new items, or a table of item and neighbour."
    )


def _table(path: Path) -> list[list[str]] | None:
    """The rows of a table with the columns item and neighbour, or None for another file."""
    if path.is_dir():
        return None
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            head = stream.readline(_HEAD)
            separator = "\t" if "\t" in head else ","
            if not {"item", "neighbour"} <= set(head.strip().split(separator)):
                return None
            stream.seek(0)
            return list(csv.reader(stream, delimiter=separator, strict=True))
    except UnicodeDecodeError:
        # It can be a log in a binary format.
        return None
    except (OSError, csv.Error) as error:
        raise DataError(f"--add-items {path} cannot be read as a table: {error}.") from None


def _from_table(
    path: Path, rows: list[list[str]], items: Vocabulary, trained: np.ndarray
) -> tuple[list[str], Neighbours]:
    numbers, pairs, head = {}, [], rows[0]
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        where = f"--add-items {path}, line {line}"
        if len(row) != len(head):
            raise DataError(f"{where}: expected {', '.join(head)}, got {shown(row)}.")
        cells = dict(zip(head, row, strict=True))
        item, neighbour = cells["item"], cells["neighbour"]
        if _BROKEN.search(item) or not item.strip() or item in items:
            problem = "is known already" if item in items else "is not an id"
            raise DataError(f"{where}: item must be a new id, but {shown(item)} {problem}.")
        known = int(items.lookup([neighbour])[0])
        if not known or not trained[known - 1]:
            raise DataError(
                f"{where}: neighbour must be an item that the run has trained, "
                f"but is {shown(neighbour)}."
            )
        weight = _weight(cells.get("weight", "1"), where)
        pairs.append((numbers.setdefault(item, len(numbers)), known, weight))
    columns = zip(*pairs, strict=True) if pairs else ([], [], [])
    types = (np.int64, np.int64, np.float64)
    parts = (np.array(one, kind) for one, kind in zip(columns, types, strict=True))
    return list(numbers), Neighbours(*parts)


def _weight(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise DataError(f"{where}: weight must be a number above 0, but is {shown(text)}.")
    return value


def _from_log(
    path: Path, config: Config, vocabularies: tuple[Vocabulary, Vocabulary]
) -> tuple[list[str], Neighbours]:
    data = dataclasses.replace(config.data, source="file", path=str(path))
    frame, _ = filter_events(load_configured(data).frame, data)
    sessions = data.session_gap is not None
    sequences, _ = encode_log(frame, known=vocabularies, sessions=sessions)
    none = np.zeros(0, np.int64)
    split = Split(sequences, sequences.offsets[1:], none, none, "leave-one-out")
    known = len(vocabularies[1])
    new = range(known + 1, len(sequences.item_vocabulary) + 1)
    neighbours = known_neighbours(count_transitions(split), known)
    return sequences.item_vocabulary.ids(new), neighbours


def listed(ids: list[str]) -> str:
    """Returns the number of ids and the first of them, as a text."""
    first = [*map(shown, ids[:_EXAMPLES]), *(["..."] if len(ids) > _EXAMPLES else [])]
    return f"{counted(len(ids), 'item', form='')} ({', '.join(first)})"
