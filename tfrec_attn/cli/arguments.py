"""Command-line arguments that are checked as strictly as a configuration."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tfrec_attn.config.coercion import coerce, usable_path
from tfrec_attn.config.yaml_tree import Plain
from tfrec_attn.errors import ConfigError, shorten


class Arguments(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` for decimal numbers and text in UTF-8, with short messages."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for kind in (int, float):
            self.register("type", kind, lambda text, kind=kind: _checked(coerce, Plain(text), kind))

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """As in argparse; ends the command with exit code 2 if an argument is not text."""
        for text in sys.argv[1:] if args is None else args:
            try:
                coerce("an argument", str(text), str)
            except ConfigError as error:
                self.error(str(error))
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> None:
        """Prints usage and message, and ends the command with exit code 2."""
        super().error(shorten(message, 300))


def path(text: str) -> str:
    """The `type` of an argument that names a file or a folder; expands `~` at its start."""
    return _checked(usable_path, text)


def _checked(function: Callable, value: str, *more: Any) -> Any:
    try:
        return function("it", value, *more)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None
