"""The options of the local server command."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.errors import shown

# Option, type, default, bounds, name of the value, and help.
_NUMBERS = (
    ("port", int, 8500, (0, 65535), None, "port of gRPC; 0 takes a free one"),
    ("rest-port", int, 8501, (0, 65535), None, "port of HTTP and the page; 0 takes a free one"),
    ("batch-size", int, 32, (0, 65536), "ROWS", "most rows of a batch; 0: no batches"),
    ("batch-timeout", float, 0.0, (0, 3600), "SECONDS", "time that a batch waits for more rows"),
    ("queue", int, 10, (1, 65536), "BATCHES", "batches that may wait"),
    ("threads", int, 1, (1, 1024), None, "threads of an operation; more for models of many items"),
    ("poll", float, 2.0, (0.01, 86400), "SECONDS", "time between two searches for new versions"),
    ("grace", float, 10.0, (0, 86400), "SECONDS", "time for requests in flight at the end"),
)


def option_parser(prog: str, epilog: str) -> argparse.ArgumentParser:
    """Returns the parser of the command; `epilog` is the end of its help."""
    parser = Arguments(
        prog=prog,
        description="Serves exported models over gRPC and HTTP as TensorFlow Serving does.",
        epilog=epilog,
    )
    many = {"action": "append", "default": []}
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME=FOLDER",
        help="a model and the folder of its versions; repeatable",
        **many,
    )
    parser.add_argument(
        "--versions",
        metavar="NAME=WHICH",
        help="latest (default), latest:2, all, or numbers such as 1,4",
        **many,
    )
    parser.add_argument(
        "--labels",
        metavar="NAME:LABEL=VERSION",
        help="a label of a version, such as sasrec:stable=1; repeatable",
        **many,
    )
    parser.add_argument(
        "--histories",
        type=path,
        metavar="FILE",
        help="users whose histories the page can show: a log in the format of the first model's, "
        "or .jsonl or .parquet with user_id and history",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, this machine only)",
    )
    parser.add_argument(
        "--allowed-host",
        metavar="NAME",
        help="another host name of HTTP requests, besides localhost and --host; repeatable",
        **many,
    )
    parser.add_argument(
        "--pad",
        action="store_true",
        help="batch requests of different widths, padded as in TensorFlow Serving",
    )
    for name, kind, default, _, metavar, text in _NUMBERS:
        parser.add_argument(
            f"--{name}",
            type=kind,
            default=default,
            metavar=metavar,
            help=f"{text} (default: {default:g})",
        )
    return parser


def check_bounds(parsed: argparse.Namespace) -> None:
    """Checks the numeric options.

    Raises:
        ValueError: If a number is out of bounds.
    """
    for name, _, _, (least, most), *_ in _NUMBERS:
        value = getattr(parsed, name.replace("-", "_"))
        if not value >= least:
            raise ValueError(f"--{name} must be {least} or greater, but is {value}.")
        if value > most:
            raise ValueError(f"--{name} must be at most {most}, but is {value}.")


def read_models(parsed: argparse.Namespace) -> list:
    """Returns the `ModelConfig` of each model.

    Raises:
        ValueError: If --model, --versions or --labels cannot be read or do not go together.
    """
    from ..server.model_config import ModelConfig, parse_policy

    folders = dict(_pairs("--model", parsed.model, "=", "NAME=FOLDER"))
    versions = _pairs("--versions", parsed.versions, "=", "NAME=WHICH")
    policies = {name: {"policy": parse_policy(which)} for name, which in versions}
    labels = {}
    form = "NAME:LABEL=VERSION"
    for name, rest in _pairs("--labels", parsed.labels, ":", form):
        ((label, number),) = _pairs("--labels", [rest], "=", form)
        if not re.fullmatch("[0-9]{1,18}", number):
            given = shown(f"{name}:{rest}")
            raise ValueError(f"--labels must be {form} with a number, but is {given}.")
        labels.setdefault(name, {})[label] = int(number)
    for option, names in (("--versions", policies), ("--labels", labels)):
        for name in names:
            if name not in folders:
                raise ValueError(
                    f"{option} names the model {name}, which is not among those of --model; "
                    f"name one of {', '.join(folders)}."
                )
    for name, folder in folders.items():
        if not Path(folder).is_dir():
            raise ValueError(
                f"--model {name}={folder} names no folder; "
                "give one that python -m tfrec_attn.export has written."
            )
    return [
        ModelConfig(name, folder, labels=labels.get(name, {}), **policies.get(name, {}))
        for name, folder in folders.items()
    ]


def _pairs(option: str, texts: list[str], separator: str, form: str) -> Iterator[tuple[str, str]]:
    for text in texts:
        left, found, right = text.partition(separator)
        if not (left and found and right):
            raise ValueError(f"{option} must be {form}, but is {shown(text)}.")
        yield left, right
