"""Data sources of other packages, their tables and their errors."""

import sys

import polars as pl
import pytest

from tests.commands import run_command
from tests.extensions.foreign_code import SOURCE, TINY, refused, without
from tfrec_attn import config as configuration
from tfrec_attn import train
from tfrec_attn.data.reading import catalog
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.training import training_run


def source(folder, body, **options):
    """Reads the table of a function with this body, in a new module."""
    name = f"given{len(list(folder.glob('given*')))}"
    (folder / f"{name}.py").write_text(
        f"import datetime\nimport numpy as np\nimport polars as pl\n\ndef log(path):\n    {body}\n"
    )
    return catalog.load(f"{name}:log", **options)


GOOD = {"user_id": ["7", "7", "8"], "item_id": ["a", "b", "a"], "timestamp": [3, 1, 2]}


@pytest.mark.parametrize(
    "table",
    [
        "{'user_id': [7, 7, 8], 'item_id': ['a', 'b', 'a'], 'timestamp': [3, 1, 2]}",
        "{'user_id': np.array([7, 7, 8]), 'item_id': np.array(['a', 'b', 'a']), 'timestamp': "
        "pl.Series([3, 1, 2])}",
        "pl.DataFrame({'item_id': ['a', 'b', 'a'], 'user_id': [7, 7, 8], 'timestamp': ['3', '1', "
        "'2'], 'more': [1.0, 2.0, 3.0]})",
        "pl.DataFrame({'user_id': [7, 7, 8], 'item_id': ['a', 'b', 'a'], 'timestamp': [3, 1, "
        "2]}).lazy()",
        "{'user_id': ['7', '7', '8'], 'item_id': ['a', 'b', 'a'], "
        "'timestamp': [datetime.datetime(1970, 1, 1, 0, 0, second) for second in (3, 1, 2)]}",
    ],
)
def test_valid_tables_of_a_source(table, folder):
    frame = source(folder, f"return {table}").frame
    assert frame.to_dict(as_series=False) == GOOD
    assert frame.schema == {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}


def test_columns_and_path(folder):
    body = "return {'who': [path, 'v'], 'what': ['a', 'b'], 'stars': [4, 5]}"
    columns = {"user": "who", "item": "what", "timestamp": None, "rating": "stars"}
    frame = source(folder, body, path="table of clicks", columns=columns).frame
    expected = {
        "user_id": ["table of clicks", "v"],
        "item_id": ["a", "b"],
        "rating": [4.0, 5.0],
        "timestamp": [0, 1],
    }
    assert frame.to_dict(as_series=False) == expected


def test_the_path_stays_as_it_is_given(shop):
    config = configuration.load(None, ["data.source=shop_data:clicks", "data.path=s3://bucket/log"])
    assert training_run.resolve(config).data.path == "s3://bucket/log"


def test_invalid_rows_of_a_source(folder):
    body = "return {'user_id': ['u', '', 'w'], 'item_id': ['a', 'b', None], 'timestamp': [5, 6, 7]}"
    result = source(folder, body, on_error="skip", rejected=folder / "rejected.tsv")
    assert (result.frame.height, result.rejected) == (1, 2)
    assert (folder / "rejected.tsv").read_text().splitlines() == [
        "file\tline\treason\ttext",
        r"given0:log	2	expected a user_id, got an empty one	\tb\t6",
        r"given0:log	3	expected an item_id, got an empty one	w\tNone\t7",
    ]


@pytest.mark.parametrize(
    ("columns", "options", "sentence"),
    [
        ("5", {}, "SOURCE must give a polars DataFrame or a dict of columns, but gives a int."),
        (
            "{'user_id': [1, 2], 'item_id': [1]}",
            {},
            "SOURCE gives columns that do not form a table: height of column 'item_id' (1) does "
            "not match height of column 'user_id' (2).",
        ),
        (
            "{'user_id': [1], 'item': [1], 'timestamp': [1]}",
            {},
            "SOURCE has no column 'item_id' (did you mean 'item'?), "
            "its columns are user_id, item, timestamp: name it in data.columns.item.",
        ),
        (
            "{'user_id': [1.5], 'item_id': [1], 'timestamp': [1]}",
            {},
            "SOURCE, column 'user_id': expected text or integers, got Float64.",
        ),
        (
            "{'user_id': [1, 2], 'item_id': [1, 2], 'timestamp': [-1, 5]}",
            {},
            "SOURCE, row 1: expected a timestamp that is not negative, got '-1'; "
            "correct it, or leave such rows out with data.on_error=skip.",
        ),
        (
            "{'user_id': [1], 'item_id': [''], 'timestamp': [1]}",
            {"on_error": "skip"},
            "SOURCE gives no interactions: all 1 row was rejected, row 1 because of this: "
            "expected an item_id, got an empty one.",
        ),
        ("{'user_id': [], 'item_id': [], 'timestamp': []}", {}, "SOURCE gives no interactions."),
        (
            "open(path)",
            {"path": "gone"},
            "SOURCE failed: FileNotFoundError: [Errno 2] No such file or directory: 'gone', "
            "FOLDER/given0.py:6.",
        ),
        ("5", {"format": "csv"}, "data.format is for files, but SOURCE is a function."),
    ],
)
def test_invalid_sources(columns, options, sentence, folder):
    with pytest.raises(ConfigError if "format" in options else DataError) as caught:
        source(folder, f"return {columns}", **options)
    expected = sentence.replace("SOURCE", "data.source=given0:log").replace("FOLDER", str(folder))
    assert str(caught.value) == expected


def test_invalid_functions_of_a_source(folder):
    (folder / "none.py").write_text("x = 1\ndef two(path, more): ...\n")
    for name, sentence in (
        ("none:x", "must be a function, but is a int"),
        ("none:two", "must be a function of (path), but takes other arguments"),
        ("none:y", "cannot be found: none has no y"),
    ):
        with pytest.raises(ConfigError) as caught:
            catalog.load(name)
        assert str(caught.value) == f"data.source={name} {sentence}."


def test_other_events_are_another_log(shop, tmp_path):
    arguments = [
        *TINY,
        "train.epochs=1",
        "model.dim=8",
        "data.source=shop_data:clicks",
        f"run_dir={tmp_path}/run",
    ]
    assert run_command(train.main, *arguments)[0] == 0
    assert "is already complete" in run_command(train.main, *arguments)[1]
    (shop / "shop_data.py").write_text(without(SOURCE, "default_rng(0)", "default_rng(11)"))
    del sys.modules["shop_data"]
    assert "is a finished run of another log" in refused(*arguments)
