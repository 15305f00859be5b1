"""Every kind of wrong line: the message names it, or it is skipped and listed."""

import polars as pl
import pytest

from tests.data.reading.log_files import GOOD, TSV, refusal, write
from tfrec_attn.data.reading.interactions import read_interactions
from tfrec_attn.errors import ConfigError

BAD_LINES = [
    ("u\ti\n", "expected 3 fields separated by tabs, got 2"),
    ("u\ti\t5\t\n", "expected 3 fields separated by tabs, got 4"),
    ("u\t\t5\n", "expected an item_id, got an empty one"),
    ("  \ti\t5\n", "expected a user_id, got an empty one"),
    ("u\ti\t\n", "expected a timestamp, got an empty one"),
    ("u\ti\tsoon\n", "expected the timestamp as a number or an ISO 8601 date, got 'soon'"),
    ("u\ti\tnan\n", "expected the timestamp as a number or an ISO 8601 date, got 'nan'"),
    ("u\ti\tinf\n", "expected the timestamp as a number or an ISO 8601 date, got 'inf'"),
    (
        "u\ti\t2024-02-30\n",
        "expected the timestamp as a number or an ISO 8601 date, got '2024-02-30'",
    ),
    ("u\ti\t 5\n", "expected the timestamp as a number or an ISO 8601 date, got ' 5'"),
    (b"u\t\xff\t5\n", "expected UTF-8 text, got bytes that are not"),
    (
        "\ufeffu\ti\t5\n",
        "expected a user_id without line breaks, tabs and byte-order marks, got '\\ufeffu'",
    ),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_a_bad_line_is_named(tmp_path, line, reason):
    line = line if isinstance(line, bytes) else line.encode()
    path = write(tmp_path, "a.tsv", (TSV + GOOD).encode() + b"\n" + line + GOOD.encode())
    remedy = "correct it, or leave such lines out with data.on_error=skip."
    assert refusal(path) == f"{path}, line 4: {reason}; {remedy}"


@pytest.mark.parametrize("last", ["u\ti\t5\t", "u\ti", "u\ti\t"])
def test_a_bad_last_line_without_newline_is_found(tmp_path, last):
    assert ", line 3: " in refusal(write(tmp_path, "a.tsv", TSV + GOOD + last))


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "a.csv",
            'user_id,item_id,timestamp\n"u\nv",i,5\n',
            "line 2: expected a user_id without line breaks",
        ),
        (
            "a.csv",
            'user_id,item_id,timestamp\nu,"i\tj",5\n',
            "line 2: expected an item_id without line breaks",
        ),
        (
            "a.csv",
            'user_id,item_id,timestamp,note\nu,i,5,"x\n\ny"\nu,i\n',
            "line 5: expected 4 fields separated by commas, got 2",
        ),
        (
            "a.csv",
            'user_id,item_id,timestamp\nu,i,5\n"u"x,i,5\n',
            "line 3: expected comma-separated fields, got",
        ),
        ("a.dat", "u::i::4::5\nu::i:4::5\n", "line 2: expected 4 fields separated by '::', got 3"),
        (
            "a.dat",
            "u::i::4::5\nu::i::4::5::6\n",
            "line 2: expected 4 fields separated by '::', got 5",
        ),
        ("a.dat", "u::i::4:x::5\nu:v:w:4\n", "line 2: expected 4 fields separated by '::', got 1"),
    ],
)
def test_bad_lines_of_other_formats(tmp_path, name, text, reason):
    assert reason in refusal(write(tmp_path, name, text))


def test_of_numbers_and_dates_the_rarer_kind_is_wrong(tmp_path):
    path = write(tmp_path, "a.tsv", TSV + "u\ti\t2024-01-01\nu\ti\t7\nu\ti\t2024-01-02\n")
    assert ", line 3: " in refusal(path)


def test_skip_keeps_good_lines_and_writes_rejected_lines(tmp_path):
    bad = b"".join(line if isinstance(line, bytes) else line.encode() for line, _ in BAD_LINES)
    path = write(tmp_path, "a.tsv", (TSV + "u\tfirst\t1\n").encode() + bad + b"u\tlast\t2\n")
    result = read_interactions(path, on_error="skip", rejected=tmp_path / "out" / "rejected.tsv")
    assert result.frame.rows() == [("u", "first", 1), ("u", "last", 2)]
    assert result.rejected == len(BAD_LINES)
    lines = [
        line.split("\t") for line in (tmp_path / "out" / "rejected.tsv").read_text().splitlines()
    ]
    assert lines[0] == ["file", "line", "reason", "text"]
    assert [int(line[1]) for line in lines[1:]] == list(range(3, 3 + len(BAD_LINES)))
    assert lines[1] == [str(path), "3", "expected 3 fields separated by tabs, got 2", "u\\ti"]
    assert lines[6][3] == "u\\ti\\tsoon"
    assert lines[11][3] == "u\\t\\xff\\t5"


def test_skip_without_bad_lines_writes_an_empty_table(tmp_path):
    result = read_interactions(
        write(tmp_path, "a.tsv", TSV + GOOD), on_error="skip", rejected=tmp_path / "r.tsv"
    )
    assert result.rejected == 0
    assert (tmp_path / "r.tsv").read_text() == "file\tline\treason\ttext\n"


def test_parquet_rows(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame(
        {"user_id": ["u", None, "v"], "item_id": [1, 2, 3], "timestamp": [1.0, 2.0, float("nan")]}
    ).write_parquet(path)
    assert "row 2: expected a user_id, got an empty one" in refusal(path)
    result = read_interactions(path, on_error="skip", rejected=tmp_path / "r.tsv")
    assert result.frame.rows() == [("u", "1", 1.0)]
    assert (tmp_path / "r.tsv").read_text().splitlines()[2].split("\t")[1:] == [
        "3",
        "expected the timestamp as a number or an ISO 8601 date, got 'nan'",
        "v\\t3\\tnan",
    ]


def test_rejected_lines_replace_only_an_earlier_file_of_rejected_lines(tmp_path):
    path, rejected = write(tmp_path, "a.tsv", TSV + GOOD + "bad\n"), tmp_path / "r.tsv"
    rejected.write_text("mine")
    with pytest.raises(
        ConfigError, match=r"rejected .+r\.tsv exists and is not an earlier one of its kind"
    ):
        read_interactions(path, on_error="skip", rejected=rejected)
    assert rejected.read_text() == "mine"
    rejected.unlink()
    for _ in range(2):
        read_interactions(path, on_error="skip", rejected=rejected)
        assert rejected.read_text().count("\n") == 2
