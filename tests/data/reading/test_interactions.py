"""Reading logs: every format, every kind of wrong line, and the line number in the message."""

import datetime
import gzip
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrec_attn.data.reading.interactions import read_interactions
from tfrec_attn.data.reading.text_formats import has_sound_quotes
from tfrec_attn.errors import ConfigError, DataError

TSV = "user_id\titem_id\ttimestamp\n"


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(path, **options):
    return read_interactions(path, **options).frame.rows()


def refusal(path, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        read_interactions(path, **options)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


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


GOOD = "u\ti\t5\n"
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


def test_single_colons_belong_to_the_ids_of_a_dat_file(tmp_path):
    assert rows(write(tmp_path, "a.dat", "u:1::i::4::5\nv::i::4::6\n")) == [
        ("u:1", "i", 5),
        ("v", "i", 6),
    ]


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
        == f"{tmp_path} holds no log files: those whose names begin with '.' or '_' do not count."
    )
    os.mkfifo(tmp_path / "pipe.tsv")
    assert (
        refusal(tmp_path / "pipe.tsv")
        == f"{tmp_path}/pipe.tsv is no regular file: write the log to one."
    )
    path = write(tmp_path, "a.log", TSV)
    choices = "csv, tsv, inter, dat, data, parquet"
    assert (
        refusal(path)
        == f"{path} has no extension that tells its format: give data.format, one of {choices}."
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
