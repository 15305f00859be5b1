"""Options of a command line: decimal numbers, paths, and short messages."""

import argparse
import os
import re
import sys
from collections.abc import Sequence

_NUMBERS = {
    int: ("a whole number", re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)),
    float: (
        "a number",
        re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,2})?", re.ASCII),
    ),
}


class Arguments(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` with decimal numbers and short messages.

    All arguments must be text in UTF-8, so that they can be printed and sent.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for kind in _NUMBERS:
            self.register("type", kind, lambda text, kind=kind: _number(text, kind))

    def parse_known_args(self, args: Sequence[str] | None = None, namespace=None):
        """Parses as argparse does. Ends the command with exit code 2 if an argument is no text."""
        for text in sys.argv[1:] if args is None else args:
            if "\0" in text or any("\ud800" <= one <= "\udfff" for one in text):
                self.error(f"an argument must be text in UTF-8 without NUL, but is {shown(text)}.")
        return super().parse_known_args(args, namespace)

    def error(self, message: str):
        """Prints the usage and the message, and ends the command with exit code 2."""
        super().error(shorten(message, 300))


def path(text: str) -> str:
    """The type of an option that names a file or a folder. `~` at its start is the home folder."""
    found = os.path.expanduser(text)
    encoded = os.fsencode(found)
    if not found or len(encoded) > 3000 or max(map(len, encoded.split(b"/"))) > 255:
        raise argparse.ArgumentTypeError(
            f"it must be a path of 1 to 3000 bytes with names of at most 255, but is {shown(text)}"
        )
    return found


def shorten(text: str, limit: int = 60) -> str:
    """Returns a text on one line, printable, and without its middle if it is long."""
    # Escapes make the text longer, so that it can need a second cut.
    for _ in range(2):
        if len(text) > limit:
            text = f"{text[: limit * 2 // 3]}...{text[3 - limit // 3 :]}"
        text = "".join(
            one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
        )
    return text


def shown(value: object) -> str:
    """Returns a value for messages: texts in quotes, a long one shortened."""
    return shorten(repr(value))


def _number(text: str, kind: type) -> int | float:
    name, pattern = _NUMBERS[kind]
    if not pattern.fullmatch(text):
        raise argparse.ArgumentTypeError(f"it must be {name}, but is {shown(text)}")
    return kind(text)
