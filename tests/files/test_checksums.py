"""Checksums beside files, and what they tell of damage."""

import hashlib
import shutil
import subprocess

import pytest

from tfrec_attn.files.checksums import SUMS, damage, read_sums, seal


@pytest.fixture
def sealed(tmp_path):
    """A folder with two sealed files and one that is not."""
    (tmp_path / "deep").mkdir()
    for name in ("one.txt", "deep/two  words", "other"):
        (tmp_path / name).write_text(name)
    seal(tmp_path, ["one.txt", "deep/two  words"])
    return tmp_path


def test_sums_are_those_of_the_bytes(sealed):
    assert read_sums(sealed) == {
        name: hashlib.sha256(name.encode()).hexdigest() for name in ("one.txt", "deep/two  words")
    }


def test_sha256sum_reads_them(sealed):
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum")
    subprocess.run(
        ["sha256sum", "--check", "--strict", SUMS], cwd=sealed, check=True, capture_output=True
    )


def test_damage(sealed):
    expected = read_sums(sealed)["one.txt"]
    assert damage(sealed / "one.txt", expected) is None
    (sealed / "one.txt").write_text("one.txT")
    assert damage(sealed / "one.txt", expected) == "is not what was written"
    (sealed / "one.txt").unlink()
    assert damage(sealed / "one.txt", expected) == "is missing"
    (sealed / "one.txt").mkdir()
    assert damage(sealed / "one.txt", expected) == "is missing"
