"""What this program wrote is told from what it did not by content; links are never followed."""

import os
import stat

import pytest

from tfrec_attn.errors import ConfigError
from tfrec_attn.files.own_files import (
    BusyFolder,
    ForeignFolder,
    Unfinished,
    check_output,
    is_marked,
    remove,
    strangers,
    write_output,
)

KNOWN = ("a.txt", "part-*.bin", "state/*/x", "deep/**")


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_strangers(tmp_path):
    make(tmp_path, "a.txt", "part-1.bin", "state/7/x", "deep/er/still")
    assert strangers(tmp_path, KNOWN) == []
    foreign = ["a.txt.bak", "part-1.bin.old", "state/x", "state/7/y", "state/7/8/x", "other/a.txt"]
    make(tmp_path, *foreign)
    (tmp_path / "empty").mkdir()
    (tmp_path / "deep" / "link").symlink_to(tmp_path / "a.txt")
    found = {str(path.relative_to(tmp_path)) for path in strangers(tmp_path, KNOWN)}
    assert found == {*foreign, "state/7/8", "other", "empty", "deep/link"}


def test_a_folder_with_the_name_of_a_file_is_a_stranger(tmp_path):
    make(tmp_path, "a.txt/inside")
    assert len(strangers(tmp_path, KNOWN)) == 2


def test_remove_takes_what_is_known_only(tmp_path):
    make(
        tmp_path / "work",
        "a.txt",
        "part-1.bin",
        "state/7/x",
        "state/8/x",
        "state/8/mine",
        "deep/er/still",
    )
    make(tmp_path / "elsewhere", "x", "still")
    (tmp_path / "work" / "deep" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "work" / "state" / "9").symlink_to(tmp_path / "elsewhere")
    remove(tmp_path / "work", KNOWN, keep=["part-1.bin"])
    assert names(tmp_path / "work") == [
        "deep",
        "deep/link",
        "part-1.bin",
        "state",
        "state/8",
        "state/8/mine",
        "state/9",
    ]
    assert names(tmp_path / "elsewhere") == ["still", "x"]


def test_a_link_to_a_folder_is_not_emptied(tmp_path):
    make(tmp_path / "elsewhere", "a.txt")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    remove(tmp_path / "link", KNOWN)
    assert names(tmp_path / "elsewhere") == ["a.txt"]


def test_work_is_made_and_taken_up(tmp_path):
    work = Unfinished(tmp_path / "new" / "x.partial", "run", KNOWN)
    assert work.is_new and is_marked(work.folder, "run") and not is_marked(work.folder, "export")
    with pytest.raises(BusyFolder):
        Unfinished(work.folder, "run", KNOWN)
    make(work.folder, "a.txt")
    work.release()
    with pytest.raises(ForeignFolder, match="is no unfinished export of this program"):
        Unfinished(work.folder, "export", KNOWN)
    again = Unfinished(work.folder, "run", KNOWN)
    assert not again.is_new
    again.finish(tmp_path / "new" / "x")
    again.release()
    assert names(tmp_path) == ["new", "new/x", "new/x/a.txt"]


@pytest.mark.parametrize("written", [b"", b"something else", None])
def test_a_mark_of_somebody_else(tmp_path, written):
    folder = tmp_path / "x.partial"
    make(folder, "a.txt")
    if written is not None:
        (folder / "lock").write_bytes(written)
    before = names(folder)
    with pytest.raises(ForeignFolder):
        Unfinished(folder, "run", KNOWN)
    assert names(folder) == before


def test_what_a_process_left_that_was_killed_before_it_wrote_its_mark(tmp_path):
    make(tmp_path / "x.partial", "lock")
    (tmp_path / "x.partial" / "lock").write_bytes(b"")
    work = Unfinished(tmp_path / "x.partial", "run", KNOWN)
    assert work.is_new and is_marked(work.folder, "run")


def test_abandoned_work_leaves_what_was_there(tmp_path):
    (tmp_path / "x.partial").mkdir()
    for folder in (tmp_path / "x.partial", tmp_path / "new" / "x.partial"):
        work = Unfinished(folder, "run", KNOWN)
        make(folder, "a.txt")
        work.abandon()
        work.release()
    assert names(tmp_path) == ["x.partial"]


def test_the_mark_goes_last(tmp_path, monkeypatch):
    """Killed at any moment, what is left can be taken up."""
    unlinked = []
    monkeypatch.setattr(
        type(tmp_path),
        "unlink",
        lambda path, missing_ok=False: (unlinked.append(path.name), os.unlink(path)),
    )
    work = Unfinished(tmp_path / "x.partial", "run", KNOWN)
    make(work.folder, "a.txt", "state/7/x", "part-1.bin")
    work.abandon()
    assert len(unlinked) == 4 and unlinked[-1] == "lock"


def test_work_that_has_become_somebody_elses_is_not_abandoned(tmp_path):
    work = Unfinished(tmp_path / "x.partial", "run", KNOWN)
    work.finish(tmp_path / "x")
    other = Unfinished(tmp_path / "x.partial", "run", KNOWN)
    make(other.folder, "a.txt")
    work.abandon()
    assert names(tmp_path) == ["x", "x.partial", "x.partial/a.txt", "x.partial/lock"]


def test_the_old_folder_is_replaced(tmp_path):
    make(tmp_path / "x", "a.txt", "state/7/x")
    work = Unfinished(tmp_path / "x.partial", "run", KNOWN)
    make(work.folder, "part-1.bin", "note")
    work.finish(tmp_path / "x", notes=("note",))
    assert names(tmp_path) == ["x", "x/part-1.bin"]


# --- Files that a user names ---


@pytest.mark.parametrize("content", ["mine", "HEA", "header of another kind"])
def test_a_foreign_file_is_not_overwritten(tmp_path, content):
    path = tmp_path / "out.tsv"
    path.write_text(content)
    for refuse in (
        lambda: check_output(path, "HEAD", "--out"),
        lambda: write_output(path, "HEAD\n", "HEAD", "--out"),
    ):
        with pytest.raises(ConfigError) as caught:
            refuse()
        assert (
            str(caught.value)
            == f"--out {path} exists and is not an earlier one of its kind; name a new file, or remove it."
        )
    assert path.read_text() == content


def test_an_earlier_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "out.tsv"
    path.write_text("HEAD\nold\n")
    path.chmod(0o640)
    with monkeypatch.context() as patch:
        patch.setattr(
            os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
            write_output(path, "HEAD\nnew\n", "HEAD", "--out")
    assert path.read_text() == "HEAD\nold\n" and names(tmp_path) == ["out.tsv"]
    write_output(path, "HEAD\nnew\n", "HEAD", "--out")
    assert path.read_text() == "HEAD\nnew\n" and stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_device_is_written_to():
    write_output("/dev/null", "HEAD\n", "HEAD", "--out")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
