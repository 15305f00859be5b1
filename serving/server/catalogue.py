"""Searches the items of a version by words in their ids and titles."""

import json
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tfrec_attn.errors import first_line
from tfrec_attn.files.checksums import SERVABLE_SUMS, first_damage

from ..protocol.statuses import failed_precondition, invalid, without_folder

MOST_FOUND = 20
MAX_TEXT = 200
_MAX_WORDS = 20
_ITEMS, _DESCRIPTIONS = "assets/items.txt", "assets/descriptions.jsonl"


class Found(NamedTuple):
    """Items that a search found.

    Attributes:
        items: (id, title) of the first `MOST_FOUND` items; "" for an item without a title.
        total: Number of all items found.
    """

    items: list[tuple[str, str]]
    total: int


class Catalogue:
    """The items of a version with their titles.

    Args:
        ids: Id of each item.
        titles: Title of each item; "" for an item without a title.
    """

    def __init__(self, ids: Sequence[str], titles: Sequence[str]):
        own, named = ([plain(one) for one in texts] for texts in (ids, titles))
        self._items = pl.DataFrame(
            {
                "id": ids,
                "title": titles,
                "own": own,
                "named": named,
                # The blank in front marks the beginning of the first word too.
                "text": [f" {one} {title}" for one, title in zip(own, named, strict=True)],
            },
            schema=dict.fromkeys(("id", "title", "own", "named", "text"), pl.String),
        )

    def __len__(self) -> int:
        return self._items.height

    def search(self, text: str) -> Found:
        """Finds the items that contain all words of a text in their id and title together.

        First come items whose id is the text, then those whose id or title begins with the text,
        then those in which each word of the text begins a word. Items of equal rank are in the
        order of the catalogue.

        Args:
            text: At most `MAX_TEXT` characters. Case and accents are ignored. Only the first 20
                words count.

        Raises:
            StatusError: INVALID_ARGUMENT if the text is too long.
        """
        if len(text) > MAX_TEXT:
            raise invalid(
                f"'text' must have at most {MAX_TEXT} characters, but has {len(text)}; "
                "search for fewer words."
            )
        words = list(dict.fromkeys(plain(text).split()))[:_MAX_WORDS]
        if not words:
            return Found([], 0)
        found = self._items
        for word in words:
            found = found.filter(pl.col("text").str.contains(word, literal=True))
        best = found.sort(_rank(words), maintain_order=True).head(MOST_FOUND)
        return Found(best.select("id", "title").rows(), found.height)


def read_catalogue(folder: Path) -> Catalogue:
    """Reads the items of a version from its assets.

    Raises:
        StatusError: FAILED_PRECONDITION if the file of items is missing or damaged.
    """
    if not (folder / _ITEMS).is_file():
        raise failed_precondition(
            "This model has no file of its items to search in; use one that tfrec_attn.export has "
            "written."
        )
    named = (folder / _DESCRIPTIONS).is_file()
    try:
        if what := first_damage(folder, [_ITEMS, *[_DESCRIPTIONS] * named], SERVABLE_SUMS):
            raise ValueError(what)
        ids = (folder / _ITEMS).read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        titles = list(_titles(folder / _DESCRIPTIONS)) if named else [""] * len(ids)
        return Catalogue(ids, titles)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise failed_precondition(
            f"The items of this model cannot be read ({_reason(error, folder)}); export it again."
        ) from None


def plain(text: str) -> str:
    """Returns a text in lower case, without accents, with one blank between words."""
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text.casefold())
        text = "".join(one for one in parts if not unicodedata.combining(one))
    return " ".join(text.lower().split())


def _rank(words: list[str]) -> pl.Expr:
    whole, text = pl.lit(" ".join(words)), pl.col("text")
    own, named = pl.col("own"), pl.col("named")
    begins = [text.str.contains(f" {word}", literal=True) for word in words]
    return (
        pl.when(own == whole)
        .then(0)
        .when(own.str.starts_with(whole) | named.str.starts_with(whole))
        .then(1)
        .when(pl.all_horizontal(begins))
        .then(2)
        .otherwise(3)
    )


def _titles(path: Path) -> Iterator[str]:
    with open(path, "rb") as lines:
        for line in lines:
            yield json.loads(line).get("title") or ""


def _reason(error: Exception, folder: Path) -> str:
    if isinstance(error, OSError):
        return str(error.strerror or error)
    return without_folder(first_line(error), folder, "its folder")
