"""Where a text log has its columns: its header, or the names that are given."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tfrec_attn.data.reading.columns import NAMES, require_column
from tfrec_attn.data.reading.text_formats import SEPARATORS, TEXT_FORMATS
from tfrec_attn.data.reading.text_reader import TextSource
from tfrec_attn.data.reading.text_slices import first_record
from tfrec_attn.errors import DataError

_HEADER_WORDS = (
    "userId",
    "visitorId",
    "customerId",
    "sessionId",
    "itemId",
    "movieId",
    "productId",
    "articleId",
)


def open_text(
    path: Path,
    kind: str,
    wanted: Mapping[str, str | None],
    names: Sequence[str] | None,
    separator: str | None,
) -> TextSource | None:
    """The log with the places of its columns; None where it holds nothing."""
    text_format = TEXT_FORMATS[kind].separated_by(separator)
    given = names or text_format.names
    first = first_record(path, text_format)
    if first is None:
        return None
    if first.problem and not given:
        raise DataError(
            f"{path}, line {first.line}: {first.problem}, where the column names should be."
        )
    found = list(given) if given else text_format.column_names(first)
    hint = _other_separator(
        text_format.separator, first.text, [name for name in wanted.values() if name is not None]
    )
    for role, name in wanted.items():
        if name is not None:
            require_column(path, name, role, found, hint)
    places = {NAMES[role]: found.index(name) for role, name in wanted.items() if name is not None}
    if given and _names_columns(text_format.column_names(first), found, places):
        remedy = "leave out data.names" if names else "give data.format, or delete that line"
        raise DataError(f"{path}, line {first.line}: expected an event, got a header: {remedy}.")
    return TextSource(path, text_format, found, places, 0 if given else first.end)


def _other_separator(separator: str, header: str, names: Sequence[str]) -> str:
    """How to read a log whose header has all names between other separators, or nothing."""
    for name, other in SEPARATORS.items():
        if other != separator and {field.strip(' "') for field in header.split(other)} >= set(
            names
        ):
            return f"its fields are separated by {name}s, so give data.separator={name}"
    return ""


def _names_columns(fields: Sequence[str], names: Sequence[str], places: Mapping[str, int]) -> bool:
    """Tells whether the first record of a log whose columns are named elsewhere names them too, be
    it in other words.
    """
    if len(fields) != len(names):
        return False
    words = {_bare_word(name) for name in (*names, *NAMES, *NAMES.values(), *_HEADER_WORDS)}
    return all(_bare_word(fields[places[name]]) in words for name in ("user_id", "item_id"))


def _bare_word(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()
