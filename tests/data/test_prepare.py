"""Preparing logs on one machine: the folder holds what memory holds, and errors write nothing."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tfrec_attn.config import Columns, Config, Data, from_dict
from tfrec_attn.data.prepare import main
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.data.sequences.encoding import checksum, encode_log
from tfrec_attn.data.sequences.leakage import leak_report
from tfrec_attn.data.sequences.splits import item_counts, make_split
from tfrec_attn.data.sequences.transitions import count_transitions
from tfrec_attn.data.shards import prepare_locally, shard_files
from tfrec_attn.data.shards.manifest import Manifest
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.data.shards.prepared_log import PreparedLog
from tfrec_attn.data.shards.shard_files import number_of_shards
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.files.checksums import file_sha256
from tfrec_attn.runs import run

TEMPORAL = {"split": "temporal", "valid_from": 0.8, "test_from": 0.9}


@pytest.fixture(scope="module")
def frame():
    return synthetic(2_000, seed=5)


@pytest.fixture(scope="module")
def log(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.tsv"
    frame.write_csv(path, separator="\t")
    return path


def contents(folder):
    return {entry.name: entry.read_bytes() for entry in Path(folder).iterdir()}


def refused(logs, folder, data=None, kind=DataError):
    """Returns the error message, and checks that no folder is left."""
    with pytest.raises(kind) as caught:
        prepare_log([str(path) for path in logs], folder / "out", data or Data(min_user_events=1))
    assert not (folder / "out").exists() and not (folder / "out.partial").exists()
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


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


TYPES = Columns(rating="stars", event="kind")


@pytest.fixture(scope="module")
def rated(frame):
    """The log with types and ratings.

    One of the three types is only in the last third. Only times of low ratings have fractions.
    """
    row = np.arange(frame.height)
    kind = np.where(
        (row * 3 > 2 * len(row)) & (row % 3 == 0), "cart", np.where(row % 2, "view", "buy")
    )
    stars = row * 7 % 5 + 1
    times = frame["timestamp"].to_numpy() + 0.5 * (stars == 1)
    return frame.with_columns(
        timestamp=pl.Series(times), stars=pl.Series(stars), kind=pl.Series(kind)
    )


@pytest.mark.parametrize(
    ("filters", "times"),
    [
        ({"min_rating": 3.0}, "timestamp"),
        ({"event_types": ["cart", "buy"]}, "timestamp"),
        ({"min_rating": 2.0, "event_types": ["buy"]}, None),
    ],
)
def test_event_filters_as_in_memory(tmp_path, rated, monkeypatch, filters, times):
    size = -(-rated.height // 3)
    for piece in range(3):
        rated[piece * size : (piece + 1) * size].write_csv(tmp_path / f"{piece}.csv")
    rated.write_csv(tmp_path / "whole.csv")
    data = Data(min_user_events=4, columns=replace(TYPES, timestamp=times), **filters)
    logs = [str(tmp_path / f"{piece}.csv") for piece in range(3)]
    prepare_log(logs, tmp_path / "out", data, shards=3)
    expected = run.prepare_data(
        Config(
            data=replace(
                data, source="file", path=str(tmp_path / "whole.csv"), max_length=2, targets=1
            )
        )
    )

    prepared = PreparedLog(tmp_path / "out")
    found = prepared.load()
    assert checksum(found.sequences) == checksum(expected.sequences)
    assert found.sequences.timestamps.tolist() == expected.sequences.timestamps.tolist()
    assert found.sequences.timestamps.dtype == expected.sequences.timestamps.dtype
    assert prepared.report() == expected.report
    assert prepared.report().selection.events == rated.height
    assert prepared.report().before.events < rated.height

    reader = prepare_locally.read_slices
    monkeypatch.setattr(
        prepare_locally,
        "read_slices",
        lambda *args, **options: reader(*args, **options, slice_bytes=333),
    )
    prepare_log(logs, tmp_path / "again", data, shards=3)
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def test_event_filters_by_the_command(tmp_path, rated, capsys):
    rated.write_csv(tmp_path / "log.csv")
    arguments = [
        str(tmp_path / "log.csv"),
        "data.columns.rating=stars",
        "data.min_rating=2",
        "--to",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 0
    dropped = rated.filter(pl.col("stars") < 2).height
    assert capsys.readouterr().out.startswith(
        f"{rated.height} events; {dropped} with a low rating left out.\n{rated.height - dropped} "
        "events"
    )
    source = {"source": str(tmp_path / "out"), "columns": {"rating": "stars"}}
    assert (
        run.prepare_data(
            from_dict({"data": {**source, "min_rating": 2}})
        ).report.selection.low_ratings
        == dropped
    )
    with pytest.raises(
        ConfigError, match=r"^data.min_rating is 3.0, but .* was prepared with 2.0: "
    ):
        run.prepare_data(from_dict({"data": {**source, "min_rating": 3}}))


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"min_rating": 6.0}, "the event filters of the data section leave nothing of "),
        (
            {"event_types": ["buy", "veiw"]},
            "data.event_types names 'veiw' (did you mean 'view'?), but the event types of the log "
            "are buy, cart, view.",
        ),
    ],
)
def test_event_filters_that_are_refused(tmp_path, rated, filters, message):
    rated.write_csv(tmp_path / "log.csv")
    assert message in refused([tmp_path / "log.csv"], tmp_path, Data(columns=TYPES, **filters))


def test_a_manifest_without_event_filters(tmp_path, log):
    prepare_log([str(log)], tmp_path / "out", Data())
    path = tmp_path / "out" / "manifest.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    assert tree.pop("selection") is None
    path.write_text(json.dumps(tree), encoding="utf-8")
    assert PreparedLog(tmp_path / "out").report().selection is None


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
    assert f"{manifest.train} events train" in out and f"data.source={tmp_path}/out" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.max_length=7"], "data.max_length does not shape a prepared log"),
        (["data.session_gap=7"], "data.session_gap does not shape a prepared log"),
        (
            ["data.event_weights.buy=7", "data.columns.event=kind"],
            "data.event_weights does not shape a prepared log",
        ),
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


HEADER = "user_id\titem_id\ttimestamp\n"
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
            "b.tsv, line 2: expected seconds as in most of the log, got '0', which is no time",
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


def interrupted(log, folder, after, monkeypatch, error):
    """Prepares until `after` shards are written, then fails."""
    write, written = shard_files.write_shard, []

    def failing(path, shard):
        if len(written) == after:
            raise error
        written.append(path.name)
        write(path, shard)

    monkeypatch.setattr(prepare_locally, "_THREADS", 1)
    monkeypatch.setattr(prepare_locally, "write_shard", failing)
    with pytest.raises(BaseException) as caught:
        prepare_log([str(log)], folder / "out", Data())
    monkeypatch.undo()
    assert not (folder / "out").exists() and not (folder / "out.partial" / "manifest.json").exists()
    return caught.value, written


def test_an_interrupted_run_resumes_with_its_shards(tmp_path, log, monkeypatch):
    prepare_log([str(log)], tmp_path / "whole", Data())
    _, written = interrupted(log, tmp_path, 3, monkeypatch, KeyboardInterrupt())
    assert len(written) == 3
    before = {name: (tmp_path / "out.partial" / name).stat().st_mtime_ns for name in written}
    monkeypatch.setattr(prepare_locally, "_read", None)  # the log is not read again
    prepare_log([str(log)], tmp_path / "out", Data())
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in written} == before
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("change", ["options", "log", "shards"])
def test_other_work_is_neither_resumed_nor_removed(tmp_path, log, monkeypatch, change):
    log = shutil.copy(log, tmp_path / "log.tsv")
    interrupted(log, tmp_path, 3, monkeypatch, KeyboardInterrupt())
    if change == "log":
        with open(log, "a", encoding="utf-8") as out:
            out.write("u0\ti0\t1700000000\n")
    data = Data(min_user_events=12) if change == "options" else Data()
    shards, before = 2 if change == "shards" else None, tree(tmp_path / "out.partial")
    with pytest.raises(ConfigError) as caught:
        prepare_log([str(log)], tmp_path / "out", data, shards)
    what = {
        "options": "with data.min_user_events=5, not 12",
        "log": "of other logs, or of what they were then",
        "shards": "with --shards None, not 2",
    }[change]
    remedies = "give --restart to begin anew, or name another --to."
    assert str(caught.value) == f"{tmp_path}/out.partial holds unfinished work {what}; {remedies}"
    assert tree(tmp_path / "out.partial") == before
    prepare_log([str(log)], tmp_path / "out", data, shards, restart=True)
    prepare_log([str(log)], tmp_path / "anew", data, shards)
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")
    assert not (tmp_path / "out.partial").exists()


# --- Files that this program did not write ---


def tree(folder):
    """Path -> bytes of each file."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("link", [False, True])
