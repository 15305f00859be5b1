"""Tells what is wrong with a log: `python -m tfrec_attn.data.validate [LOG ...] [data.key=value
...]`.

The quality report needs nothing but the package. Statistics, schema, anomalies, drift and skew by
TensorFlow Data Validation come with it where that is installed.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import secrets
import sys
import time
from pathlib import Path

import polars as pl

from tfrec_attn import config as configuration
from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.config import Data
from tfrec_attn.config.coercion import usable_path
from tfrec_attn.data.quality import findings, profile, tfdv
from tfrec_attn.data.quality.html_report import as_html
from tfrec_attn.data.quality.request_log import count_unknown, read_requests
from tfrec_attn.data.quality.text_report import as_text
from tfrec_attn.data.reading.catalog import load_configured
from tfrec_attn.data.reading.interactions import ReadResult
from tfrec_attn.data.reading.times import read_by_one_rule
from tfrec_attn.data.sequences.preparation import prepare
from tfrec_attn.data.sequences.selection import has_conditions, select
from tfrec_attn.data.sequences.splits import Split, leak_report, make_split
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError, DataError, TfrecError, shown
from tfrec_attn.files.work_folder import remove

_REPORT, _PAGE, _STATISTICS, _SCHEMA = "report.json", "report.html", "statistics.pb", "schema.pbtxt"
_STATISTICS_SUFFIXES = (".pb", ".pbtxt")


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


def validate(
    data: Data,
    *,
    logs: list[str] | None = None,
    schema: str | None = None,
    against: str | None = None,
    serving_log: str | None = None,
    vocabulary: str | None = None,
    to: str | None = None,
) -> dict:
    """Measures a log and, where TensorFlow Data Validation is installed, checks it against a
    schema.

    Args:
        data: How to read, filter and split it.
        logs: Files that take the place of `data.path`, read one after the other.
        schema: A schema to keep to, `schema.pbtxt`; None infers one from the log.
        against: What to compare with: a folder or report.json that this command has written,
            statistics (`.pb` or `.pbtxt`), or an earlier log that is read in the same way.
        serving_log: A request log, as `tfrec_attn.data.quality.request_log` reads it.
        vocabulary: Known items: a file with an id a line, or the folder `vocabulary` of a run; None
            is what the split of this log keeps.
        to: A new folder for report.json, report.html, statistics.pb and, unless one is given,
            schema.pbtxt.

    Returns:
        The report, as it stands in report.json.

    Raises:
        ConfigError, DataError: If anything cannot be read, or if an option needs TensorFlow Data
            Validation and it is not installed. Nothing is written then.
    """
    _check_options(schema, against, to)
    result = _read(data, logs)
    made_up = not logs and data.source == "synthetic"
    log = findings.Log(result.frame, has_times=made_up or data.columns.timestamp is not None)
    source = ", ".join(logs) if logs else data.path or data.source
    tree = {"source": source, "rejected": result.rejected, **findings.measure(log, time.time())}
    split = _add_split(tree, result.frame, data)
    requests = read_requests(serving_log, data) if serving_log is not None else None
    if requests is not None:
        tree["request_log"] = {
            "path": str(serving_log),
            **count_unknown(requests, *_vocabularies(vocabulary, split, log)),
        }
    earlier = _Earlier(against, data) if against is not None else None
    if earlier and earlier.profile:
        counts = dict(zip(log.item_ids.to_list(), log.item_counts.tolist(), strict=True))
        tree["drift"] = {
            "against": str(against),
            **profile.compare(earlier.profile, log.profile(), counts),
        }
    checked = _check_schema(tree, result.frame, schema, earlier, requests)
    if to is not None:
        _write(Path(to), tree, earlier, *checked)
    return tree


class _Earlier:
    """What a log is compared with: a profile, and statistics once they are asked for; either may be
    None.
    """

    def __init__(self, against: str, data: Data):
        path = Path(against)
        self.profile, self._statistics, self._frame = None, None, None
        if path.is_dir():
            self.profile = _profile_in(path / _REPORT)
            self._statistics = path / _STATISTICS if (path / _STATISTICS).exists() else None
        elif path.suffix == ".json":
            self.profile = _profile_in(path)
        elif path.suffix in _STATISTICS_SUFFIXES:
            self._statistics = path
        else:
            self._frame = _read(data, [against]).frame
            self.profile = findings.Log(
                self._frame, has_times=data.columns.timestamp is not None
            ).profile()

    def statistics(self):
        if self._frame is not None:
            return tfdv.compute_statistics(self._frame)
        return tfdv.load_statistics(self._statistics) if self._statistics is not None else None


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


def _read(data: Data, logs: list[str] | None) -> ReadResult:
    if not logs:
        return load_configured(data)
    results = read_by_one_rule(
        logs,
        lambda path, rule: load_configured(
            dataclasses.replace(data, source="file", path=path), rule=rule
        ),
    )
    frame = pl.concat([result.frame for result in results], how="vertical_relaxed")
    if data.columns.timestamp is None:
        frame = frame.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64))
    return ReadResult(frame, sum(result.rejected for result in results))


def _check_options(schema: str | None, against: str | None, to: str | None) -> None:
    if schema is not None:
        tfdv.require("--schema")
    if against is not None and Path(against).suffix in _STATISTICS_SUFFIXES:
        tfdv.require("--against with statistics")
    if to is not None and os.path.lexists(to):
        raise ConfigError(f"--to {to} exists; name a new folder, or remove it.")


def _check_schema(
    tree: dict,
    frame: pl.DataFrame,
    schema: str | None,
    earlier: "_Earlier | None",
    requests: pl.DataFrame | None,
) -> tuple:
    """Adds what breaks the schema, or how to find out; returns statistics and schema to write, None
    for what is not.
    """
    if not tfdv.is_installed():
        tree["tfdv"] = f"{tfdv.HOW_TO_GET_IT}; statistics and schema are left out."
        return None, None
    statistics = tfdv.compute_statistics(frame)
    found = tfdv.load_schema(schema) if schema is not None else tfdv.infer_schema(statistics)
    serving = None if requests is None else tfdv.compute_statistics(_items_of(requests))
    anomalies = tfdv.find_anomalies(
        statistics, found, previous=earlier and earlier.statistics(), serving=serving
    )
    tree["schema"] = {"path": str(schema or "inferred from this log"), "anomalies": anomalies}
    return statistics, None if schema else found


def _add_split(tree: dict, frame: pl.DataFrame, data: Data) -> Split | None:
    """Adds what side conditions and split make of the log, or why there is no split."""
    try:
        if has_conditions(data):
            frame, selection = select(frame, data)
            tree["selection"] = str(selection)
        sequences, _ = prepare(
            frame, min_user_events=data.min_user_events, min_item_events=data.min_item_events
        )
        split = make_split(
            sequences, data.split, valid_from=data.valid_from, test_from=data.test_from
        )
    except DataError as error:
        tree["split"], tree["leaks"] = data.split, str(error)
        return None
    tree["split"], tree["leaks"] = data.split, leak_report(split).to_dict()
    return split


def _vocabularies(
    path: str | None, split: Split | None, log: findings.Log
) -> tuple[Vocabulary | None, Vocabulary]:
    """Users, or None where only items are known, and items."""
    if path is not None and Path(path).is_dir():
        return Vocabulary.load(Path(path) / "users.txt"), Vocabulary.load(Path(path) / "items.txt")
    if path is not None:
        return None, Vocabulary.load(path)
    if split is not None:
        return split.sequences.user_vocabulary, split.sequences.item_vocabulary
    return Vocabulary(log.user_ids), Vocabulary(log.item_ids)


def _items_of(requests: pl.DataFrame) -> pl.DataFrame:
    return requests.explode("history").drop_nulls().select("user_id", item_id="history")


def _profile_in(path: Path) -> profile.Profile:
    try:
        return profile.from_dict(json.loads(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}).") from None


def _write(target: Path, tree: dict, earlier: _Earlier | None, statistics, schema) -> None:
    """Writes a folder that appears when it is complete."""
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    made = False
    try:
        partial.mkdir(parents=True)
        made = True
        (partial / _REPORT).write_text(
            json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        before = dataclasses.asdict(earlier.profile) if earlier and earlier.profile else None
        (partial / _PAGE).write_text(as_html(tree, before), encoding="utf-8")
        if statistics is not None:
            tfdv.save_statistics(statistics, partial / _STATISTICS)
        if schema is not None:
            tfdv.save_schema(schema, partial / _SCHEMA)
        partial.rename(target)
    except OSError as error:
        raise ConfigError(f"--to {target} cannot be written: {error.strerror or error}.") from None
    finally:
        if made:
            remove(partial, (_REPORT, _PAGE, _STATISTICS, _SCHEMA))
            with contextlib.suppress(OSError):
                partial.rmdir()


if __name__ == "__main__":
    sys.exit(main())
