"""Validates a log: measures, leakage, requests, drift and anomalies in one report."""

import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path

import polars as pl
from tensorflow_metadata.proto.v0 import schema_pb2

from tfrec_attn.config import Data
from tfrec_attn.data.quality import log_profile, tfdv
from tfrec_attn.data.quality.anomalies import find_anomalies
from tfrec_attn.data.quality.distributions import load_distributions
from tfrec_attn.data.quality.html_report import as_html
from tfrec_attn.data.quality.log_measures import EncodedLog, measure
from tfrec_attn.data.quality.request_log import count_unknown, read_requests
from tfrec_attn.data.quality.schema_file import load_schema
from tfrec_attn.data.reading.catalog import load_configured
from tfrec_attn.data.sequences.encoding import encode_log
from tfrec_attn.data.sequences.event_filters import filter_events
from tfrec_attn.data.sequences.leakage import leak_report
from tfrec_attn.data.sequences.splits import Split, make_split
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.files.readable import readable

_REPORT, _PAGE, _STATISTICS, _SCHEMA = "report.json", "report.html", "statistics.pb", "schema.pbtxt"
_STATISTICS_SUFFIXES = (".pb", ".pbtxt")


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
    """Measures a log, and checks it against a schema.

    Statistics and an inferred schema need TensorFlow Data Validation.

    Args:
        data: How to read, filter and split the log.
        logs: Files that replace the source, read one after the other. None (default): the source.
        schema: The schema of the log, `schema.pbtxt`. None (default): the schema is inferred, if
            TensorFlow Data Validation is installed.
        against: What to compare with: a folder or report.json that this command has written,
            statistics (`.pb` or `.pbtxt`), or an earlier log that is read in the same way. None
            (default): there is no comparison.
        serving_log: A request log, as for `tfrec_attn.data.quality.request_log`, or None (default).
        vocabulary: Known items: a file with an id on each line, or the folder `vocabulary` of a
            run. None (default): the users and items that the split of this log keeps.
        to: A new folder for report.json, report.html, statistics.pb and, unless a schema is given,
            schema.pbtxt. None (default): nothing is written.

    Returns:
        The report, as in report.json.

    Raises:
        ConfigError: If an option cannot be used, or if it needs TensorFlow Data Validation, which
            is not installed. Then nothing is written.
        DataError: If a file cannot be read. Then nothing is written.
    """
    _check_options(schema, against, to)
    given = load_schema(schema) if schema is not None else None
    result = load_configured(data, logs=logs or ())
    is_synthetic = not logs and data.source == "synthetic"
    log = EncodedLog(result.frame, is_synthetic or data.columns.timestamp is not None)
    source = ", ".join(logs) if logs else data.path or data.source
    tree = {"source": source, "rejected": result.rejected, **measure(log, time.time())}
    split = _add_split(tree, result.frame, data)
    requests = None
    if serving_log is not None:
        requests = read_requests(serving_log, data)
        unknown = count_unknown(requests, *_vocabularies(vocabulary, split, log))
        tree["request_log"] = {"path": str(serving_log), **unknown}
    profile, earlier = _earlier(against, data)
    if profile:
        counts = dict(zip(log.item_ids.to_list(), log.item_counts.tolist(), strict=True))
        drift = log_profile.compare(profile, log.profile(), counts)
        tree["drift"] = {"against": str(against), **drift}
    checked = _check_schema(tree, result.frame, given, earlier, requests)
    if given is not None:
        tree["schema"]["path"] = str(schema)
    if to is not None:
        _write(Path(to), tree, profile, *checked)
    return tree


def _earlier(
    against: str | None, data: Data
) -> tuple[log_profile.Profile | None, pl.DataFrame | Path | None]:
    """Returns the profile of the earlier log, and the earlier log itself or its statistics file."""
    if against is None:
        return None, None
    path = Path(against)
    if path.is_dir():
        statistics = path / _STATISTICS
        return _profile_in(path / _REPORT), statistics if statistics.exists() else None
    if path.suffix == ".json":
        return _profile_in(path), None
    if path.suffix in _STATISTICS_SUFFIXES:
        return None, path
    frame = load_configured(data, logs=[against]).frame
    return EncodedLog(frame, data.columns.timestamp is not None).profile(), frame


