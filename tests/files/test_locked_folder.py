"""Folders in which one process works at a time, with the processes that it starts."""

import subprocess

import pytest

from tfrec_attn.errors import ConfigError
from tfrec_attn.files.locked_folder import locked_folder


def test_a_second_process_is_refused_until_the_last_child_ends(tmp_path):
    folder = tmp_path / "a" / "b"

    def refused():
        with pytest.raises(ConfigError) as error, locked_folder(folder, "name another"):
            pass
        return str(error.value)

    busy = f"{folder} is in use by another process; wait until it ends, or name another."
    with locked_folder(folder, "name another") as lock:
        (folder / "result").touch()
        assert refused() == busy
        # It ends when its input does.
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(lock,))
    assert refused() == busy
    child.communicate()
    with locked_folder(folder, "name another"):
        pass
    assert (folder / "result").exists()


def test_an_empty_folder_is_removed_if_it_was_made(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("a/b", "there"):
        with locked_folder(tmp_path / name, "name another"):
            assert (tmp_path / name).is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    for name in ("file", "file/below"):
        with (
            pytest.raises(ConfigError, match=r"cannot be written: [\w ]+; name another\.$"),
            locked_folder(tmp_path / name, "name another"),
        ):
            pass
