"""Tells what is wrong with a log: `python -m tfrec_attn.data.validate [LOG ...] [data.key=value
...]`.

The quality report needs nothing but the package. Statistics, schema, anomalies, drift and skew by
TensorFlow Data Validation come with it where that is installed.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from tfrec_attn import config as configuration
from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.config import Data
from tfrec_attn.config.coercion import usable_path
from tfrec_attn.data.quality.text_report import as_text
from tfrec_attn.data.quality.validation import validate
from tfrec_attn.errors import ConfigError, TfrecError, shown


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, 1 where a log breaks its schema (drift and skew too), 2 for a log or
    options that cannot be used.
    """
    parsed = _parser().parse_intermixed_args(arguments)
    try:
        data = _data_of(parsed)
        tree = validate(
            data,
            **{
                key: getattr(parsed, key)
                for key in ("logs", "schema", "against", "serving_log", "vocabulary", "to")
            },
        )
    except TfrecError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing was written\n")
        return 130
    written = (
        f"\n\nWrote {parsed.to}: {', '.join(sorted(entry.name for entry in Path(parsed.to).iterdir()))}"
        if parsed.to
        else ""
    )
    sys.stdout.write(
        f"{json.dumps(tree, indent=2, ensure_ascii=False) if parsed.json else as_text(tree) + written}\n"
    )
    return 1 if tree.get("schema", {}).get("anomalies") else 0


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog="python -m tfrec_attn.data.validate",
        description="Tells what is wrong with a log. Exit code 1: it breaks its schema, drift and skew included; 2: it cannot be read.",
    )
    parser.add_argument(
        "logs",
        nargs="*",
        metavar="LOG",
        help="log files, folders or patterns, read in order; without any: data.source",
    )
    parser.add_argument(
        "--config",
        type=path,
        metavar="FILE",
        help="as of tfrec_attn.train; its section data is used, below data.key=value arguments",
    )
    parser.add_argument(
        "--schema",
        type=path,
        metavar="FILE",
        help="schema.pbtxt that the log must keep to (TensorFlow Data Validation)",
    )
    parser.add_argument(
        "--against",
        type=path,
        metavar="STATS",
        help="earlier log, folder or report.json of this command, or statistics.pb: drift",
    )
    parser.add_argument(
        "--serving-log",
        type=path,
        metavar="FILE",
        help="request log (.jsonl, .parquet or a log of events): unknown ids, skew",
    )
    parser.add_argument(
        "--vocabulary",
        type=path,
        metavar="PATH",
        help="known items, an id a line, or the folder vocabulary of a run",
    )
    parser.add_argument(
        "--to",
        type=path,
        metavar="DIR",
        help="new folder for report.json, report.html, statistics.pb and schema.pbtxt",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.epilog = "Arguments data.key=value, such as data.columns.user=visitor, stand beside the logs; tfrec_attn.train --help lists them."
    return parser


def _data_of(parsed: argparse.Namespace) -> Data:
    """The section data; moves key=value arguments out of the logs."""
    overrides = [one for one in parsed.logs if "=" in one and not os.path.exists(one)]
    parsed.logs = [usable_path("LOG", one) for one in parsed.logs if one not in overrides]
    for text in overrides:
        if not text.startswith("data."):
            raise ConfigError(
                f"Expected log files and data.key=value on the command line but got {shown(text)}."
            )
    return configuration.load(parsed.config, overrides).data


if __name__ == "__main__":
    sys.exit(main())
