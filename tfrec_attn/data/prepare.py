"""Prepares logs once for many runs: `python -m tfrec_attn.data.prepare LOG... --to DIR`."""

import sys
from collections.abc import Sequence
from dataclasses import fields

from tfrec_attn import config as configuration
from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.cli.terminal import reporting
from tfrec_attn.config import Data
from tfrec_attn.config.coercion import usable_path
from tfrec_attn.data.shards.manifest import Manifest
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.data.shards.prepared_log import OPTIONS, REJECTED, option
from tfrec_attn.data.shards.shard_files import MOST_SHARDS
from tfrec_attn.errors import ConfigError, counted

_KEYS = ", ".join(f"data.{key}" for key in OPTIONS)


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 2 for options or data that cannot be used; 130 when interrupted.
    """
    parser = Arguments(
        prog="python -m tfrec_attn.data.prepare",
        description="Filters, indexes and splits logs and writes them as shards for "
        "data.source=DIR. An interrupted run is resumed.",
        epilog=f"keys: {_KEYS}; python -m tfrec_attn.train --help explains them",
    )
    parser.add_argument(
        "logs",
        nargs="+",
        metavar="LOG",
        help="log files, folders or patterns in order of time, and data.key=value settings of the "
        "preparation",
    )
    add_preparation(parser)
    parsed = parser.parse_intermixed_args(arguments)
    overrides = [text for text in parsed.logs if text.startswith("data.") and "=" in text]
    try:
        logs = [usable_path("LOG", text) for text in parsed.logs if text not in overrides]
        if not logs:
            raise ConfigError("Expected a log to prepare, got none.")
        data, shards = options_of(overrides), shards_of(parsed.shards)
        manifest = prepare_log(logs, parsed.to, data, shards, restart=parsed.restart)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted: the same command resumes from {parsed.to}.partial\n")
        return 130
    sys.stdout.write(f"{summary(manifest, parsed.to)}\n")
    return 0


def add_preparation(parser: Arguments) -> None:
    """Adds the arguments of the commands that prepare logs."""
    parser.add_argument(
        "--to", type=path, required=True, metavar="DIR", help="folder to write, on this machine"
    )
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="number of files of sequences (default: one for each million events, at least 8)",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="start again: remove unfinished work, and replace a complete folder",
    )


def options_of(overrides: Sequence[str]) -> Data:
    """Reads `data.key=value` texts.

    Raises:
        ConfigError: If a key is unknown or does not affect a prepared log.
    """
    data, default = configuration.load(None, overrides).data, Data()
    for field in fields(Data):
        if field.name not in OPTIONS and option(data, field.name) != option(default, field.name):
            raise ConfigError(
                f"data.{field.name} does not affect a prepared log: the keys that do are {_KEYS}."
            )
    return data


def shards_of(count: int | None) -> int | None:
    """Returns the checked number of shards.

    Raises:
        ConfigError: If the number is out of range.
    """
    if count is not None and not 1 <= count <= MOST_SHARDS:
        raise ConfigError(f"--shards must be 1 to {MOST_SHARDS}, got {count}.")
    return count


def summary(manifest: Manifest, folder: str) -> str:
    """Returns lines that describe a prepared log."""
    report, rejected = manifest.report(), ""
    filters = "" if report.selection is None else f"{report.selection}.\n"
    if manifest.rejected:
        rejected = (
            f"; {counted(manifest.rejected, 'line', form='')} could not be read: "
            f"{folder}/{REJECTED} lists which and why"
        )
    notes = "".join(f"Note: {one}.\n" for one in report.sentences())
    shards = counted(len(manifest.shards), "shard")
    size = f"{shards}, {sum(manifest.sizes.values()) / 1e6:.1f} MB"
    return (
        f"{filters}{report.before}{rejected}; after the filter {report.after}.\n{notes}"
        f"{manifest.train} training, {manifest.valid} validation and {manifest.test} test events.\n"
        f"Wrote {folder}: {size}.\n\n"
        f"Next: python -m tfrec_attn.train data.source={folder}"
    )


if __name__ == "__main__":
    sys.exit(main())
