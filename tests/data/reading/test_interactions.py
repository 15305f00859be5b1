"""Reading logs of every format, with the columns, times and options of each."""

import datetime
import gzip
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.reading.log_files import GOOD, TSV, refusal, rows, write
from tfrec_attn.data.reading.interactions import read_interactions
from tfrec_attn.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", TSV + "u1\ti1\t5\nu2\t007\t6\n"),
        ("a.txt", TSV + "u1\ti1\t5\nu2\t007\t6"),
        ("a.TSV", TSV + "u1\ti1\t5\r\nu2\t007\t6\r\n"),
        ("a.csv", "timestamp,item_id,user_id\n5,i1,u1\n6,007,u2\n"),
        ("a.csv", '"user_id","item_id","timestamp"\n"u1","i1","5"\n"u2","007","6"\n'),
        (
            "a.inter",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\ti1\t3\t5\nu2\t007\t3\t6\n",
        ),
        ("ratings.dat", "u1::i1::4::5\nu2::007::5::6\n"),
        ("u.data", "u1\ti1\t4\t5\nu2\t007\t5\t6\n"),
        ("a.tsv", "\ufeff" + TSV + "u1\ti1\t5\nu2\t007\t6\n\ufeff"),
        ("u.data", "\ufeffu1\ti1\t4\t5\nu2\t007\t5\t6\n"),
        ("a.tsv", TSV + "\nu1\ti1\t5\n\nu2\t007\t6\n\n\n"),
        ("a.tsv.gz", gzip.compress((TSV + "u1\ti1\t5\nu2\t007\t6\n").encode(), mtime=0)),
        ("ratings.dat.gz", gzip.compress(b"u1::i1::4::5\nu2::007::5::6\n", mtime=0)),
        (
            "a.csv.gz",
            gzip.compress(b"user_id,item_id,timestamp\nu1,i1,5\n", mtime=0)
            + gzip.compress(b"u2,007,6\n", mtime=0),
        ),
        ("weird[1]*.tsv", TSV + "u1\ti1\t5\nu2\t007\t6\n"),
    ],
)
def test_formats(tmp_path, name, text):
    result = read_interactions(write(tmp_path, name, text))
    assert result.frame.schema == {
        "user_id": pl.String,
        "item_id": pl.String,
        "timestamp": pl.Int64,
    }
    assert result.frame.rows() == [("u1", "i1", 5), ("u2", "007", 6)]
    assert result.rejected == 0


def test_parquet(tmp_path):
    noon = datetime.datetime(1970, 1, 1, 12)
    path = tmp_path / "a.parquet"
    pl.DataFrame(
        {"user_id": [1, 2], "item_id": ["a", "b"], "timestamp": [noon, noon]}
    ).write_parquet(path)
    assert rows(path) == [("1", "a", 43200), ("2", "b", 43200)]


def test_a_given_format_overrides_the_extension(tmp_path):
    assert rows(write(tmp_path, "log", TSV + "u\ti\t5\n"), format="tsv") == [("u", "i", 5)]


def test_named_columns(tmp_path):
    path = write(tmp_path, "a.csv", "when,who,what,stars\n5,u,i,\n6,v,i,3\n")
    assert rows(path, columns={"user": "who", "item": "what", "timestamp": "when"}) == [
        ("u", "i", 5),
        ("v", "i", 6),
    ]
    assert rows(path, columns={"user": "who", "item": "what", "timestamp": None}) == [
        ("u", "i", 0),
        ("v", "i", 1),
    ]


def test_names_of_a_file_without_header(tmp_path):
    assert rows(write(tmp_path, "a.csv", "i,u,5\n"), names=["item_id", "user_id", "timestamp"]) == [
        ("u", "i", 5)
    ]


def test_quotes_are_special_only_in_csv(tmp_path):
    quoted = 'user_id,item_id,timestamp,note\n"a,""b""",i,5,"two\nlines"\nc,x,6,\n'
    assert rows(write(tmp_path, "a.csv", quoted)) == [('a,"b"', "i", 5), ("c", "x", 6)]
    assert rows(write(tmp_path, "a.tsv", TSV + '"u\t"i"\t5\nu""\ti\t6\n')) == [
        ('"u', '"i"', 5),
        ('u""', "i", 6),
    ]


