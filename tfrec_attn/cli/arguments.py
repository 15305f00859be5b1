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
        """Parses as argparse does; an argument that is not UTF-8 text is an error, exit code 2."""
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
    """Returns the configuration and the overrides; None if `config` is the first override."""
    if config and is_override(config):
        return None, [config, *overrides]
    return config, overrides


def add_trainings(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that the commands `compare` and `ablation` share."""
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
        help="train each row with the seeds 1 to N, and a model that only counts once (default: 3)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=max(1, (os.cpu_count() or 1) // 4),
        metavar="N",
        help="trainings that run at the same time and share the cores (default: one for 4 cores)",
    )
    parser.add_argument(
        "--slices",
        action="store_true",
        help="also report the metric for groups of test events: by the length of the history, by "
        "how often the target follows the latest item in the training events, and others",
    )
    parser.add_argument(
        "--metric",
        help="metric that the rows are compared by and that an ablation plots (default: NDCG@10, "
        "or evaluate.metric if evaluate.k has no 10)",
    )


def add_split(parser: argparse.ArgumentParser) -> None:
    """Adds the options of commands that compute metrics: --split and --json."""
    parser.add_argument(
        "--split",
        choices=("valid", "test"),
        default="test",
        help="held-out events to evaluate on (default: test)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def require_at_least(least: int, parsed: Any, *options: str) -> None:
    """Raises ConfigError if an option, named as its attribute of `parsed`, is less than `least`."""
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
