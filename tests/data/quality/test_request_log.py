"""Request logs in every format, their unknown ids, and files that are none."""

import polars as pl
import pytest

from tfrec_attn.config import Data
from tfrec_attn.data.quality.request_log import count_unknown, read_requests
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import DataError

REQUESTS = [("u", ["a", "x"]), ("", ["b"]), ("w", [])]
USERS, ITEMS = Vocabulary(["u", "v"]), Vocabulary(["a", "b"])


def test_json_lines(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(
        '{"user_id": "u", "history": ["", "a", "x"]}\n\n{"history": ["b"]}\n{"user_id": "w", '
        '"history": []}\n'
    )
    assert read_requests(path, Data()).rows() == REQUESTS


def test_parquet(tmp_path):
    path = tmp_path / "r.parquet"
    frame = pl.DataFrame(
        REQUESTS, schema={"user_id": pl.String, "history": pl.List(pl.String)}, orient="row"
    )
    frame.with_columns(target=pl.lit("a")).write_parquet(path)
    assert read_requests(path, Data()).rows() == REQUESTS
    frame.select("history").write_parquet(path)
    assert read_requests(path, Data())["user_id"].to_list() == [""] * 3


def test_a_log_of_events(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("user_id,item_id,timestamp\nu,a,1\nv,b,1\nu,x,2\n")
    assert read_requests(path, Data()).rows() == [("u", ["a", "x"]), ("v", ["b"])]


def test_unknown_by_hand():
    requests = pl.DataFrame(
        [("u", ["a", "x", "x"]), ("", ["b"]), ("w", ["y"]), ("v", [])],
        schema={"user_id": pl.String, "history": pl.List(pl.String)},
        orient="row",
    )
    assert count_unknown(requests, USERS, ITEMS) == {
        "requests": 4,
        "items": 5,
        "unknown_items": {"count": 3, "share": 0.6},
        "nothing_known": {"count": 2, "share": 0.5},  # of w and of v
        "most_asked": {"x": 2, "y": 1},
        "unknown_users": {"count": 1, "share": 1 / 3},
    }
    assert "unknown_users" not in count_unknown(requests, None, ITEMS)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.jsonl", "", "{path} holds no requests."),
        (
            "r.jsonl",
            '{"history": ["a"]}\n{"history": "a"}\n',
            """{path}, line 2: expected {{"user_id": "u1", "history": ["i3", "i17"]}}, got""",
        ),
        ("r.jsonl", '{"history": [1]}', "{path}, line 1: expected"),
        ("r.jsonl", '{"user_id": 3, "history": []}', "{path}, line 1: expected"),
        ("r.jsonl", "[]", "{path}, line 1: expected"),
        ("r.jsonl", "\xff{", "{path}, line 1: expected"),
        ("r.parquet", "no", "{path} cannot be read as Parquet ("),
        ("r.csv", "a,b\n1,2\n", "{path} has no column 'user_id'"),
    ],
)
def test_what_is_none(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        read_requests(path, Data())
    assert str(caught.value).startswith(message.format(path=path))
    assert str(caught.value).endswith(".")


def test_parquet_with_other_histories(tmp_path):
    path = tmp_path / "r.parquet"
    pl.DataFrame({"history": [1.5]}).write_parquet(path)
    with pytest.raises(
        DataError, match=r"column 'history': expected lists of texts, got Float64\.$"
    ):
        read_requests(path, Data())


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"does not exist: --serving-log must be a file\.$"):
        read_requests(tmp_path / "r.jsonl", Data())