@pytest.mark.parametrize(
    ("texts", "expected", "dtype"),
    [
        (["3", "0", "+2"], [3, 0, 2], pl.Int64),
        (["3", "1.5", "2e3"], [3.0, 1.5, 2000.0], pl.Float64),
        (["1970-01-02", "1970-01-01"], [86400, 0], pl.Int64),
        (
            ["1970-01-01 00:01", "1970-01-01T00:00:02Z", "1970-01-01T02:00:00+01:00"],
            [60, 2, 3600],
            pl.Int64,
        ),
        (["1970-01-01T00:00:01.25", "1970-01-01"], [1.25, 0.0], pl.Float64),
    ],
)
def test_timestamps(tmp_path, texts, expected, dtype):
    frame = read_interactions(
        write(tmp_path, "a.tsv", TSV + "".join(f"u\ti\t{text}\n" for text in texts))
    ).frame
    assert frame["timestamp"].to_list() == expected
    assert frame["timestamp"].dtype == dtype


def test_single_colons_belong_to_the_ids_of_a_dat_file(tmp_path):
    assert rows(write(tmp_path, "a.dat", "u:1::i::4::5\nv::i::4::6\n")) == [
        ("u:1", "i", 5),
        ("v", "i", 6),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "data.on_error must be 'raise' or 'skip', got 'ignore'."),
        (
            {"format": "tvs"},
            "data.format must be one of csv, tsv, inter, dat, data, parquet, got 'tvs' (did you "
            "mean 'tsv'?).",
        ),
        (
            {"columns": {"users": "a"}},
            "data.columns must name one of user, item, timestamp, rating, event, got 'users' (did "
            "you mean 'user'?).",
        ),
        (
            {"columns": {"user": None}},
            "data.columns.user must name a column, got null: only the timestamp can be missing.",
        ),
        (
            {"columns": {"user": "item_id"}},
            "data.columns must name different columns, got item_id, item_id, timestamp.",
        ),
    ],
)
def test_wrong_options(tmp_path, options, message):
    assert refusal(write(tmp_path, "a.tsv", TSV + GOOD), ConfigError, **options) == message


def naive(text):
    """The good rows of a TSV and the numbers of the other lines, by the plainest reading of the
    rules.
    """
    good, bad = [], []
    for number, line in enumerate(text.split("\n")[1:], 2):
        fields = line.split("\t")
        if not line:
            continue
        if (
            len(fields) == 3
            and fields[0].strip(" ")
            and fields[1].strip(" ")
            and fields[2].isdigit()
        ):
            good.append((fields[0], fields[1], int(fields[2])))
        else:
            bad.append(number)
    return good, bad


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "", "7", '"', " ", "é"]), min_size=1, max_size=4).map(
            "\t".join
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_any_tsv_equals_the_naive_reading(tmp_path_factory, lines, newline):
    folder = tmp_path_factory.mktemp("log", numbered=True)
    text = TSV + "u\ti\t1\n" + "\n".join(lines) + "\n" * newline
    good, bad = naive(text)
    result = read_interactions(
        write(folder, "a.tsv", text), on_error="skip", rejected=folder / "r.tsv"
    )
    assert result.frame.rows() == good
    assert [
        int(line.split("\t")[1]) for line in (folder / "r.tsv").read_text().splitlines()[1:]
    ] == bad


def test_movielens_100k():
    folder = Path(
        os.environ.get("TFREC_DATA", Path(__file__).resolve().parents[3].parent / "shared" / "data")
    )
    path = folder / "ml-100k" / "interactions.tsv.gz"
    if not path.is_file():
        pytest.skip(
            f"{path} is not there; set TFREC_DATA to the folder that holds "
            "ml-100k/interactions.tsv.gz"
        )
    frame = read_interactions(path).frame
    assert (frame.height, frame["user_id"].n_unique(), frame["item_id"].n_unique()) == (
        100_000,
        943,
        1682,
    )
