"""Files that are no logs: missing, damaged, empty, or without the columns."""

import gzip
import os

import polars as pl

from tests.data.reading.log_files import GOOD, TSV, refusal, write
from tfrec_attn.data.reading.text_formats import has_sound_quotes


def test_parquet_types(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"user_id": [1.0], "item_id": [1], "timestamp": [1]}).write_parquet(path)
    assert refusal(path) == f"{path}, column 'user_id': expected text or integers, got Float64."
    pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": [True]}).write_parquet(path)
    assert (
        refusal(path)
        == f"{path}, column 'timestamp': expected numbers, dates or text, got Boolean."
    )
    assert "cannot be read as Parquet" in refusal(write(tmp_path, "b.parquet", "no"))


def test_damaged_gzip(tmp_path):
    packed = gzip.compress((TSV + GOOD * 1000).encode())
    for text in (packed[:-20], packed[:-3], packed + b"more"):
        message = refusal(write(tmp_path, "a.tsv.gz", text), on_error="skip")
        assert "a.tsv.gz is a damaged gzip file, it breaks off after line" in message


def test_an_unclosed_quote_is_refused_even_with_skip(tmp_path):
    path = write(tmp_path, "a.csv", 'user_id,item_id,timestamp\nu,i,5\nu,"i,6\nu,i,7\nu,i,8\n')
    assert (
        refusal(path, on_error="skip")
        == f'{path}, line 3: a quote (") opens here and never closes: close it or double it.'
    )


def test_an_unclosed_quote_that_polars_overlooks(tmp_path):
    path = write(tmp_path, "a.csv", 'user_id,item_id,timestamp,note\nu,i,5,"x\nu,i,6,y\nu,i,7,""')
    assert (
        refusal(path)
        == f'{path}, line 2: a quote (") opens here and never closes: close it or double it.'
    )


def test_sound_quotes():
    sound = ['"a","b""c"\r\n"",d\n', '"a",b', 'a,"x\n,y"\n', "a,b\n", ""]
    unsound = ['a,b"c\n', '"a"b,c\n', '"a,b\n', 'a,"b""\n', 'a, "b"\n']
    for texts, expected in ((sound, True), (unsound, False)):
        for text in texts:
            assert has_sound_quotes(text.encode(), ",") == expected


def test_files_that_are_not_there_or_not_files(tmp_path):
    expected = "data.path must be a file, a folder of parts or a pattern"
    assert refusal(tmp_path / "a.tsv") == f"{tmp_path}/a.tsv does not exist: {expected}."
    assert refusal(tmp_path / "*.tsv") == f"{tmp_path}/*.tsv does not exist: {expected}."
    assert (
        refusal(tmp_path)
        == f"{tmp_path} holds no log files: those whose names begin with '.' or '_' are ignored."
    )
    os.mkfifo(tmp_path / "pipe.tsv")
    assert (
        refusal(tmp_path / "pipe.tsv")
        == f"{tmp_path}/pipe.tsv is not a regular file: write the log to one."
    )
    path = write(tmp_path, "a.log", TSV)
    choices = "csv, tsv, inter, dat, data, parquet"
    assert (
        refusal(path)
        == f"{path} has no extension of a known format: give data.format, one of {choices}."
    )


def test_an_unreadable_file(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tfrec_attn.data.reading.text_slices.open_bytes", denied)
    path = write(tmp_path, "a.tsv", TSV + GOOD)
    assert refusal(path) == f"{path} cannot be read: Permission denied."


def test_missing_columns(tmp_path):
    path = write(tmp_path, "a.csv", "userid,item_id,timestamp\nu,i,5\n")
    assert refusal(path) == (
        f"{path} has no column 'user_id' (did you mean 'userid'?), its columns are userid, "
        "item_id, timestamp: "
        "name it in data.columns.user, or name all columns in data.names if the file has no header."
    )
    path = write(tmp_path, "b.csv", "user_id,user_id,item_id,timestamp\nu,u,i,5\n")
    assert refusal(path) == f"{path} has 2 columns 'user_id': rename all but one."


def test_empty_logs(tmp_path):
    path = write(tmp_path, "a.tsv", TSV)
    assert refusal(path) == f"{path} holds no interactions."
    path = write(tmp_path, "a.tsv", "")
    assert refusal(path) == f"{path} is empty: expected the column names in its first line."
    assert refusal(write(tmp_path, "a.dat", "\n")) == f"{tmp_path}/a.dat holds no interactions."
    path = write(tmp_path, "a.tsv", TSV + "u\ti\nu\t\t5\n")
    reason = "expected 3 fields separated by tabs, got 2"
    assert (
        refusal(path, on_error="skip")
        == f"{path} holds no interactions: all 2 lines were rejected, line 2 because of this: "
        f"{reason}."
    )
    path = write(tmp_path, "a.tsv", "user_id\titem_id\ttimestamp\n".encode("utf-16"))
    assert (
        refusal(path)
        == f"{path}, line 1: expected UTF-8 text, got bytes that are not, where the column names "
        "should be."
    )
