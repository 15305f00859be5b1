"""Statistics and schema by TensorFlow Data Validation, and that it finds the same anomalies, where
it is installed: make test-validation.
"""

import importlib
import json
import re

import polars as pl
import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2

from tests.data.quality.schema_cases import CASES, SCHEMA, rated_log
from tfrec_attn.data import validate
from tfrec_attn.data.quality import tfdv
from tfrec_attn.data.quality.anomalies import find_anomalies
from tfrec_attn.data.quality.distributions import (
    distribution_of,
    jensen_shannon_divergence,
    l_infinity,
    load_distributions,
)
from tfrec_attn.data.quality.schema_file import load_schema

pytestmark = pytest.mark.skipif(not tfdv.is_installed(), reason=f"{tfdv.HOW_TO_GET_IT}")


@pytest.fixture(scope="module")
def frame():
    return rated_log()


@pytest.fixture(scope="module")
def statistics(frame):
    return tfdv.compute_statistics(frame)


@pytest.fixture(scope="module")
def schema(statistics):
    return tfdv.infer_schema(statistics)


@pytest.fixture
def path(frame, tmp_path):
    path = tmp_path / "log.tsv"
    frame.write_csv(path, separator="\t")
    return path


COLUMNS = ["data.columns.rating=rating", "data.columns.event=event"]


@pytest.fixture
def command(capsys):
    """A function that runs the command and returns (exit code, stdout, stderr)."""

    def call(*arguments):
        capsys.readouterr()
        code = validate.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def features(statistics):
    assert len(statistics.datasets) == 1
    return {feature.path.step[0]: feature for feature in statistics.datasets[0].features}


def test_statistics_are_those_of_polars(frame, statistics):
    assert statistics.datasets[0].num_examples == frame.height
    found = features(statistics)
    assert set(found) == set(frame.columns)
    for name in ("rating", "timestamp"):
        assert found[name].num_stats.mean == pytest.approx(frame[name].mean())
        assert (found[name].num_stats.min, found[name].num_stats.max) == (
            frame[name].min(),
            frame[name].max(),
        )
    assert found["event"].string_stats.unique == 2
    top = found["item_id"].string_stats.top_values[0]
    counts = frame["item_id"].value_counts(sort=True)
    assert top.frequency == counts["count"][0]


def test_batches_do_not_matter(frame, statistics, monkeypatch):
    monkeypatch.setattr(tfdv, "_BATCH", 700)
    found, whole = features(tfdv.compute_statistics(frame)), features(statistics)
    for name in ("user_id", "item_id", "event"):
        assert found[name].string_stats.top_values == whole[name].string_stats.top_values
    assert found["rating"].num_stats.mean == pytest.approx(whole["rating"].num_stats.mean)


def test_the_schema_keeps_what_a_day_may_change_open(schema):
    found = {feature.name: feature for feature in schema.feature}
    assert [domain.name for domain in schema.string_domain] == ["event"]
    assert not found["user_id"].HasField("domain") and not found["item_id"].HasField("domain")
    assert found["timestamp"].int_domain.min == 0
    assert (found["rating"].float_domain.min, found["rating"].float_domain.max) == (1, 5)
    assert (
        found["item_id"].drift_comparator.infinity_norm.threshold
        == found["item_id"].skew_comparator.infinity_norm.threshold
        == 0.01
    )
    assert found["rating"].drift_comparator.HasField("jensen_shannon_divergence")


def test_the_schema_of_the_other_tests_is_inferred(schema):
    assert schema == load_schema(SCHEMA)


def test_times_with_fractions_are_not_negative_either(frame):
    fractions = frame.select(pl.col("timestamp") + 0.5)
    schema = tfdv.infer_schema(tfdv.compute_statistics(fractions))
    (anomaly,) = find_anomalies(fractions.select(-pl.col("timestamp")), schema)
    assert anomaly.kind == "FLOAT_TYPE_SMALL_FLOAT"


@pytest.mark.parametrize("name", CASES)
def test_the_same_anomalies_are_found(frame, schema, name):
    case, schema = CASES[name], load_schema(SCHEMA)
    case.edit(schema)
    logs = (case.change(frame), *(make and make(frame) for make in (case.previous, case.serving)))
    log, previous, serving = (None if one is None else tfdv.compute_statistics(one) for one in logs)
    found = importlib.import_module("tensorflow_data_validation").validate_statistics(
        log, schema, previous_statistics=previous, serving_statistics=serving
    )
    kind = anomalies_pb2.AnomalyInfo.Type.Name
    assert sorted(
        (feature, kind(reason.type))
        for feature, info in found.anomaly_info.items()
        for reason in info.reason
    ) == sorted((feature, kind) for feature, kind, _ in case.expected)


