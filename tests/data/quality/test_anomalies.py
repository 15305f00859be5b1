"""The anomalies of a log with respect to a schema, and training that refuses them."""

import polars as pl
import pytest

from tests.commands import run_command
from tests.data.quality.schema_cases import CASES, SCHEMA, edited, rated_log
from tfrec_attn import config as configuration
from tfrec_attn import train
from tfrec_attn.data.quality.anomalies import find_anomalies, refuse_anomalies
from tfrec_attn.data.quality.schema_file import load_schema
from tfrec_attn.errors import DataError
from tfrec_attn.runs import run

COLUMNS = ["data.columns.rating=rating", "data.columns.event=event"]


@pytest.fixture(scope="module")
def log():
    return rated_log()


@pytest.fixture
def schema():
    return load_schema(SCHEMA)


@pytest.mark.parametrize("name", CASES)
def test_anomalies(log, schema, name):
    case = CASES[name]
    case.edit(schema)
    previous, serving = (make and make(log) for make in (case.previous, case.serving))
    found = find_anomalies(case.change(log), schema, previous=previous, serving=serving)
    assert [(one.feature, one.kind, one.text) for one in found] == case.expected


def test_numbers_that_are_not_finite(log, schema):
    # A reader of logs does not let them pass, but a frame can have them.
    edited("rating", float_domain={"disallow_nan": True, "disallow_inf": True})(schema)
    ratings = [float("nan"), float("inf"), *[1.0] * (log.height - 2)]
    found = find_anomalies(log.with_columns(rating=pl.Series(ratings)), schema)
    assert [one.kind for one in found] == [
        "FLOAT_TYPE_HAS_NAN",
        "FLOAT_TYPE_BIG_FLOAT",
        "FLOAT_TYPE_HAS_INF",
    ]


def test_a_request_log_without_items(log, schema):
    serving = log.select("user_id", "item_id").clear()
    (anomaly,) = find_anomalies(log, schema, serving=serving)
    assert str(anomaly) == "item_id: the request log has no values to compare with"


def test_a_refusal_names_the_first_anomalies(log, schema):
    refuse_anomalies(log, schema, "schema.pbtxt")
    many = log.with_columns(**{f"more{number:02}": 1 for number in range(12)})
    with pytest.raises(
        DataError,
        match=r"^the log breaks data.schema=schema.pbtxt \(more00: the schema has no such feature; "
        r".*more09: the schema has no such feature; and 2 more\): correct the log or edit the "
        r"schema\.$",
    ):
        refuse_anomalies(many, schema, "schema.pbtxt")


@pytest.fixture
def keys(log, tmp_path):
    log.write_csv(tmp_path / "log.tsv", separator="\t")
    return ["data.source=file", f"data.path={tmp_path}/log.tsv", f"data.schema={SCHEMA}"]


def test_training_reads_a_log_that_fits_the_schema(keys):
    config = configuration.load(None, [*keys, *COLUMNS])
    assert run.prepare_data(config, schema=True).sequences.num_users > 0


def test_training_refuses_a_log_that_breaks_the_schema(keys, tmp_path):
    code, _, error = run_command(train.main, *keys, COLUMNS[0], f"run_dir={tmp_path}/runs/x")
    assert (code, error) == (
        2,
        f"error: the log breaks data.schema={SCHEMA} (event: the log has no such column): correct "
        "the log or edit the schema.\n",
    )
    assert not (tmp_path / "runs").exists()


def test_the_schema_is_read_before_the_log(keys, tmp_path):
    config = configuration.load(None, [*keys, f"data.path={tmp_path}/none.tsv"])
    bad = configuration.load(None, [*keys, "data.path=none.tsv", f"data.schema={tmp_path}/none"])
    with pytest.raises(DataError, match=r"none.tsv does not exist"):
        run.prepare_data(config, schema=True)
    with pytest.raises(DataError, match=r"none is not a file: expected a schema"):
        run.prepare_data(bad, schema=True)
