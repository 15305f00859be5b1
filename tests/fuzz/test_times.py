"""Generated logs with times of every kind, read at once, in slices, and prepared."""

import os
from dataclasses import replace

import polars as pl
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from tfrec_attn.config import Config, Data
from tfrec_attn.data.reading.interactions import read_interactions, read_slices
from tfrec_attn.data.sequences.encoding import checksum
from tfrec_attn.data.shards import prepare_locally
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.data.shards.prepared_log import PreparedLog
from tfrec_attn.errors import DataError
from tfrec_attn.runs import run

FACTOR = float(os.environ.get("TFREC_FUZZ", "1"))
SECONDS = st.integers(10**9, 2 * 10**9)
KINDS = {
    "seconds": SECONDS.map(str),
    "milliseconds": SECONDS.map(lambda time: str(time * 1000 + 7)),
    "microseconds": SECONDS.map(lambda time: str(time * 10**6)),
    "fractions": SECONDS.map(lambda time: f"{time}.5"),
    "counter": st.integers(0, 50).map(str),
    "early": st.integers(0, 10**9).map(str),
    "dates": st.dates().map(str),
    "moments": st.datetimes().map(lambda time: time.isoformat(" ")[:23]),
    "wrong": st.sampled_from(
        [
            "",
            "0",
            "-1",
            "-1.5",
            "never",
            "1e300",
            "99999999999999999999",
            "1_000",
            "+5",
            " 5",
            "NaN",
            "2024-02-30",
        ]
    ),
}


@st.composite
def times(draw):
    """Times that are mostly of one kind."""
    kinds = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4))
    return draw(
        st.lists(st.sampled_from([kinds[0], *kinds]).flatmap(KINDS.get), min_size=1, max_size=30)
    )


def rows_of(cells):
    lines = [
        f"u{row % 3},{'' if row % 11 == 10 else f'i{row % 5}'},{cell}"
        for row, cell in enumerate(cells)
    ]
    return "user_id,item_id,timestamp\n" + "".join(f"{line}\n" for line in lines)


@seed(1)
@settings(max_examples=max(1, int(60 * FACTOR)), deadline=None)
@given(cells=times(), size=st.integers(1, 400))
def test_slices_and_the_whole(tmp_path_factory, cells, size):
    folder = tmp_path_factory.mktemp("times")
    path, rejected = folder / "log.csv", folder / "rejected.tsv"
    path.write_text(rows_of(cells), encoding="utf-8")
    parts = list(read_slices(path, on_error="skip", slice_bytes=size))
    lines = [(entry.line, entry.reason) for _, bad in parts for entry in bad]
    frames = [frame for frame, _ in parts if frame.height]
    try:
        whole = read_interactions(path, on_error="skip", rejected=rejected)
    except DataError as error:
        assert "holds no interactions" in str(error) and not frames
        return
    assert pl.concat(frames, how="vertical_relaxed").equals(whole.frame)
    assert [f"{line}\t{reason}" for line, reason in lines] == [
        "\t".join(line.split("\t")[1:3])
        for line in rejected.read_text(encoding="utf-8").splitlines()[1:]
    ]
    # In order of time: what is sorted by time has one unit.
    numbers = whole.frame["timestamp"]
    assert numbers.min() >= 0 or any("-" in cell[1:] for cell in cells)
    try:
        read_interactions(path)
    except DataError as error:
        assert lines and f", line {lines[0][0]}: " in str(error)
    else:
        assert not lines


@seed(1)
@settings(max_examples=max(1, int(6 * FACTOR)), deadline=None)
@given(files=st.lists(times(), min_size=1, max_size=2), size=st.integers(20, 300))
def test_prepared_and_the_whole(tmp_path_factory, files, size):
    folder = tmp_path_factory.mktemp("times")
    logs = []
    for number, cells in enumerate(files):
        logs.append(str(folder / f"{number}.csv"))
        (folder / f"{number}.csv").write_text(rows_of(cells), encoding="utf-8")
    data = Data(on_error="skip", min_user_events=1, duplicates="drop", max_length=1, targets=1)
    reader = prepare_locally.read_slices
    prepare_locally.read_slices = lambda *args, **options: reader(
        *args, **{**options, "slice_bytes": size}
    )
    try:
        prepared = prepare_log(logs, folder / "out", data, shards=2)
    except DataError as error:
        assert "\n" not in str(error) and not (folder / "out").exists()
        return
    finally:
        prepare_locally.read_slices = reader
    if len(logs) == 1:
        whole = run.prepare_data(Config(data=replace(data, source="file", path=logs[0])))
        found = PreparedLog(folder / "out")
        assert checksum(found.load().sequences) == checksum(whole.sequences)
        assert found.load().sequences.timestamps.tolist() == whole.sequences.timestamps.tolist()
        assert (prepared.rejected, found.report()) == (whole.rejected, whole.report)
    again = prepare_log(logs, folder / "again", data, shards=2)
    assert again.sha256 == prepared.sha256
