"""Exact copies of events: counted and dropped, in memory and on disk."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrec_attn.config import Columns, Config, Data, from_dict
from tfrec_attn.data import validate
from tfrec_attn.data.prepare import main
from tfrec_attn.data.sequences.copies import count_copies, without_copies
from tfrec_attn.data.sequences.encoding import checksum
from tfrec_attn.data.shards import coded_log, prepare_locally
from tfrec_attn.data.shards.coded_log import CodedLog, filter_users
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.data.shards.prepared_log import PreparedLog
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs import run

EVENTS = st.lists(st.tuples(*(st.integers(0, 2) for _ in range(4))), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(events=EVENTS, typed=st.booleans(), cuts=st.integers(1, 20), bucket=st.integers(1, 40))
def test_the_plain_twin(tmp_path_factory, events, typed, cuts, bucket):
    folder = tmp_path_factory.mktemp("copies")
    events = [event[: 4 if typed else 3] for event in events]
    first = list(dict.fromkeys(events))
    names = ["user_id", "item_id", "timestamp", "event"][: 4 if typed else 3]
    assert without_copies(pl.DataFrame(events, schema=names, orient="row")).rows() == first

    columns = np.array(events).T
    order = np.lexsort((columns[2], columns[0]))
    user, item, time, *kind = (column[order] for column in columns)
    assert count_copies(user, time, item, *kind) == len(events) - len(first)

    ids = pl.col("user_id", "item_id", *names[3:]).cast(pl.String)
    frame, log = (
        pl.DataFrame(events, schema=names, orient="row").with_columns(ids),
        CodedLog(folder),
    )
    for begin in range(0, len(events), cuts):
        log.append(frame[begin : begin + cuts])
    before, coded_log.BUCKET = coded_log.BUCKET, bucket
    try:
        log, found = filter_users(log, Data(duplicates="drop"))
    finally:
        coded_log.BUCKET = before
    assert found == {"duplicates": len(events) - len(first)} and log.events == len(first)
    left = pl.concat([log.decoded(part) for part in log.frames()]).sort("place")
    assert left.select(pl.col(names).cast(pl.Int64)).rows() == first


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """80 users of 8 events, each line twice.

    Every second line has another spelling of its user id, and 30 lines have no user id.
    """
    path = tmp_path_factory.mktemp("logs") / "twice.csv"
    lines = [
        f"{user}{'.0' * (event % 2)},i{(user + event) % 20},{1_600_000_000 + 90 * event},"
        f"{'view' if event % 3 else 'buy'}"
        for event in range(8)
        for user in range(80)
    ]
    missing = [
        f"{word},i1,{1_600_000_000 + row},view"
        for row in range(10)
        for word in ("nan", "None", "NULL")
    ]
    path.write_text(
        "user_id,item_id,timestamp,event\n"
        + "".join(f"{line}\n{line}\n" for line in lines + missing)
    )
    return path


def read(path, **options):
    data = {
        "source": "file",
        "path": str(path),
        "min_user_events": 4,
        "max_length": 2,
        "targets": 1,
        **options,
    }
    return run.prepare_data(from_dict({"data": data}))


def test_training_warns_of_copies_and_ids(twice):
    report = read(twice).report
    assert (report.duplicates, report.ids.users.variants, report.ids.users.missing) == (
        670,
        80,
        {"NULL": 20, "None": 20, "nan": 20},
    )
    assert str(report).splitlines()[1:] == [
        "Note: 670 of 1340 events (50.0%) are exact copies of another (same user, item and time): "
        "data.duplicates=drop leaves them out.",
        "Note: 80 users are written in several ways, such as '0' and '0.0': data.ids=unify makes "
        "them one.",
        "Note: 60 events name no real id among the users (20 NULL, 20 None, 20 nan): "
        "data.missing_ids=drop leaves them out.",
    ]
    assert report.to_dict()["duplicates"] == 670


def test_the_keys_remove_the_problems(twice):
    report = read(twice, duplicates="drop", ids="unify", missing_ids="drop").report
    assert (report.after.events, report.after.users, report.duplicates, report.sentences()) == (
        640,
        80,
        0,
        [],
    )
    selection = report.selection
    assert (selection.events, selection.unified, selection.missing_ids, selection.duplicates) == (
        1340, 640, {"NULL": 20, "None": 20, "nan": 20}, 640,
    )  # fmt: skip
    assert str(report).startswith(
        "1340 events; 640 with an id written in its common way; 60 with a missing id left out (20 "
        "NULL, 20 None, 20 nan); "
        "640 exact copies left out.\n640 events of 80 users"
    )


CLEAN = {"ids": "unify", "missing_ids": "drop"}
OPTIONS = [{}, {"duplicates": "drop"}, CLEAN, {**CLEAN, "duplicates": "drop"}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("event", [None, "event"])
def test_prepared_logs_give_the_same_report(tmp_path, twice, monkeypatch, options, event):
    reader = prepare_locally.read_slices
    monkeypatch.setattr(
        prepare_locally,
        "read_slices",
        lambda *args, **more: reader(*args, **more, slice_bytes=2_000),
    )
    data = Data(min_user_events=4, columns=Columns(event=event), max_length=2, targets=1, **options)
    prepare_log([str(twice)], tmp_path / "out", data, shards=3)
    found, whole = (
        PreparedLog(tmp_path / "out"),
        run.prepare_data(Config(data=replace(data, source="file", path=str(twice)))),
    )
    assert found.report() == whole.report
    assert checksum(found.load().sequences) == checksum(whole.sequences)


def test_events_of_two_types_are_no_copies(tmp_path):
    lines = [
        f"u{user},i{event},{event},{kind}"
        for user in range(3)
        for event in range(4)
        for kind in ("view", "buy", "view")
    ]
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp,kind\n" + "".join(f"{line}\n" for line in lines))
    for columns, copies in (({}, 24), ({"event": "kind"}, 12)):
        assert read(path, columns=columns).report.duplicates == copies
        folder = tmp_path / str(copies)
        prepare_log([str(path)], folder, Data(columns=Columns(**columns)))
        assert PreparedLog(folder).report().duplicates == copies
    kept = read(path, columns={"event": "kind"}, duplicates="drop")
    assert Counter(kept.sequences.lengths.tolist()) == {8: 3} and kept.report.duplicates == 0


def test_spellings_of_users_are_found_with_sessions(twice):
    assert read(twice, session_gap=100, min_user_events=1).report.ids.users.variants == 80


def test_copies_need_times(twice):
    with pytest.raises(
        ConfigError,
        match=r"^data.duplicates=drop needs times, .*, but data.columns.timestamp is null\.$",
    ):
        read(twice, duplicates="drop", columns={"timestamp": None})
    report = read(twice, columns={"timestamp": None}).report
    assert report.duplicates is None and "copies" not in str(report)


def test_the_commands_warn_of_copies_and_ids(tmp_path, twice, capsys):
    assert main([str(twice), "--to", str(tmp_path / "out"), "data.min_user_events=4"]) == 0
    assert "Note: 670 of 1340 events (50.0%) are exact copies of another" in capsys.readouterr().out
    assert validate.main([str(twice)]) == 0
    out = capsys.readouterr().out
    assert (
        "! 670 of 1340 events (50.0%) are exact copies of another (same user, item and time): "
        "data.duplicates=drop leaves" in out
    )
    assert (
        "! 80 users are written in several ways, such as '0' and '0.0': data.ids=unify makes them "
        "one." in out
    )
    assert (
        "! 60 events name no real id among the users (20 NULL, 20 None, 20 nan): "
        "data.missing_ids=drop leaves them out." in out
    )
    assert validate.main([str(twice), "data.columns.timestamp=null", "--json"]) == 0
    assert "duplicates" not in json.loads(capsys.readouterr().out)
