"""Writes a generated log to try the commands with: `python -m tfrec_attn.data.example FILE.csv`."""

import sys
from pathlib import Path

from tfrec_attn.cli.arguments import Arguments, path, require_at_least
from tfrec_attn.cli.terminal import reporting, write_line
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.errors import ConfigError
from tfrec_attn.files.writing import write_output

_COLUMNS = {"user_id": "visitor", "item_id": "page"}
_LEAST, _MOST = 1000, 100_000_000


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command, and returns 0, or 2 for a file or a size that cannot be used."""
    parser = Arguments(
        prog="python -m tfrec_attn.data.example",
        description="Writes a generated log as CSV, with the columns visitor, page and timestamp. "
        "The same arguments write the same log.",
    )
    parser.add_argument("file", type=path, help="file to write")
    parser.add_argument(
        "--events",
        type=int,
        default=10_000,
        metavar="N",
        help="approximate number of events, at least 1000 (default: 10000)",
    )
    parser.add_argument(
        "--seed", type=int, default=2024, metavar="N", help="seed of the log (default: 2024)"
    )
    parsed = parser.parse_args(arguments)
    require_at_least(0, parsed, "seed")
    if not _LEAST <= parsed.events <= _MOST:
        raise ConfigError(f"--events must be from {_LEAST} to {_MOST}, but is {parsed.events}.")
    if Path(parsed.file).is_file():
        raise ConfigError(f"{parsed.file} exists; name a new file, or remove it.")
    log = synthetic(parsed.events, parsed.seed)
    write_output(parsed.file, log.rename(_COLUMNS).write_csv(), "", "FILE")
    write_line(f"Wrote {parsed.file}: {len(log)} events")
    return 0


if __name__ == "__main__":
    sys.exit(main())
