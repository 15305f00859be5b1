"""The files of a run: damage that checksums find, and damage in runs without checksums."""

import numpy as np
import pytest

from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError
from tfrec_attn.files.checksums import SUMS, seal
from tfrec_attn.runs.run_files import (
    ITEM_COUNTS,
    ITEMS,
    USERS,
    check_files,
    load_item_counts,
    load_metrics,
)


@pytest.fixture
def sealed(tmp_path):
    """A folder with two sealed files and one that is not."""
    (tmp_path / "deep").mkdir()
    for name in ("one.txt", "deep/two  words", "other"):
        (tmp_path / name).write_text(name)
    seal(tmp_path, ["one.txt", "deep/two  words"])
    return tmp_path


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
def test_damage_is_one_sentence(sealed, change, sentence):
    check_files(sealed, "one.txt", "deep/*")
    change(sealed)
    with pytest.raises(ConfigError) as caught:
        check_files(sealed, "one.txt", "deep/*")
    remedy = "restore the run as the training wrote it, or train again."
    assert str(caught.value) == sentence.replace("FOLDER", str(sealed)) + remedy


def test_a_run_without_sums_is_not_compared(sealed):
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
def test_metrics_of_an_earlier_version_that_are_damaged(tmp_path, text):
    (tmp_path / "metrics.json").write_text(METRICS)
    assert load_metrics(tmp_path)["test"] == {"MRR": 0.2}
    (tmp_path / "metrics.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=r"metrics\.json does not hold what a training writes: "):
        load_metrics(tmp_path)


@pytest.mark.parametrize("value", [[1.5, 2.5], [-1, 2], ["a", "b"]])
def test_item_counts_of_an_earlier_version_that_are_damaged(tmp_path, value):
    (tmp_path / "vocabulary").mkdir()
    for name in (USERS, ITEMS):
        Vocabulary(["a", "b"]).save(tmp_path / name)
    np.save(tmp_path / ITEM_COUNTS, np.array(value))
    with pytest.raises(ConfigError, match="must have whole numbers"):
        load_item_counts(tmp_path)
