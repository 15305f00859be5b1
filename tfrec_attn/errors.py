"""Errors that a user can cause, and how messages show values and suggest names."""

import difflib
import re
import signal
from collections.abc import Iterable, Mapping

_MAX_CHARACTERS = 1000


class TfrecError(Exception):
    """Base of all errors that a command reports in one sentence on stderr.

    Attributes:
        exit_code: Exit code of the command.
    """

    exit_code = 1

    def __str__(self) -> str:
        return shorten(super().__str__(), _MAX_CHARACTERS)


class ConfigError(TfrecError):
    """A configuration that cannot be used, such as an unknown key or values that conflict."""

    exit_code = 2


class DataError(TfrecError):
    """A log that cannot be read, or that has nothing to train or to test on."""

    exit_code = 2


class ReadError(TfrecError):
    """A file that cannot be read to its end, for example because a disk fails."""


class TrainingError(TfrecError):
    """A training that fails, for example because the loss is not finite."""


class NotFiniteError(TrainingError):
    """A loss or weights that are not finite."""


class Interrupted(TfrecError):
    """A command that a signal has stopped; its exit code is 128 + the signal's number."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def shorten(text: str, limit: int = 60) -> str:
    """Returns a text as one printable line; a text that is too long loses its middle.

    Args:
        text: Of any length; what is not printable becomes an escape such as `\\x00`.
        limit: Maximum number of characters.
    """
    # Escapes are longer than their characters, so the text may have to be cut again.
    for _ in range(2):
        if len(text) > limit:
            text = f"{text[: limit * 2 // 3]}...{text[3 - limit // 3 :]}"
        text = "".join(
            one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
        )
    return text


def with_keys(message: str, keys: Mapping[str, str]) -> str:
    """Replaces the names of arguments in a message by keys of the configuration.

    Args:
        message: A word counts as a name only if it is the first word, is in backticks or has an
            underscore.
        keys: Name of an argument -> its key, such as `dim` -> `model.dim`.
    """
    names = r"^\w+|`\w+`|(?<![\w.'\"])\w+_\w+(?![\w'\"])"
    return re.sub(names, lambda name: keys.get(name[0].strip("`"), name[0]), message)


def shown(value: object) -> str:
    """Returns a value as messages show it: texts in quotes, and shortened."""
    try:
        return shorten(repr(value))
    except (ValueError, RecursionError):
        # An integer with too many digits for Python, or a list that contains itself.
        return f"a value of type {type(value).__name__}"


def counted(number: int, one: str, many: str | None = None, form: str = ",") -> str:
    """Returns a number with its noun, such as `1 user` and `2,000 users`.

    Args:
        number: The number.
        one: The noun in the singular, perhaps with a verb: `event is`.
        many: The same in the plural. None (default): the singular and an s.
        form: Format of the number. Default ",": thousands separators; "": none.
    """
    return f"{number:{form}} {one if number == 1 else many or f'{one}s'}"


def first_line(error: BaseException) -> str:
    """Returns the first line of the message of an error, without a full stop, or its type."""
    text = str(getattr(error, "message", None) or error)
    lines = text.removeprefix("Graph execution error:").strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(". ")


def nearest(word: str, choices: Iterable[str]) -> str:
    """Returns ` (did you mean 'x'?)` for the choice most like a word, or "" if none is close."""
    match = nearest_of(word, choices, 0.6)
    return f" (did you mean {match!r}?)" if match else ""


def nearest_of(word: str, choices: Iterable[str], cutoff: float) -> str | None:
    """Returns the choice most like a word, ignoring case, or None."""
    lower = {choice.lower(): choice for choice in choices}
    match = difflib.get_close_matches(word[:100].lower(), lower, n=1, cutoff=cutoff)
    return lower[match[0]] if match else None