def test_a_foreign_partial_folder_stays(tmp_path, log, restart, link):
    other = tmp_path / ("elsewhere" if link else "out.partial")
    for name in ("thesis.txt", "work/state.json", "order.json", "users.txt"):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_text("mine")
    if link:
        (tmp_path / "out.partial").symlink_to(other)
    before = tree(other)
    with pytest.raises(
        ConfigError, match=r"out\.partial is .+; move it away, or name another --to\.$"
    ):
        prepare_log([str(log)], tmp_path / "out", Data(), restart=restart)
    assert tree(other) == before


@pytest.mark.parametrize("restart", [False, True])
def test_a_mistyped_log_changes_nothing(tmp_path, log, monkeypatch, restart):
    interrupted(log, tmp_path, 3, monkeypatch, KeyboardInterrupt())
    before = tree(tmp_path)
    with pytest.raises(DataError, match=r"no\.tsv does not exist"):
        prepare_log([str(tmp_path / "no.tsv")], tmp_path / "out", Data(), restart=restart)
    bad = tmp_path / "bad.tsv"
    bad.write_text(HEADER + "u\ti\tnever\n", encoding="utf-8")
    with pytest.raises(DataError if restart else ConfigError):
        prepare_log([str(bad)], tmp_path / "out", Data(), restart=restart)
    bad.unlink()
    assert tree(tmp_path) == before


