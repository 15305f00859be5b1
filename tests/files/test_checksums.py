"""Checksums beside files, and damaged files of a run."""

import hashlib
import shutil
import subprocess

import pytest

from tfrec_attn.errors import ConfigError
from tfrec_attn.files.checksums import SUMS, damage, read_sums, seal
from tfrec_attn.runs.run_files import check_files, read_item_counts, read_metrics


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


def test_what_is_damaged(sealed):
    expected = read_sums(sealed)["one.txt"]
    assert damage(sealed / "one.txt", expected) is None
    (sealed / "one.txt").write_text("one.txT")
    assert damage(sealed / "one.txt", expected) == "is not what was written"
    (sealed / "one.txt").unlink()
    assert damage(sealed / "one.txt", expected) == "is missing"
    (sealed / "one.txt").mkdir()
    assert damage(sealed / "one.txt", expected) == "is missing"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "one.txt").unlink(), "FOLDER/one.txt is missing: "),
        (
            lambda folder: (folder / "deep" / "two  words").write_text(""),
            "FOLDER/deep/two  words is not what was written: ",
        ),
        (lambda folder: (folder / SUMS).write_text("no sums"), f"FOLDER/{SUMS} cannot be read: "),
        (
            lambda folder: (folder / SUMS).write_bytes(b"\xff\xfe  a"),
            f"FOLDER/{SUMS} cannot be read: ",
        ),
        (
            lambda folder: (folder / SUMS).write_text(""),
            f"FOLDER/{SUMS} is damaged, it has no line for one.txt: ",
        ),
    ],
)
def test_one_sentence_for_damage(sealed, change, sentence):
    check_files(sealed, "one.txt", "deep/*")
    change(sealed)
    with pytest.raises(ConfigError) as caught:
        check_files(sealed, "one.txt", "deep/*")
    assert (
        str(caught.value)
        == sentence.replace("FOLDER", str(sealed))
        + "bring the run back as the training wrote it, or train again."
    )


def test_without_sums_nothing_is_compared(sealed):
    (sealed / SUMS).unlink()
    check_files(sealed, "one.txt", "missing")


METRICS = '{"valid": {"MRR": 0.1}, "test": {"MRR": 0.2}, "data": {}}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"x"',
        METRICS[:-13],
        METRICS.replace("0.2", '"0.2"'),
        METRICS.replace("{}", "3"),
        METRICS.replace("{}", '{"after": 3}'),
        "[" * 100_000,
        "\ud800",
    ],
)
def test_metrics_of_an_earlier_version_that_are_none(tmp_path, text):
    (tmp_path / "metrics.json").write_text(METRICS)
    assert read_metrics(tmp_path, "metrics.json")["test"] == {"MRR": 0.2}
    (tmp_path / "metrics.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=r"metrics\.json does not hold what a training writes: "):
        read_metrics(tmp_path, "metrics.json")


@pytest.mark.parametrize("value", [[1.5, 2.5], [-1, 2], ["a", "b"]])
def test_counts_of_an_earlier_version_that_are_none(tmp_path, value):
    import numpy as np

    np.save(tmp_path / "counts.npy", np.array(value))
    with pytest.raises(ConfigError, match="must have whole numbers"):
        read_item_counts(tmp_path, "counts.npy", 2)
