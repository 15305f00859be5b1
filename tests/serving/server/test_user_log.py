"""The histories of a log in memory."""

import errno
import gzip
import json

import polars as pl
import pytest
from backports import zstd

from serving.server import user_log
from serving.server.user_log import UserLog, read_user_log
from tfrec_attn.errors import DataError, ReadError
from tfrec_attn.lists.user_histories import UserBatch

HISTORIES = {"u1": ["i3", "i17"], "u2": ["i5"], "ü": ["i1", "i2", "i3", "i1"]}


def write(folder, kind):
    """The same histories in a file of each kind."""
    path = folder / f"log.{kind}"
    if kind == "csv":
        rows = [
            f"{user},{item},{t}" for user, some in HISTORIES.items() for t, item in enumerate(some)
        ]
        path.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    elif kind == "jsonl":
        lines = [json.dumps({"user_id": user, "history": some}) for user, some in HISTORIES.items()]
        path.write_text("\n".join(lines) + "\n")
    else:
        pl.DataFrame({"user_id": [*HISTORIES], "history": [*HISTORIES.values()]}).write_parquet(
            path
        )
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_histories_of_a_file(servable, tmp_path, kind):
    log = read_user_log(write(tmp_path, kind), servable)
    assert len(log) == 3
    for user, items in HISTORIES.items():
        assert log.find(user) == (user, items, len(items))
    assert log.find("u") is log.find("") is None


def test_random_users():
    log = UserLog([UserBatch.of([*HISTORIES], [*HISTORIES.values()])])
    assert {log.any().user for _ in range(60)} == {*HISTORIES}


def test_the_latest_events_and_the_last_history_of_a_user(monkeypatch):
    monkeypatch.setattr(user_log, "MOST_EVENTS", 3)
    batches = [
        UserBatch.of(["a", "b"], [["1"], []]),
        UserBatch.of(["a"], [["1", "2", "3", "4", "5"]]),
    ]
    log = UserLog(batches)
    assert len(log) == 2
    assert log.find("a") == ("a", ["3", "4", "5"], 5) and log.find("b") == ("b", [], 0)


def test_limits(servable, tmp_path, monkeypatch):
    path = write(tmp_path, "csv")
    monkeypatch.setattr(user_log, "_MAX_EVENTS", 6)
    with pytest.raises(DataError, match=r"^--histories must have at most 6 events, but has more;"):
        read_user_log(path, servable)
    monkeypatch.setattr(user_log, "_MAX_BYTES", 50)
    with pytest.raises(DataError, match=r"log\.csv' must have at most 50 bytes without compressi"):
        read_user_log(path, servable)


@pytest.mark.parametrize("suffix", ["csv.gz", "csv.zst", "jsonl.gz"])
def test_a_limit_of_what_a_compressed_file_expands_to(servable, tmp_path, monkeypatch, suffix):
    text, compress = b"u1,i3,7\n" * 4000, zstd.compress if suffix == "csv.zst" else gzip.compress
    path = tmp_path / f"log.{suffix}"
    path.write_bytes(compress(text))
    assert len(text) == 32_000 and path.stat().st_size < 1000
    monkeypatch.setattr(user_log, "_MAX_BYTES", 31_999)
    # Nothing is read then.
    monkeypatch.setattr(user_log, "file_histories", None)
    with pytest.raises(DataError, match=r"must have at most 31,999 bytes without compression, but"):
        read_user_log(path, servable)
    monkeypatch.setattr(user_log, "_MAX_BYTES", 32_000)
    with pytest.raises(TypeError):
        read_user_log(path, servable)


def test_a_limit_of_the_rows_of_a_table(servable, tmp_path, monkeypatch):
    path = write(tmp_path, "parquet")
    monkeypatch.setattr(user_log, "_MAX_EVENTS", 2)
    monkeypatch.setattr(user_log, "file_histories", None)
    with pytest.raises(DataError, match=r"must have at most 2 rows without compression, but has"):
        read_user_log(path, servable)


def test_a_disk_that_fails_in_the_middle(servable, tmp_path, monkeypatch):
    def failing(path, lines):
        yield "u1", ["i3"]
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("tfrec_attn.lists.file_histories.requests_of", failing)
    with pytest.raises(
        ReadError, match=r"cannot be read to its end \(Input/output error\); run th"
    ):
        read_user_log(write(tmp_path, "jsonl"), servable)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.jsonl", b"", "--histories has no users; give a log, or histories of users."),
        ("log.jsonl", b"{}\n", "line 1"),
        ("log.parquet", b"PAR1", "log.parquet"),
        ("log.csv", b"a,b\n1,2\n", "user_id"),
    ],
)
def test_files_that_cannot_be_used(servable, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_user_log(path, servable)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_that_is_not_there(servable, tmp_path):
    with pytest.raises(DataError, match=r"^--histories .*/none\.csv does not exist; give a file"):
        read_user_log(tmp_path / "none.csv", servable)
