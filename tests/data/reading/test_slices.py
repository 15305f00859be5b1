"""Reading a log in slices gives the same rows and rejections as reading it at once."""

import gzip

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrec_attn.data.reading.interactions import read_interactions, read_slices
from tfrec_attn.errors import DataError

HEADER = "user_id,item_id,timestamp\n"
ROWS = ["u1,i1,5", '"a,b",i2,6', '"say ""hi""",i3,7', "", "u2,i4,8"]


def slices(path, **options):
    return list(read_slices(path, **options))


def test_every_size_of_slice_reads_the_same(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(HEADER + "\n".join(ROWS), encoding="utf-8")
    expected = read_interactions(path).frame
    for size in range(1, 80, 3):
        assert pl.concat(
            [frame for frame, _ in slices(path, slice_bytes=size) if frame.height]
        ).equals(expected)
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.csv"]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.sampled_from([*ROWS, "broken", "u,i,never", "u\t3,i,4"]), min_size=1, max_size=12
    ),
    size=st.integers(1, 90),
)
def test_rejections_have_the_lines_of_the_file(tmp_path_factory, rows, size):
    folder = tmp_path_factory.mktemp("slices")
    path, rejected = folder / "log.csv", folder / "rejected.tsv"
    path.write_text(HEADER + "\n".join([*rows, "u9,i9,9\n"]), encoding="utf-8")
    read_interactions(path, on_error="skip", rejected=rejected)
    expected = [
        int(line.split("\t")[1]) for line in rejected.read_text(encoding="utf-8").splitlines()[1:]
    ]
    assert [
        entry.line for _, bad in slices(path, on_error="skip", slice_bytes=size) for entry in bad
    ] == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.tsv",
            b"user_id\titem_id\ttimestamp\nu\ti\t1\nu\ti\tnoon\n",
            "a.tsv, line 3: expected the timestamp",
        ),
        (
            "a.csv",
            b'user_id,item_id,timestamp\nu,i,1\nu,i,2\n"u,i,3\nu,i,4\n',
            'a.csv, line 4: a quote (") opens here',
        ),
        (
            "a.tsv",
            b"user_id\titem_id\ttimestamp\nu\ti\t1\nu\t\xff\t2\n",
            "a.tsv, line 3: expected UTF-8",
        ),
        ("a.tsv", b"user_id\titem_id\nu\ti\n", "a.tsv has no column 'timestamp'"),
        (
            "a.tsv.gz",
            gzip.compress(b"user_id\titem_id\ttimestamp\n" + b"u\ti\t1\n" * 500, mtime=0)[:60],
            "a.tsv.gz is a damaged gzip file",
        ),
        (
            "a.tsv",
            b"user_id\titem_id\ttimestamp\nu\ti\tnan\n",
            "a.tsv, line 2: expected the timestamp",
        ),
    ],
)
def test_errors_name_file_and_line(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text)
    with pytest.raises(DataError) as caught:
        slices(tmp_path / name, slice_bytes=20)
    assert str(caught.value).startswith(f"{tmp_path}/{message}") and str(caught.value).endswith(".")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_parquet_in_parts(tmp_path):
    frame = pl.DataFrame(
        {
            "user_id": ["u", "v", None, "w", "x"],
            "item_id": [1, 2, 3, 4, 5],
            "timestamp": [1.0, 2.0, 3.0, float("nan"), 5.5],
        }
    )
    frame.write_parquet(tmp_path / "a.parquet")
    found = slices(tmp_path / "a.parquet", on_error="skip", slice_bytes=32)
    assert pl.concat([part["user_id"] for part, _ in found]).to_list() == ["u", "v", "x"]
    assert [entry.line for _, bad in found for entry in bad] == [3, 4]
