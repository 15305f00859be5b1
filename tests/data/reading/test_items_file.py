"""Files about the items."""

import gzip
import re

import polars as pl
import pytest

from tfrec_attn.data.reading.items_file import describe, read_items
from tfrec_attn.errors import DataError


def test_columns_stay_as_they_are(tmp_path):
    text = 'year,item_id,title,category\n1995,7,"Toy, ""the"" Story",kids\n,007,,\n'
    (tmp_path / "items.csv").write_text(text, encoding="utf-8")
    (tmp_path / "items.csv.gz").write_bytes(gzip.compress(text.encode()))
    expected = {
        "id": ["7", "007"],
        "year": ["1995", ""],
        "title": ['Toy, "the" Story', ""],
        "category": ["kids", ""],
    }
    for name in ("items.csv", "items.csv.gz"):
        assert read_items(tmp_path / name).to_dict(as_series=False) == expected
    (tmp_path / "items.tsv").write_text("sku\tcolour\na b\tred\n", encoding="utf-8")
    assert read_items(tmp_path / "items.tsv", "sku").rows() == [("a b", "red")]
    pl.DataFrame({"id": [3, 4], "genres": [["x", "y"], None], "price": [1.5, None]}).write_parquet(
        tmp_path / "items.parquet"
    )
    found = read_items(tmp_path / "items.parquet")
    assert found.rows() == [("3", "x|y", "1.5"), ("4", None, None)]


def test_descriptions():
    assert describe({"id": "3", "title": "é\n", "year": "", "x": None}) == '{"title": "é\\n"}'
    assert describe({"id": "3", "title": None}) == ""


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.csv",
            "id,title\n1,a\n2,b\n\n1,c\n",
            "{path}, line 5: the item '1' is there already, in line 2: keep one.",
        ),
        (
            "a.csv",
            "id,title\n1,a\n  ,b\n",
            "{path}, line 3: expected the id of an item, got none: give it, or delete the line.",
        ),
        (
            "a.csv",
            "id,title\n1\n",
            "{path}, line 2: expected 2 fields as in the first line, got 1: correct it.",
        ),
        ("a.csv", "id,title\n", "{path} holds no items: it needs a line for each."),
        ("a.csv", "", "{path} is empty: expected the column names in its first line."),
        (
            "a.csv",
            "name,title\n1,a\n",
            "{path} has no column 'id', its columns are name, title: "
            "call the column of the ids id.",
        ),
        (
            "a.csv",
            'id,category\n1,a\n2,"b\nc"\n',
            "{path}, line 3: expected a category without line breaks, got 'b\\nc': correct it.",
        ),
        ("a.csv", "id,a,a\n1,2,3\n", "{path} has two columns 'a': rename one."),
        (
            "a.json",
            "{}",
            "data.items must be a .csv, .tsv or .parquet file, but is {path}: write it as one.",
        ),
        ("b/a.csv", None, "{path}, the file of data.items, does not exist: name one that does."),
        ("a.parquet", "PAR1", "{path} cannot be read as Parquet"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, name, text, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=f"^{re.escape(message.format(path=path))}"):
        read_items(path)
