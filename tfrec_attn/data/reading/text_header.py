"""The columns of a text log, from its header or from the configuration."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tfrec_attn.data.reading.columns import NAMES, require_column
from tfrec_attn.data.reading.text_formats import SEPARATORS, TEXT_FORMATS
from tfrec_attn.data.reading.text_reader import TextSource
from tfrec_attn.data.reading.text_slices import first_record
from tfrec_attn.errors import DataError

_HEADER_WORDS = (
    *("userId", "visitorId", "customerId", "sessionId"),
    *("itemId", "movieId", "productId", "articleId"),
)


def open_text(
    path: Path,
    kind: str,
    wanted: Mapping[str, str],
    names: Sequence[str] | None,
    separator: str | None,
) -> TextSource | None:
    """Finds the columns of a text log.

    Args:
        path: The file.
        kind: A name in `TEXT_FORMATS`.
        wanted: Role -> name of its column.
        names: Names of all columns of a file without a header, or None.
        separator: As for `TextFormat.separated_by`.

    Returns:
        The log, or None if it is empty.

    Raises:
        DataError: If a column is missing, or if a file with given names has a header.
    """
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
    hint = _other_separator(text_format.separator, first.text, set(wanted.values()))
    for role, name in wanted.items():
        require_column(path, name, role, found, hint)
    positions = {NAMES[role]: found.index(name) for role, name in wanted.items()}
    if given and _looks_like_header(text_format.column_names(first), found, positions):
        remedy = "leave out data.names" if names else "give data.format, or delete that line"
        raise DataError(f"{path}, line {first.line}: expected an event, got a header: {remedy}.")
    return TextSource(path, text_format, found, positions, 0 if given else first.end)


def _other_separator(separator: str, header: str, names: set[str]) -> str:
    """Returns a remedy if the header has all names with another separator, else ""."""
    for name, other in SEPARATORS.items():
        fields = {field.strip(' "') for field in header.split(other)}
        if other != separator and fields >= names:
            return f"its fields are separated by {name}s, so give data.separator={name}"
    return ""


def _looks_like_header(
    fields: Sequence[str], names: Sequence[str], positions: Mapping[str, int]
) -> bool:
    """Returns whether the first record of a log with given names looks like a header."""
    if len(fields) != len(names):
        return False
    words = {_bare_word(name) for name in (*names, *NAMES, *NAMES.values(), *_HEADER_WORDS)}
    return all(_bare_word(fields[positions[name]]) in words for name in ("user_id", "item_id"))


def _bare_word(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()
