"""Command-line arguments that are checked as strictly as a configuration."""

import argparse
import os
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


def is_override(text: str) -> bool:
    """Whether an argument is `section.key=value`, and not a path."""
    return "=" in text and "/" not in text.partition("=")[0]


def split_config(config: str | None, overrides: list[str]) -> tuple[str | None, list[str]]:
    """Returns the configuration, or None, and the overrides, of which it may be the first."""
    if config and is_override(config):
        return None, [config, *overrides]
    return config, overrides


def add_trainings(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of commands that make tables: overrides, and how to train and compare."""
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="section.key=value",
        help="values for all trainings",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="trainings of each row, with seeds 1 to N; one of a model that only counts (default: "
        "3)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=max(1, (os.cpu_count() or 1) // 4),
        metavar="N",
        help="trainings at a time, which share the cores (default: one for 4 cores)",
    )
    parser.add_argument(
        "--slices",
        action="store_true",
        help="also the metric in groups of test events, such as by the length of the history or by "
        "how often the target follows the latest item of the history in the training events",
    )
    parser.add_argument(
        "--metric",
        help="metric of the differences, their tests and the plot of an ablation (default: "
        "NDCG@10, or evaluate.metric if evaluate.k has no 10)",
    )


def add_split(parser: argparse.ArgumentParser) -> None:
    """Adds the options of commands that compute metrics: --split and --json."""
    parser.add_argument(
        "--split",
        choices=("valid", "test"),
        default="test",
        help="which held-out events (default: test)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def require_at_least(least: int, parsed: Any, *options: str) -> None:
    """Raises ConfigError if one of the given options, as attributes, is less."""
    for option in options:
        value = getattr(parsed, option)
        if value is not None and value < least:
            name = option.replace("_", "-")
            raise ConfigError(f"--{name} must be {least} or greater, but is {value}.")


def _checked(function: Callable, value: str, *more: Any) -> Any:
    try:
        return function("it", value, *more)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None
