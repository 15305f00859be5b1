"""Arrays and text files: complete or not at all, and never over a user's file."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from tfrec_attn.errors import ConfigError
from tfrec_attn.files.writing import append_array, check_output, save_array, write_output


def test_arrays_are_read_back(tmp_path):
    values = np.arange(12).reshape(3, 4)[:, ::2]
    save_array(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
    with open(tmp_path / "a.bin", "wb") as file:
        append_array(file, values[:1])
        append_array(file, values[1:])
    np.testing.assert_array_equal(np.fromfile(tmp_path / "a.bin", values.dtype), values.ravel())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
def test_a_full_disk_is_an_error_for_small_arrays():
    with pytest.raises(OSError, match="No space left"):
        save_array(Path("/dev/full"), np.zeros(3))
    with pytest.raises(OSError, match="No space left"), open("/dev/full", "wb") as file:
        append_array(file, np.zeros(3))


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
        assert str(caught.value) == (
            f"--out {path} exists and is not an earlier one of its kind; "
            "name a new file, or remove it."
        )
    assert path.read_text() == content


def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    for path, why in {
        tmp_path / "no" / "out.tsv": f"there is no folder {tmp_path / 'no'}; make it, or name",
        tmp_path: "it is a folder; name a file.",
        tmp_path / "out.tsv": f"the folder {tmp_path} is read-only; name another file.",
        tmp_path / ("x" * 256): "File name too long; name another file.",
        tmp_path / ("x" * 256) / "out.tsv": "File name too long; name another file.",
    }.items():
        with pytest.raises(ConfigError) as caught:
            check_output(path, "HEAD", "--out")
        assert str(caught.value).startswith(f"--out {path} cannot be written: {why}")
    check_output("/dev/null", "HEAD", "--out")


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127])
def test_the_longest_name_is_written(tmp_path, name):
    write_output(tmp_path / name, "HEAD\n", "HEAD", "--out")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(name, "HEAD\n")]


def test_an_earlier_file_is_replaced_completely_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "out.tsv"
    path.write_text("HEAD\nold\n")
    path.chmod(0o640)

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
            write_output(path, "HEAD\nnew\n", "HEAD", "--out")
    assert path.read_text() == "HEAD\nold\n" and list(tmp_path.iterdir()) == [path]
    write_output(path, "HEAD\nnew\n", "HEAD", "--out")
    assert path.read_text() == "HEAD\nnew\n" and stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_device_is_written():
    write_output("/dev/null", "HEAD\n", "HEAD", "--out")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
