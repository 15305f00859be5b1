"""Options of a command line that are read as strictly as a configuration."""

import argparse
import sys
from collections.abc import Sequence

from tfrec_attn.config.coercion import coerce, usable_path
from tfrec_attn.config.yaml_tree import Plain
from tfrec_attn.errors import ConfigError, shorten


class Arguments(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` whose numbers are decimal, and whose messages shorten long
    values.

    All arguments must be text in UTF-8, so that they can be printed and written down.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for kind in (int, float):
            self.register("type", kind, lambda text, kind=kind: _checked(coerce, Plain(text), kind))

    def parse_known_args(self, args: Sequence[str] | None = None, namespace=None):
        """As in argparse; ends the command with exit code 2 where an argument is no text."""
        for text in sys.argv[1:] if args is None else args:
            try:
                coerce("an argument", str(text), str)
            except ConfigError as error:
                self.error(str(error))
        return super().parse_known_args(args, namespace)

    def error(self, message: str):
        """Prints the usage and the message, and ends the command with exit code 2."""
        super().error(shorten(message, 300))


def path(text: str) -> str:
    """The type of an option that names a file or a folder; `~` at its start is the user's folder."""
    return _checked(usable_path, text)


def _checked(function, value: str, *more):
    try:
        return function("it", value, *more)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None
