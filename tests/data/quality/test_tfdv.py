"""Statistics, schema, anomalies, drift and skew by TensorFlow Data Validation, where it is
installed: make test-validation.
"""

import json

import numpy as np
import polars as pl
import pytest

from tfrec_attn import train
from tfrec_attn.data import validate
from tfrec_attn.data.quality import tfdv
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.errors import DataError

pytestmark = pytest.mark.skipif(not tfdv.is_installed(), reason=f"{tfdv.HOW_TO_GET_IT}")


@pytest.fixture(scope="module")
def frame():
    log = synthetic(3_000)
    rows = np.arange(log.height)
    return log.with_columns(
        rating=pl.Series(1.0 + rows % 5), event=pl.Series(np.where(rows % 4, "view", "buy"))
    )


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


def test_times_with_fractions_are_not_negative_either(frame):
    fractions = frame.select(pl.col("timestamp") + 0.5)
    schema = tfdv.infer_schema(tfdv.compute_statistics(fractions))
    anomalies = tfdv.find_anomalies(
        tfdv.compute_statistics(fractions.select(-pl.col("timestamp"))), schema
    )
    assert anomalies["timestamp"][0].startswith("Out-of-range values: Unexpectedly low values")


def test_a_log_fits_its_own_schema(statistics, schema):
    assert tfdv.find_anomalies(statistics, schema, previous=statistics, serving=statistics) == {}


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        (lambda log: log.drop("rating"), "rating", "Column dropped: Column is completely missing"),
        (
            lambda log: log.with_columns(timestamp=-pl.col("timestamp")),
            "timestamp",
            "Out-of-range values: Unexpectedly small value",
        ),
        (
            lambda log: log.with_columns(rating=2 * pl.col("rating")),
            "rating",
            "Out-of-range values: Unexpectedly high value: 10>5",
        ),
        (
            lambda log: log.with_columns(event=pl.lit("cart")),
            "event",
            "Unexpected string values: Examples contain values missing",
        ),
        (
            lambda log: log.with_columns(timestamp=pl.col("timestamp") + 0.5),
            "timestamp",
            "Unexpected data type: Expected data of type: INT",
        ),
        (lambda log: log.with_columns(more=pl.lit("x")), "more", "New column: New column"),
    ],
)
def test_anomalies_are_named(frame, schema, change, name, said):
    anomalies = tfdv.find_anomalies(tfdv.compute_statistics(change(frame)), schema)
    assert set(anomalies) == {name}
    assert anomalies[name][0].startswith(said)


def test_drift_and_skew(frame, statistics, schema):
    other = frame.with_columns(
        item_id=pl.when(pl.int_range(pl.len()) % 10 == 0).then(pl.lit("i7")).otherwise("item_id")
    )
    changed = tfdv.compute_statistics(other)
    drift = tfdv.find_anomalies(changed, schema, previous=statistics)
    assert list(drift) == ["item_id"] and drift["item_id"][0].startswith(
        "High Linfty distance between current and previous"
    )
    requests = tfdv.compute_statistics(other.select("user_id", "item_id"))
    skew = tfdv.find_anomalies(statistics, schema, serving=requests)
    assert list(skew) == ["item_id"] and skew["item_id"][0].startswith(
        "High Linfty distance between training and serving"
    )


def test_files_are_read_back(statistics, schema, tmp_path):
    tfdv.save_schema(schema, tmp_path / "schema.pbtxt")
    tfdv.save_statistics(statistics, tmp_path / "statistics.pb")
    assert tfdv.load_schema(tmp_path / "schema.pbtxt") == schema
    assert tfdv.load_statistics(tmp_path / "statistics.pb") == statistics
    (tmp_path / "statistics.pbtxt").write_text(str(statistics))
    assert tfdv.load_statistics(tmp_path / "statistics.pbtxt") == statistics


@pytest.mark.parametrize("load", [tfdv.load_schema, tfdv.load_statistics])
def test_files_that_are_none(load, tmp_path):
    with pytest.raises(
        DataError,
        match=r"does not exist: expected the file of .* that tfrec_attn.data.validate has "
        r"written\.$",
    ):
        load(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"\xff\xfe what?")
    with pytest.raises(
        DataError, match=r"bad is not .* as tfrec_attn.data.validate writes them \(.*\)\.$"
    ):
        load(tmp_path / "bad")


def test_statistics_of_no_log(tmp_path):
    (tmp_path / "empty.pb").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"must hold the statistics of one log, but holds those of 0\.$"
    ):
        tfdv.load_statistics(tmp_path / "empty.pb")


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
    assert "! rating: Out-of-range values: Unexpectedly high value: 6>5" in out
    assert "! item_id: High Linfty distance between current and previous" in out
    tree = json.loads((tmp_path / "tuesday" / "report.json").read_text())
    assert set(tree["schema"]["anomalies"]) == {"item_id", "rating"} and "drift" not in tree
    assert not (tmp_path / "tuesday" / "schema.pbtxt").exists()


def test_the_command_finds_skew(command, path, tmp_path):
    requests = tmp_path / "requests.jsonl"
    requests.write_text('{"history": ["i7"]}\n' * 10)
    code, out, _ = command(path, "--serving-log", requests)
    assert code == 1
    assert "! item_id: High Linfty distance between training and serving" in out


def test_an_invalid_schema_writes_nothing(command, path, tmp_path):
    code, out, error = command(path, "--schema", path, "--to", tmp_path / "to")
    assert (code, out) == (2, "")
    assert error.startswith(
        f"error: {path} is not a schema as tfrec_attn.data.validate writes them ("
    )
    assert not (tmp_path / "to").exists()


def test_training_refuses_a_log_that_breaks_the_schema(schema, path, tmp_path, capsys):
    tfdv.save_schema(schema, tmp_path / "schema.pbtxt")
    keys = [
        "data.source=file",
        f"data.path={path}",
        f"data.schema={tmp_path}/schema.pbtxt",
        f"run_dir={tmp_path}/runs/x",
    ]
    assert train.main([*keys, "data.columns.rating=rating"]) == 2
    assert capsys.readouterr().err == (
        f"error: the log breaks data.schema={tmp_path}/schema.pbtxt (event: Column dropped: "
        "Column is completely missing): "
        "correct the log or edit the schema.\n"
    )
    assert not (tmp_path / "runs").exists()


def test_training_with_a_log_that_fits_the_schema(schema, path, tmp_path, capsys):
    tfdv.save_schema(schema, tmp_path / "schema.pbtxt")
    keys = [
        "data.source=file",
        f"data.path={path}",
        f"data.schema={tmp_path}/schema.pbtxt",
        f"run_dir={tmp_path}/run",
        *COLUMNS,
    ]
    assert train.main([*keys, "train.epochs=1", "model.dim=4", "evaluate.bootstrap=0"]) == 0, (
        capsys.readouterr().err
    )
    assert (tmp_path / "run" / "metrics.json").exists()
