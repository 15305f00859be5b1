"""Files that could use all memory or end the process."""

import gzip
import resource

import polars as pl
import pytest
from backports import zstd

from tfrec_attn.config import Data
from tfrec_attn.data.quality.request_log import read_requests
from tfrec_attn.data.reading import parquet_check
from tfrec_attn.data.reading.interactions import read_interactions
from tfrec_attn.errors import DataError

HEADER = b"user_id,item_id,timestamp\n"


def refusal(path, **options):
    with pytest.raises(DataError) as caught:
        read_interactions(path, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.dat"])
@pytest.mark.parametrize("byte", [b"x", b"\0", b",", b"\t", b"::"])
@pytest.mark.parametrize("skip", ["raise", "skip"])
def test_a_line_that_never_ends(tmp_path, name, byte, skip):
    path = tmp_path / name
    header = (
        HEADER.replace(b",", b"\t")
        if name == "a.tsv"
        else HEADER
        if name == "a.csv"
        else b"u::i::5::1\n"
    )
    path.write_bytes(header + byte * (1 << 21))
    assert (
        refusal(path, on_error=skip)
        == f"{path}, line 2: expected at most 1,048,576 bytes on a line, got more: is this a log?"
    )


def test_a_quote_that_never_closes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(HEADER + b'u,i,1\n"' + b"x\n" * (1 << 21))
    assert (
        refusal(path, on_error="skip")
        == f'{path}, line 3: a quote (") opens here and never closes: close it or double it.'
    )


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_zip_bomb_uses_little_memory(tmp_path, suffix):
    """A gigabyte of NUL in a file of a megabyte or less."""
    path, block = tmp_path / f"a.csv.{suffix}", bytes(1 << 20)
    with gzip.open(path, "wb", 1) if suffix == "gz" else zstd.open(path, "wb") as out:
        for _ in range(1 << 7 if suffix == "gz" else 1 << 10):
            out.write(block)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "expected at most 1,048,576 bytes on a line" in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_events_before_the_damage_do_not_count(tmp_path, suffix):
    pack, kind = (gzip.compress, "gzip") if suffix == "gz" else (zstd.compress, "Zstandard")
    path = tmp_path / f"a.csv.{suffix}"
    path.write_bytes(pack(HEADER + b"u,i,1\n" * 1000)[:-3])
    assert refusal(path, on_error="skip").startswith(
        f"{path} is a damaged {kind} file, it breaks off after line "
    )


def test_utf16_and_nul(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(HEADER.decode().encode("utf-16-le"))
    assert (
        refusal(path)
        == f"{path}, line 1: expected UTF-8 text, got NUL bytes, as UTF-16 has them, where the "
        "column names should be."
    )
    path.write_bytes(HEADER + b"u,i,1\nu\0,i,2\nu,i,3\n")
    assert "line 3: expected UTF-8 text, got NUL bytes" in refusal(path)
    assert read_interactions(path, on_error="skip").frame["timestamp"].to_list() == [1, 3]


def test_very_many_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"user_id,item_id,timestamp" + b",x" * 5000 + b"\nu,i,1" + b"," * 5000 + b"\n")
    assert read_interactions(path).frame.rows() == [("u", "i", 1)]


def test_a_file_of_bad_lines_is_refused_early(tmp_path, monkeypatch):
    monkeypatch.setattr("tfrec_attn.data.reading.text_reader._MOST_BAD", 10)
    path = tmp_path / "a.csv"
    path.write_bytes(HEADER + b"u,i,1\n" * 3 + b"x\n" * 50)
    expected = (
        f"{path}: 11 of the first 15 lines are not interactions, line 15: "
        "expected 3 fields separated by commas, got 1."
    )
    assert refusal(path, on_error="skip") == expected


@pytest.fixture
def parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "timestamp": [1]}).write_parquet(path)
    return path


@pytest.mark.parametrize(
    "child", ["import os; os.abort()", "while True: pass", "x = b'x' * (1 << 60)"]
)
def test_a_parquet_file_that_crashes_its_reader(parquet, monkeypatch, child):
    monkeypatch.setattr(parquet_check, "_CHILD", child)
    monkeypatch.setattr(parquet_check, "_SECONDS", 1)
    assert (
        refusal(parquet)
        == f"{parquet} cannot be read as Parquet (the process that reads it breaks off): write it "
        "again."
    )
    with pytest.raises(DataError, match="breaks off"):
        read_requests(parquet, Data())


def test_parquet_in_the_name_only(tmp_path):
    for text in (b"", b"PAR1", HEADER, gzip.compress(HEADER)):
        (tmp_path / "a.parquet").write_bytes(text)
        assert "cannot be read as Parquet" in refusal(tmp_path / "a.parquet")


def test_requests_that_are_no_text(tmp_path):
    path = tmp_path / "a.jsonl"
    for text in ("[" * 100_000, '{"history": ["\\ud800"]}', '{"history": [' + "9" * 5000 + "]}"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"a.jsonl, line 1: expected \{"):
            read_requests(path, Data())
