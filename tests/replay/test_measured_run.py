"""What a replay reads of a run, and what it says of a run that does not have it."""

import polars as pl
import pytest

from tfrec_attn.errors import ConfigError
from tfrec_attn.replay import measured_run

ROWS = [("u", ["a", "日本語", "a"], "b"), ("v", [], "a")]


def write_events(path, rows=ROWS):
    pl.DataFrame(rows, schema=measured_run.COLUMNS, orient="row").write_parquet(path)


def test_reading_gives_what_was_written(tmp_path):
    write_events(tmp_path / "valid.parquet")
    assert measured_run.read_events(tmp_path, "valid").rows() == ROWS
    (tmp_path / "vocabulary").mkdir()
    (tmp_path / "vocabulary" / "items.txt").write_text("a\n日本語\nb\n", encoding="utf-8")
    assert measured_run.read_items(tmp_path) == ["a", "日本語", "b"]


def write_other_columns(path):
    pl.DataFrame({"user": ["a"], "item": ["b"]}).write_parquet(path)


@pytest.mark.parametrize(
    ("write", "pieces"),
    [
        (lambda path: None, ["has no test.parquet; train again."]),
        (lambda path: path.write_bytes(b"no parquet"), ["test.parquet cannot be read as Parquet"]),
        (
            write_other_columns,
            ["test.parquet must have rows with the columns user_id, history, target", "'item'"],
        ),
        (lambda path: write_events(path, []), ["but has 0 with "]),
    ],
    ids=["missing", "damaged", "other-columns", "empty"],
)
def test_runs_without_their_events(tmp_path, write, pieces):
    write(tmp_path / "test.parquet")
    with pytest.raises(ConfigError) as error:
        measured_run.read_events(tmp_path)
    text = str(error.value)
    assert text.endswith("; train again.") and "\n" not in text
    for piece in [str(tmp_path), *pieces]:
        assert piece in text


def test_runs_without_their_metrics(tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"is not a finished run: it has no metrics\.json; give a folder that tfrec_attn\.",
    ):
        measured_run.read_report(tmp_path / "missing")


@pytest.mark.parametrize("text", ['{"test": ', "[]", "3", "{}", '{"data": 3}'])
def test_metrics_of_something_else(tmp_path, text):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(ConfigError, match=r"does not hold what a training writes: .*again\.$"):
        measured_run.read_report(tmp_path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({}, "no metrics of test"),
        ({"test": {}}, "no metrics of test"),
        ({"test": {"MRR": "high"}}, "no number for MRR"),
        (
            {"test": {"AUC": 1}},
            "the metric AUC, but only HR@k, NDCG@k and MRR can be computed",
        ),
    ],
)
def test_metrics_that_cannot_be_computed(content, what):
    with pytest.raises(ConfigError) as error:
        measured_run.metrics_of(content, "RUN", "test")
    assert str(error.value) == f"metrics.json of RUN has {what}; train again."


def test_the_rule_for_items_of_the_history():
    assert measured_run.repeats_of({"protocol": {"repeats": "include"}}) == "include"
    assert measured_run.repeats_of({}) == measured_run.repeats_of({"protocol": {}}) == "exclude"


def test_runs_without_their_items(tmp_path):
    with pytest.raises(ConfigError, match=r"vocabulary/items\.txt is missing or not text; "):
        measured_run.read_items(tmp_path)
