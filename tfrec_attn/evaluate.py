"""Evaluates a finished run again from its checkpoint: `python -m tfrec_attn.evaluate RUN [--split test] [--json] [--ranks FILE]`."""

import json
import sys

from tfrec_attn import run
from tfrec_attn.arguments import Arguments, path
from tfrec_attn.errors import ConfigError, TfrecError
from tfrec_attn.own_files import check_output, write_output
from tfrec_attn.runtime import import_tensorflow, set_precision
from tfrec_attn.tables import format_table

_RANKS = "user_id\titem_id\trank"


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 2 for a run or data that cannot be used."""
    parser = Arguments(prog="python -m tfrec_attn.evaluate", description="Evaluates a finished run from its checkpoint.")
    parser.add_argument("run", type=path, help="folder that tfrec_attn.train has written")
    parser.add_argument("--split", choices=("valid", "test"), default="test", help="which held-out events (default: test)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--ranks", type=path, metavar="FILE", help="write user, item and rank of every held-out event to this TSV file")
    parsed = parser.parse_args(arguments)
    try:
        report = evaluate(parsed.run, parsed.split, parsed.ranks)
    except TfrecError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{json.dumps(report, indent=2) if parsed.json else _table(parsed.split, report)}\n")
    return 0


def evaluate(folder: str, part: str = "test", ranks_file: str | None = None) -> dict:
    """Metrics of one part with their intervals, as they stand in the run's metrics.json.

    Args:
      folder: the run.
      part: "valid" or "test".
      ranks_file: TSV to write user_id, item_id and rank of every held-out event to.

    Errors: ConfigError and DataError when the run or its log cannot be used, or the file cannot be written.
    """
    if ranks_file is not None:
        check_output(ranks_file, _RANKS, "--ranks")
    config = run.load_config(folder)
    data = run.load_data(folder)
    import_tensorflow()
    set_precision(config.runtime.precision)
    from tfrec_attn.fitting import rank, report

    ranks = rank(run.load_model(folder).ranks, config, data.split, part)
    if ranks_file is not None:
        _write_ranks(ranks_file, data, part, ranks)
    return report(ranks, config, part)


def _write_ranks(path: str, data: run.PreparedData, part: str, ranks) -> None:
    if data.sequences.items is None:
        raise ConfigError("--ranks needs all events in memory: the run was trained with data.cache=stream.")
    positions, sequences = getattr(data.split, part), data.sequences
    users = sequences.user_vocabulary.ids(data.split.rows(positions) + 1)
    items = sequences.item_vocabulary.ids(sequences.items[positions])
    lines = [_RANKS, *(f"{user}\t{item}\t{place}" for user, item, place in zip(users, items, ranks, strict=True))]
    write_output(path, "\n".join(lines) + "\n", _RANKS, "--ranks")


def _table(part: str, report: dict) -> str:
    return format_table(part, {"model": report[part]}, report.get(f"{part}_interval"))


if __name__ == "__main__":
    sys.exit(main())