def test_a_file_put_into_unfinished_work_stays(tmp_path, log, monkeypatch):
    interrupted(log, tmp_path, 3, monkeypatch, KeyboardInterrupt())
    (tmp_path / "out.partial" / "work" / "notes.txt").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(ConfigError) as caught:
        prepare_log([str(log)], tmp_path / "out", Data(), restart=True)
    notes = tmp_path / "out.partial" / "work" / "notes.txt"
    assert str(caught.value).startswith(
        f"{notes} was not written by this program, so that --restart removes nothing; "
    )
    assert tree(tmp_path) == before
    prepare_log([str(log)], tmp_path / "out", Data())
    assert (tmp_path / "out" / "work" / "notes.txt").read_text() == "mine"


def test_a_link_in_unfinished_work_is_not_followed(tmp_path, log, monkeypatch):
    interrupted(log, tmp_path, 3, monkeypatch, KeyboardInterrupt())
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "out.partial" / "users.txt").unlink()
    (tmp_path / "out.partial" / "users.txt").symlink_to(tmp_path / "mine.txt")
    for restart in (False, True):
        with pytest.raises(
            ConfigError,
            match=r"users\.txt is a symbolic link, which this program did not make; move it away",
        ):
            prepare_log([str(log)], tmp_path / "out", Data(), restart=restart)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_complete_folder_is_replaced_by_restart_only(tmp_path, log):
    prepare_log([str(log)], tmp_path / "out", Data())
    before = tree(tmp_path)
    with pytest.raises(
        ConfigError, match="out exists; name a new one, or give --restart to replace it"
    ):
        prepare_log([str(log)], tmp_path / "out", Data(min_user_events=12))
    bad = str(tmp_path / "bad.tsv")
    Path(bad).write_text(HEADER + 30_000 * "u\ti\t1\n" + "u\ti\tnever\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 30002"):
        prepare_log([bad], tmp_path / "out", Data(), restart=True)
    Path(bad).unlink()
    assert tree(tmp_path) == before
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt was not written by this program"):
        prepare_log([str(log)], tmp_path / "out", Data(min_user_events=12), restart=True)
    (tmp_path / "out" / "notes.txt").unlink()
    assert tree(tmp_path) == before
    prepare_log([str(log)], tmp_path / "out", Data(min_user_events=12), restart=True)
    prepare_log([str(log)], tmp_path / "anew", Data(min_user_events=12))
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["anew", "out"]


def test_a_folder_that_is_no_prepared_log_is_not_replaced(tmp_path, log):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("{}")
    with pytest.raises(
        ConfigError,
        match="out exists and is no prepared log, so that --restart does not replace it",
    ):
        prepare_log([str(log)], tmp_path / "out", Data(), restart=True)
    assert tree(tmp_path) == {"out/manifest.json": b"{}"}


def test_a_full_disk(tmp_path, log, monkeypatch):
    error, _ = interrupted(
        log, tmp_path, 2, monkeypatch, OSError(errno.ENOSPC, "No space left on device")
    )
    assert isinstance(error, DataError)
    assert (
        str(error)
        == f"{tmp_path}/out.partial cannot be written, no space is left: free some, and give the "
        "same command again."
    )
    prepare_log([str(log)], tmp_path / "out", Data())


def test_the_writer_tells_a_full_disk(tmp_path):
    os.symlink("/dev/full", tmp_path / "a.tfrecord.part")
    one = np.ones(1, np.int64)
    with pytest.raises(OSError, match="No space left"):
        shard_files.write_shard(
            tmp_path / "a.tfrecord",
            shard_files.Shard(one, one, one.astype(np.int32), one, one, -one, -one),
        )
    assert not list(tmp_path.iterdir())


def test_two_processes_do_not_share_a_folder(tmp_path, log):
    with prepare_locally.claimed(tmp_path / "out", {"options": {}}, restart=False) as work:
        with pytest.raises(ConfigError, match="another process prepares it"):
            prepare_log([str(log)], tmp_path / "out", Data())
        work.abandon()
    prepare_log([str(log)], tmp_path / "out", Data())


def test_manifest_is_json_without_paths(tmp_path, log):
    prepare_log([str(log)], tmp_path / "out", Data())
    text = (tmp_path / "out" / "manifest.json").read_text(encoding="utf-8")
    assert (
        json.loads(text)["version"] == 1
        and str(tmp_path) not in text
        and str(log.parent) not in text
    )