@pytest.mark.parametrize(
    "change",
    [
        {"item_id": pl.col("item_id").str.slice(0, 2)},
        {"item_id": pl.col("user_id")},
        {"rating": pl.col("rating") ** 2},
        {"rating": pl.col("rating") * 0.77 + 1.3},
        {"rating": pl.col("rating").clip(2, 3)},
        {"rating": (pl.int_range(pl.len()) % 2_000).sqrt()},
    ],
)
def test_the_same_distances_are_measured(frame, change):
    schema, other = load_schema(SCHEMA), frame.with_columns(**change)
    (name,) = change
    comparator = next(one for one in schema.feature if one.name == name).drift_comparator
    only = comparator.infinity_norm if name == "item_id" else comparator.jensen_shannon_divergence
    only.threshold = 0
    statistics = [tfdv.compute_statistics(one.select(name)) for one in (frame, other)]
    found = importlib.import_module("tensorflow_data_validation").validate_statistics(
        statistics[1], schema, previous_statistics=statistics[0]
    )
    (measured,) = (one for one in found.drift_skew_info if one.path.step[0] == name)
    earlier, later = (distribution_of(one[name]) for one in (frame, other))
    if name == "item_id":
        distance, _ = l_infinity(earlier, later)
    else:
        distance = jensen_shannon_divergence(earlier, later)
    # Its bins come from quantiles, so a few of the numbers are in a wrong one.
    assert distance == pytest.approx(measured.drift_measurements[0].value, abs=0.01)


def test_statistics_stand_for_their_log(frame, statistics, schema, tmp_path):
    (tmp_path / "statistics.pb").write_bytes(statistics.SerializeToString())
    previous = load_distributions(tmp_path / "statistics.pb")
    assert set(previous) == set(frame.columns)
    assert find_anomalies(frame, schema, previous=previous, serving=previous) == []
    items = frame["item_id"].alias("value").value_counts()
    assert l_infinity(previous["item_id"], items)[0] == pytest.approx(0, abs=1e-9)
    (tmp_path / "statistics.pbtxt").write_text(str(statistics))
    again = load_distributions(tmp_path / "statistics.pbtxt")
    assert again["event"].equals(previous["event"])


def test_a_schema_is_read_back(schema, tmp_path):
    tfdv.save_schema(schema, tmp_path / "schema.pbtxt")
    assert load_schema(tmp_path / "schema.pbtxt") == schema


def test_the_command_checks_a_log_against_an_earlier_schema(command, frame, path, tmp_path):
    code, _, error = command(path, *COLUMNS, "--to", tmp_path / "monday")
    assert (code, error) == (0, "")
    assert {entry.name for entry in (tmp_path / "monday").iterdir()} == {
        "report.html",
        "report.json",
        "schema.pbtxt",
        "statistics.pb",
    }
    schema = tmp_path / "monday" / "schema.pbtxt"
    assert command(path, *COLUMNS, "--schema", schema, "--against", tmp_path / "monday")[0] == 0

    tuesday = tmp_path / "tuesday.tsv"
    frame.with_columns(rating=pl.col("rating") + 1, item_id=pl.lit("i7")).write_csv(
        tuesday, separator="\t"
    )
    arguments = (
        tuesday,
        *COLUMNS,
        "--schema",
        schema,
        "--against",
        tmp_path / "monday" / "statistics.pb",
        "--to",
        tmp_path / "tuesday",
    )
    code, out, error = command(*arguments)
    assert (code, error) == (1, "")
    assert "! rating: the largest value is 6, expected 5 or less" in out
    assert re.search("! item_id: the share of 'i7' differs by .* from the earlier log", out)
    tree = json.loads((tmp_path / "tuesday" / "report.json").read_text())
    assert set(tree["schema"]["anomalies"]) == {"item_id", "rating"} and "drift" not in tree
    assert not (tmp_path / "tuesday" / "schema.pbtxt").exists()


def test_the_command_finds_skew(command, path, tmp_path):
    requests = tmp_path / "requests.jsonl"
    requests.write_text('{"history": ["i7"]}\n' * 10)
    code, out, _ = command(path, "--serving-log", requests)
    assert code == 1
    assert re.search("! item_id: the share of 'i7' differs by .* from the request log", out)
