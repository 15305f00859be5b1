"""Errors that a user can cause, each one sentence, the exit code of the command that meets them,
and the word that was probably meant.
"""

import difflib
import signal
from collections.abc import Iterable

_SENTENCE = 1000  # characters


class TfrecError(Exception):
    """Base of all errors that end a command with one sentence on stderr instead of a traceback."""

    exit_code = 1

    def __str__(self) -> str:
        return shorten(super().__str__(), _SENTENCE)


class ConfigError(TfrecError):
    """A configuration that cannot be run: an unknown key, a wrong type, values that exclude each
    other.
    """

    exit_code = 2


class DataError(TfrecError):
    """A log that cannot be read, or that leaves nothing to train or to test on."""

    exit_code = 2


class TrainingError(TfrecError):
    """A training that cannot go on, for example because the loss is not finite."""


class Interrupted(TfrecError):
    """A command that a signal has stopped; its exit code is 128 and the number of the signal, as a
    shell counts.

    Args:
      number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def shorten(text: str, limit: int = 60) -> str:
    """A text as messages have it: on one line, printable, and without its middle where it is long.

    Args:
        text: Of any length; what cannot be printed becomes an escape such as `\\x00`.
        limit: Characters that stay.
    """
    # Escapes are longer than what they stand for, so that the text may have to be cut again.
    for _ in range(2):
        if len(text) > limit:
            text = f"{text[: limit * 2 // 3]}...{text[3 - limit // 3 :]}"
        text = "".join(
            one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
        )
    return text


def shown(value: object) -> str:
    """A value as messages show it: texts in quotes, and a long one shortened."""
    try:
        return shorten(repr(value))
    except (ValueError, RecursionError):
        # An integer of more digits than Python turns into text, or lists without end.
        return f"a value of type {type(value).__name__}"


def nearest(word: str, choices: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the choice most like a word, or nothing where none is close."""
    match = nearest_of(word, choices, 0.6)
    return f" (did you mean {match!r}?)" if match else ""


def nearest_of(word: str, choices: Iterable[str], cutoff: float) -> str | None:
    """The choice most like a word, whatever the case of their letters, or None."""
    lower = {choice.lower(): choice for choice in choices}
    match = difflib.get_close_matches(word[:100].lower(), lower, n=1, cutoff=cutoff)
    return lower[match[0]] if match else None
