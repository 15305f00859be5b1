"""Evaluates a finished run again from its checkpoint: `python -m tfrec_attn.evaluate RUN [--split test] [--json]`."""

import argparse
import json
import sys

from tfrec_attn import run
from tfrec_attn.errors import TfrecError
from tfrec_attn.runtime import import_tensorflow, set_precision


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 2 for a run or data that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m tfrec_attn.evaluate", description="Evaluates a finished run from its checkpoint.")
    parser.add_argument("run", help="folder that tfrec_attn.train has written")
    parser.add_argument("--split", choices=("valid", "test"), default="test", help="which held-out events (default: test)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parsed = parser.parse_args(arguments)
    try:
        report = evaluate(parsed.run, parsed.split)
    except TfrecError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{json.dumps(report, indent=2) if parsed.json else _table(parsed.split, report)}\n")
    return 0


def evaluate(folder: str, part: str = "test") -> dict:
    """Metrics of one part with their intervals, as they stand in the run's metrics.json."""
    config = run.load_config(folder)
    data = run.load_data(folder)
    import_tensorflow()
    set_precision(config.runtime.precision)
    from tfrec_attn.fitting import evaluate_model

    return evaluate_model(run.load_model(folder), config, data.split, (part,))


def _table(part: str, report: dict) -> str:
    from tfrec_attn.tables import format_table

    return format_table(part, {"model": report[part]}, report.get(f"{part}_interval"))


if __name__ == "__main__":
    sys.exit(main())
