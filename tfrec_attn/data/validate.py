"""Reports the problems of a log: `python -m tfrec_attn.data.validate [LOG ...]`.

The log is checked against a schema if one is given or can be inferred. TensorFlow Data Validation,
if it is installed, adds statistics and an inferred schema.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from tfrec_attn import config as configuration
from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.cli.terminal import reporting
from tfrec_attn.config import Data
from tfrec_attn.config.coercion import usable_path
from tfrec_attn.errors import ConfigError, shown


@reporting(interrupted="nothing was written")
def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 1 if a log breaks its schema, which includes drift and skew; 2 for a log or options that
        cannot be used; 130 when interrupted.
    """
    parsed = _parser().parse_intermixed_args(arguments)
    names = ("logs", "schema", "against", "serving_log", "vocabulary", "to")
    # Imported here, so that an unusable tensorflow-metadata is reported as an error.
    from tfrec_attn.data.quality.text_report import as_text
    from tfrec_attn.data.quality.validation import validate

    data = _data_of(parsed)
    tree = validate(data, **{name: getattr(parsed, name) for name in names})
    if parsed.json:
        text = json.dumps(tree, indent=2, ensure_ascii=False)
    else:
        text = as_text(tree)
        if parsed.to:
            files = ", ".join(sorted(entry.name for entry in Path(parsed.to).iterdir()))
            text += f"\n\nWrote {parsed.to}: {files}"
    sys.stdout.write(f"{text}\n")
    return 1 if tree.get("schema", {}).get("anomalies") else 0


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog="python -m tfrec_attn.data.validate",
        description="Reports the problems of a log. Exit code 1: it breaks its schema, drift and "
        "skew included; 2: it cannot be read.",
        epilog="Arguments data.key=value, such as data.columns.user=visitor, can be mixed with the "
        "logs; tfrec_attn.train --help lists them.",
    )
    parser.add_argument(
        "logs",
        nargs="*",
        metavar="LOG",
        help="log files, folders or patterns, read in order (default: data.source)",
    )
    for option, metavar, text in (
        (
            "--config",
            "FILE",
            "configuration as for tfrec_attn.train; only section data is used, and data.key=value "
            "arguments override it",
        ),
        (
            "--schema",
            "FILE",
            "schema.pbtxt that the log must fit (default: inferred from the log itself)",
        ),
        (
            "--against",
            "STATS",
            "measure the drift from this: an earlier log, a folder or report.json of this command, "
            "or statistics.pb",
        ),
        (
            "--serving-log",
            "FILE",
            "measure unknown ids and skew of this request log: .jsonl, .parquet or a log of events",
        ),
        (
            "--vocabulary",
            "PATH",
            "known items: a file with one id per line, or the folder vocabulary of a run",
        ),
        (
            "--to",
            "DIR",
            "new folder for report.json, report.html, statistics.pb and schema.pbtxt",
        ),
    ):
        parser.add_argument(option, type=path, metavar=metavar, help=text)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def _data_of(parsed: argparse.Namespace) -> Data:
    """Returns section `data`, and removes the key=value arguments from the logs."""
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
