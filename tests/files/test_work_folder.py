"""Folders of unfinished work: what is removed, renamed and refused; links are never followed."""

import os

import pytest

from tfrec_attn.files.work_folder import (
    BusyFolder,
    ForeignFolder,
    WorkFolder,
    foreign_paths,
    is_marked,
    remove,
)

KNOWN = ("a.txt", "part-*.bin", "state/*/x", "deep/**")


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_foreign_paths(tmp_path):
    make(tmp_path, "a.txt", "part-1.bin", "state/7/x", "deep/er/still")
    assert foreign_paths(tmp_path, KNOWN) == []
    foreign = ["a.txt.bak", "part-1.bin.old", "state/x", "state/7/y", "state/7/8/x", "other/a.txt"]
    make(tmp_path, *foreign)
    (tmp_path / "empty").mkdir()
    (tmp_path / "deep" / "link").symlink_to(tmp_path / "a.txt")
    found = {str(path.relative_to(tmp_path)) for path in foreign_paths(tmp_path, KNOWN)}
    assert found == {*foreign, "state/7/8", "other", "empty", "deep/link"}


def test_a_folder_with_the_name_of_a_file_is_foreign(tmp_path):
    make(tmp_path, "a.txt/inside")
    assert len(foreign_paths(tmp_path, KNOWN)) == 2


def test_only_known_paths_are_removed(tmp_path):
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


def test_a_work_folder_is_made_resumed_and_finished(tmp_path):
    work = WorkFolder(tmp_path / "new" / "x.partial", "run", KNOWN)
    assert work.is_new and is_marked(work.folder, "run") and not is_marked(work.folder, "export")
    with pytest.raises(BusyFolder):
        WorkFolder(work.folder, "run", KNOWN)
    make(work.folder, "a.txt")
    work.release()
    with pytest.raises(ForeignFolder, match="is not an unfinished export of this program"):
        WorkFolder(work.folder, "export", KNOWN)
    again = WorkFolder(work.folder, "run", KNOWN)
    assert not again.is_new
    again.finish(tmp_path / "new" / "x")
    again.release()
    assert names(tmp_path) == ["new", "new/x", "new/x/a.txt"]


@pytest.mark.parametrize("written", [b"", b"something else", None])
def test_foreign_marks(tmp_path, written):
    folder = tmp_path / "x.partial"
    make(folder, "a.txt")
    if written is not None:
        (folder / "lock").write_bytes(written)
    before = names(folder)
    with pytest.raises(ForeignFolder):
        WorkFolder(folder, "run", KNOWN)
    assert names(folder) == before


def test_an_empty_mark_of_a_killed_process_is_resumed(tmp_path):
    make(tmp_path / "x.partial", "lock")
    (tmp_path / "x.partial" / "lock").write_bytes(b"")
    work = WorkFolder(tmp_path / "x.partial", "run", KNOWN)
    assert work.is_new and is_marked(work.folder, "run")


def test_abandoned_work_leaves_an_earlier_folder(tmp_path):
    (tmp_path / "x.partial").mkdir()
    for folder in (tmp_path / "x.partial", tmp_path / "new" / "x.partial"):
        work = WorkFolder(folder, "run", KNOWN)
        make(folder, "a.txt")
        work.abandon()
        work.release()
    assert names(tmp_path) == ["x.partial"]


def test_the_mark_is_removed_last(tmp_path, monkeypatch):
    """A process that is killed at any moment leaves a folder that can be resumed."""
    unlinked = []
    monkeypatch.setattr(
        type(tmp_path),
        "unlink",
        lambda path, missing_ok=False: (unlinked.append(path.name), os.unlink(path)),
    )
    work = WorkFolder(tmp_path / "x.partial", "run", KNOWN)
    make(work.folder, "a.txt", "state/7/x", "part-1.bin")
    work.abandon()
    assert len(unlinked) == 4 and unlinked[-1] == "lock"


def test_work_of_another_process_is_not_abandoned(tmp_path):
    work = WorkFolder(tmp_path / "x.partial", "run", KNOWN)
    work.finish(tmp_path / "x")
    other = WorkFolder(tmp_path / "x.partial", "run", KNOWN)
    make(other.folder, "a.txt")
    work.abandon()
    assert names(tmp_path) == ["x", "x.partial", "x.partial/a.txt", "x.partial/lock"]


@pytest.mark.parametrize("parent", ["", "x/.."])
def test_the_old_folder_is_replaced(tmp_path, parent):
    make(tmp_path / "x", "a.txt", "state/7/x")
    work = WorkFolder(tmp_path / parent / "x.partial", "run", KNOWN)
    make(work.folder, "part-1.bin", "note")
    work.finish(tmp_path / parent / "x", notes=("note",))
    assert names(tmp_path) == ["x", "x/part-1.bin"]