def _check_options(schema: str | None, against: str | None, to: str | None) -> None:
    is_statistics = against is not None and Path(against).suffix in _STATISTICS_SUFFIXES
    if is_statistics and schema is None and not tfdv.is_installed():
        raise ConfigError(
            f"--against with statistics and without --schema cannot be used: {tfdv.HOW_TO_GET_IT}."
        )
    if to is not None and os.path.lexists(to):
        raise ConfigError(f"--to {to} exists; name a new folder, or remove it.")
    if to is not None:
        # Unlike `Path.exists`, `os.path.exists` does not raise for a folder without permission.
        above = next(one for one in Path(to).absolute().parents if os.path.exists(one))
        if not (above.is_dir() and os.access(above, os.W_OK)):
            raise ConfigError(
                f"--to {to} cannot be written: {above} is no writable folder; name another folder."
            )


def _check_schema(
    tree: dict,
    frame: pl.DataFrame,
    schema: schema_pb2.Schema | None,
    earlier: pl.DataFrame | Path | None,
    requests: pl.DataFrame | None,
) -> tuple:
    """Adds the anomalies to the report, and returns the statistics and the inferred schema.

    Either can be None.
    """
    statistics = inferred = None
    if tfdv.is_installed():
        statistics = tfdv.compute_statistics(frame)
        inferred = tfdv.infer_schema(statistics) if schema is None else None
    else:
        missing = "statistics and schema are" if schema is None else "statistics are"
        tree["tfdv"] = f"{tfdv.HOW_TO_GET_IT}; {missing} left out."
    required = inferred if schema is None else schema
    if required is not None:
        previous = load_distributions(earlier) if isinstance(earlier, Path) else earlier
        serving = None
        if requests is not None:
            events = requests.explode("history").drop_nulls()
            serving = events.select("user_id", item_id="history")
        anomalies: dict[str, list[str]] = {}
        for one in find_anomalies(frame, required, previous=previous, serving=serving):
            anomalies.setdefault(one.feature, []).append(one.text)
        tree["schema"] = {"path": "inferred from this log", "anomalies": anomalies}
    return statistics, inferred


def _add_split(tree: dict, frame: pl.DataFrame, data: Data) -> Split | None:
    """Adds the results of the event filters and of the split, or the reason for no split."""
    tree["split"] = data.split
    least = {"min_user_events": data.min_user_events, "min_item_events": data.min_item_events}
    bounds = {"valid_from": data.valid_from, "test_from": data.test_from}
    try:
        frame, report = filter_events(frame, data)
        tree |= {} if report is None else {"selection": str(report)}
        split = make_split(encode_log(frame, **least)[0], data.split, **bounds)
    except DataError as error:
        tree["leaks"] = str(error)
        return None
    tree["leaks"] = leak_report(split).to_dict()
    return split


def _vocabularies(
    path: str | None, split: Split | None, log: EncodedLog
) -> tuple[Vocabulary | None, Vocabulary]:
    """Returns the known users, or None if only items are known, and the known items."""
    if path is not None and Path(path).is_dir():
        return Vocabulary.load(Path(path) / "users.txt"), Vocabulary.load(Path(path) / "items.txt")
    if path is not None:
        return None, Vocabulary.load(path)
    if split is not None:
        return split.sequences.user_vocabulary, split.sequences.item_vocabulary
    return Vocabulary(log.user_ids), Vocabulary(log.item_ids)


def _profile_in(path: Path) -> log_profile.Profile:
    try:
        with readable(path):
            return log_profile.from_dict(json.loads(path.read_text(encoding="utf-8")), str(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}).") from None


def _write(
    target: Path, tree: dict, earlier: log_profile.Profile | None, statistics, schema
) -> None:
    """Writes a folder, which gets its final name only when it is complete."""
    before = dataclasses.asdict(earlier) if earlier else None
    try:
        if not target.parent.exists():
            target.parent.mkdir(parents=True)
        prefix = f".{target.name[:60]}."
        with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent) as folder:
            partial = Path(folder) / target.name
            partial.mkdir()
            text = json.dumps(tree, indent=2, ensure_ascii=False) + "\n"
            (partial / _REPORT).write_text(text, encoding="utf-8")
            (partial / _PAGE).write_text(as_html(tree, before), encoding="utf-8")
            if statistics is not None:
                content = statistics.SerializeToString(deterministic=True)
                (partial / _STATISTICS).write_bytes(content)
            if schema is not None:
                tfdv.save_schema(schema, partial / _SCHEMA)
            partial.rename(target)
    except OSError as error:
        raise ConfigError(f"--to {target} cannot be written: {error.strerror or error}.") from None
