"""Errors that a user can cause, each one sentence, the exit code of the command that meets them, and the word that was probably meant."""

import difflib
import signal
from collections.abc import Iterable


class TfrecError(Exception):
    """Base of all errors that end a command with one sentence on stderr instead of a traceback."""

    exit_code = 1


class ConfigError(TfrecError):
    """A configuration that cannot be run: an unknown key, a wrong type, values that exclude each other."""

    exit_code = 2


class DataError(TfrecError):
    """A log that cannot be read, or that leaves nothing to train or to test on."""

    exit_code = 2


class TrainingError(TfrecError):
    """A training that cannot go on, for example because the loss is not finite."""


class Interrupted(TfrecError):
    """A command that a signal has stopped; its exit code is 128 and the number of the signal, as a shell counts.

    Args:
      number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def nearest(word: str, choices: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the choice most like a word, or nothing where none is close."""
    match = difflib.get_close_matches(word, list(choices), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""
