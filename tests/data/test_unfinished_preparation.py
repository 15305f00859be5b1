"""Preparations that are interrupted: they are resumed, and files of others stay."""

import errno
import shutil
from pathlib import Path

import pytest

from tests.commands import tree
from tests.data.preparing import HEADER, contents, synthetic_log
from tfrec_attn.config import Data
from tfrec_attn.data.shards import prepare_locally, shard_files
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.tsv"
    synthetic_log().write_csv(path, separator="\t")
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
        "log": "of other logs, or the logs have changed",
        "shards": "with --shards None, not 2",
    }[change]
    remedies = "give --restart to start again, or name another --to."
    assert str(caught.value) == f"{tmp_path}/out.partial holds unfinished work {what}; {remedies}"
    assert tree(tmp_path / "out.partial") == before
    prepare_log([str(log)], tmp_path / "out", data, shards, restart=True)
    prepare_log([str(log)], tmp_path / "anew", data, shards)
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")
    assert not (tmp_path / "out.partial").exists()


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
        f"{notes} was not written by this program, so --restart removes nothing; "
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
        match="out exists and is not a prepared log, so --restart does not replace it",
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
        == f"{tmp_path}/out.partial cannot be written, no space is left: free some, and run the "
        "same command again."
    )
    prepare_log([str(log)], tmp_path / "out", Data())


def test_two_processes_do_not_share_a_folder(tmp_path, log):
    with prepare_locally.claimed(tmp_path / "out", {"options": {}}, restart=False) as work:
        with pytest.raises(ConfigError, match="is in use by another process; wait until it ends"):
            prepare_log([str(log)], tmp_path / "out", Data())
        work.abandon()
    prepare_log([str(log)], tmp_path / "out", Data())
