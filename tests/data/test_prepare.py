"""Preparing logs on one machine: the folder holds what memory holds, and errors write nothing."""

import json
import os

import numpy as np
import polars as pl
import pytest

from tests.data.preparing import HEADER, contents, refused, synthetic_log
from tfrec_attn.config import Columns, Data
from tfrec_attn.data.prepare import main
from tfrec_attn.data.sequences.encoding import checksum, encode_log
from tfrec_attn.data.sequences.leakage import leak_report
from tfrec_attn.data.sequences.splits import item_counts, make_split
from tfrec_attn.data.sequences.transitions import count_transitions
from tfrec_attn.data.shards import prepare_locally, shard_files
from tfrec_attn.data.shards.manifest import Manifest
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.data.shards.prepared_log import PreparedLog
from tfrec_attn.data.shards.shard_files import number_of_shards
from tfrec_attn.files.checksums import file_sha256

TEMPORAL = {"split": "temporal", "valid_from": 0.8, "test_from": 0.9}


@pytest.fixture(scope="module")
def frame():
    return synthetic_log()


@pytest.fixture(scope="module")
def log(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.tsv"
    frame.write_csv(path, separator="\t")
    return path


@pytest.mark.parametrize(
    "options",
    [{}, {"min_user_events": 12, "min_item_events": 8}, TEMPORAL],
    ids=["plain", "filter", "temporal"],
)
@pytest.mark.parametrize("pieces", [1, 3])
def test_the_folder_has_the_same_events_as_memory(tmp_path, frame, options, pieces):
    logs, size = [], -(-frame.height // pieces)
    for piece in range(pieces):
        logs.append(tmp_path / f"{piece}.parquet")
        frame[piece * size : (piece + 1) * size].write_parquet(logs[-1])
    data = Data(**options)
    manifest = prepare_log([str(path) for path in logs], tmp_path / "out", data)
    sequences, report = encode_log(
        frame, min_user_events=data.min_user_events, min_item_events=data.min_item_events
    )
    split = make_split(sequences, data.split, valid_from=data.valid_from, test_from=data.test_from)

    prepared = PreparedLog(tmp_path / "out")
    found = prepared.load()
    assert checksum(found.sequences) == checksum(sequences)
    assert found.sequences.timestamps.tolist() == sequences.timestamps.tolist()
    assert found.sequences.timestamps.dtype == sequences.timestamps.dtype
    for name in ("train_end", "valid", "test"):
        assert getattr(found, name).tolist() == getattr(split, name).tolist()
    assert found.name == split.name
    assert prepared.report() == report
    assert prepared.leaks() == leak_report(split)
    assert prepared.item_counts().tolist() == item_counts(split).tolist()
    expected, counted = count_transitions(split), prepared.transitions()
    for name in ("offsets", "neighbours", "counts"):
        assert getattr(counted, name).tolist() == getattr(expected, name).tolist()
    assert (manifest.train, manifest.valid, manifest.test) == (
        int(split.train_mask().sum()),
        len(split.valid),
        len(split.test),
    )
    assert manifest.sha256 == {
        name: file_sha256(tmp_path / "out" / name)
        for name in contents(tmp_path / "out")
        if name != "manifest.json"
    }


def test_times_with_fractions(tmp_path, frame):
    later = frame.with_columns(timestamp=pl.col("timestamp") + 0.25)
    later.write_parquet(tmp_path / "a.parquet")
    prepare_log([str(tmp_path / "a.parquet")], tmp_path / "out", Data())
    assert (
        PreparedLog(tmp_path / "out").load().sequences.timestamps.tolist()
        == encode_log(later, min_user_events=5)[0].timestamps.tolist()
    )


def test_logs_without_times_count_their_rows(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.tsv").write_text(
            "user_id\titem_id\n" + "".join(f"u\t{name}{row}\n" for row in range(3)),
            encoding="utf-8",
        )
    data = Data(min_user_events=1, columns=Columns(timestamp=None))
    prepare_log([str(tmp_path / "a.tsv"), str(tmp_path / "b.tsv")], tmp_path / "out", data)
    sequences = PreparedLog(tmp_path / "out").load().sequences
    assert sequences.timestamps.tolist() == [0, 1, 2, 3, 4, 5]
    assert sequences.item_vocabulary.ids() == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_the_same_log_gives_the_same_bytes_however_it_is_read(tmp_path, log, monkeypatch):
    prepare_log([str(log)], tmp_path / "one", Data())
    monkeypatch.setattr(prepare_locally, "_THREADS", 5)
    reader = prepare_locally.read_slices
    monkeypatch.setattr(
        prepare_locally,
        "read_slices",
        lambda *args, **options: reader(*args, **options, slice_bytes=999),
    )
    prepare_log([str(log)], tmp_path / "other", Data())
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


@pytest.mark.parametrize(("wanted", "events", "users", "expected"), [
    (None, 10, 5, 5), (None, 10, 100, 8), (None, 8_000_001, 10**6, 9), (None, 10**12, 10**9, 1000),
    (3, 10**7, 100, 3), (50, 100, 7, 7),
])  # fmt: skip
def test_number_of_shards(wanted, events, users, expected):
    assert number_of_shards(wanted, events, users) == expected


def test_the_command(tmp_path, log, capsys):
    assert (
        main([str(log), "--to", str(tmp_path / "out"), "data.min_user_events=9", "--shards", "2"])
        == 0
    )
    out = capsys.readouterr().out
    manifest = Manifest.read(tmp_path / "out")
    assert manifest.shards == ["shard-00000-of-00002.tfrecord", "shard-00001-of-00002.tfrecord"]
    assert manifest.options["min_user_events"] == 9 and manifest.logs == ["log.tsv"]
    assert f"{manifest.train} training, " in out and f"data.source={tmp_path}/out" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.max_length=7"], "data.max_length does not affect a prepared log"),
        (["data.sourse=7"], "Unknown configuration key data.sourse"),
        (["--shards", "0"], "--shards must be 1 to 1000, got 0."),
        (["data.split=temporal"], "data.split=temporal needs data.test_from and data.valid_from"),
        (["LOG"], "is given twice."),
    ],
)
def test_the_command_refuses(tmp_path, log, capsys, arguments, message):
    given = [str(log) if text == "LOG" else text for text in arguments]
    assert main([str(log), *given, "--to", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_log_and_a_folder_that_exists(tmp_path, log, capsys):
    assert main(["data.min_user_events=2", "--to", str(tmp_path / "out")]) == 2
    (tmp_path / "out").mkdir()
    assert main([str(log), "--to", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "Expected a log to prepare" in err and "out exists; name a new one" in err


ROWS = "".join(f"u\ti{n}\t{1_600_000_000 + n}\n" for n in range(5))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("user\titem_id\ttimestamp\nu\ti\t1\n", "b.tsv has no column 'user_id'"),
        ("user_id\titem_id\nu\ti\n", "b.tsv has no column 'timestamp'"),
        (HEADER, "b.tsv holds no interactions."),
        (
            HEADER + "u\ti\t1600000000123\n",
            "b.tsv, line 2: the times are of different units, expected seconds as in most of the "
            "log, got '1600000000123'",
        ),
        (
            HEADER + "u\ti\t-5\n",
            "b.tsv, line 2: expected a timestamp that is not negative, got '-5'",
        ),
        (
            HEADER + "u\ti\t0\n",
            "b.tsv, line 2: expected seconds as in most of the log, got '0', which is not a time",
        ),
        (HEADER + "u\ti\tnan\n", "b.tsv, line 2: expected the timestamp"),
        (HEADER + "u\t\ufeffi\t7\n", "b.tsv, line 2: expected an item_id without"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, second, message):
    for name, text in (("a.tsv", HEADER + ROWS), ("b.tsv", second)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert message in refused([tmp_path / "a.tsv", tmp_path / "b.tsv"], tmp_path)


def test_columns_in_another_order_are_no_trouble(tmp_path):
    (tmp_path / "a.tsv").write_text(HEADER + ROWS, encoding="utf-8")
    (tmp_path / "b.csv").write_text(
        'rating,timestamp,item_id,user_id\n5,1600000009,"i\t,9",u\n'.replace("\t", " "),
        encoding="utf-8",
    )
    prepare_log([str(tmp_path / "a.tsv"), str(tmp_path / "b.csv")], tmp_path / "out", Data())
    assert PreparedLog(tmp_path / "out").load().sequences.item_vocabulary.ids()[-1] == "i ,9"


def test_rejected_lines_are_counted_and_listed(tmp_path):
    bad = 'u\ti\nu\t"i\n9"\t1\nu\ti\tnever\n'
    for name in "ab":
        (tmp_path / f"{name}.tsv").write_text(HEADER + bad + ROWS, encoding="utf-8")
    manifest = prepare_log(
        [str(tmp_path / "a.tsv"), str(tmp_path / "b.tsv")], tmp_path / "out", Data(on_error="skip")
    )
    lines = (tmp_path / "out" / "rejected.tsv").read_text(encoding="utf-8").splitlines()
    assert (
        manifest.rejected == 8
        and manifest.before["events"] == 10
        and "rejected.tsv" in manifest.sha256
    )
    assert [line.split("\t")[:2] for line in lines[1:]] == [
        [f"{tmp_path}/{name}.tsv", str(line)] for name in "ab" for line in (2, 3, 4, 5)
    ]


def test_nothing_left(tmp_path, log):
    assert "leave nothing of" in refused([log], tmp_path, Data(min_user_events=10_000))
    assert "leave-one-out needs a user with 3 events" in refused([short_log(tmp_path)], tmp_path)
    assert "no event lies at or after data.test_from=2030-01-01" in refused(
        [log], tmp_path, Data(split="temporal", valid_from=0.5, test_from="2030-01-01")
    )


def short_log(folder):
    path = folder / "short.tsv"
    path.write_text(HEADER + "u\ti\t1\nu\tj\t2\n", encoding="utf-8")
    return path


def test_the_writer_tells_a_full_disk(tmp_path):
    os.symlink("/dev/full", tmp_path / "a.tfrecord.part")
    one = np.ones(1, np.int64)
    with pytest.raises(OSError, match="No space left"):
        shard_files.write_shard(
            tmp_path / "a.tfrecord",
            shard_files.Shard(one, one, one.astype(np.int32), one, one, -one, -one),
        )
    assert not list(tmp_path.iterdir())


def test_manifest_is_json_without_paths(tmp_path, log):
    prepare_log([str(log)], tmp_path / "out", Data())
    text = (tmp_path / "out" / "manifest.json").read_text(encoding="utf-8")
    assert (
        json.loads(text)["version"] == 1
        and str(tmp_path) not in text
        and str(log.parent) not in text
    )
