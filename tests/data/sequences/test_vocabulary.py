"""The table between ids and indices, and its file."""

import numpy as np
import polars as pl
import pytest

from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import DataError


@pytest.mark.parametrize(
    "ids", [["b", "a", "é "], np.array(["b", "a", "é "]), pl.Series(["b", "a", "é "])]
)
def test_indices_count_from_one_in_the_given_order(ids):
    vocabulary = Vocabulary(ids)
    assert len(vocabulary) == 3
    found = vocabulary.lookup(["é ", "b", "nobody", "", "a"])
    assert found.dtype == np.int32
    assert found.tolist() == [3, 1, 0, 0, 2]
    assert vocabulary.ids([0, 3, 1, 1]) == ["", "é ", "b", "b"]
    assert vocabulary.ids([0, 3, 1, 1] * 9) == ["", "é ", "b", "b"] * 9
    assert vocabulary.ids() == ["b", "a", "é "]
    assert "a" in vocabulary
    assert "" not in vocabulary


def test_the_file_has_one_id_per_line(tmp_path):
    path = tmp_path / "items.txt"
    Vocabulary(["b", "a", "é ", "\u2028"]).save(path)
    assert path.read_bytes() == "b\na\né \n\u2028\n".encode()
    assert Vocabulary.load(path) == Vocabulary(["b", "a", "é ", "\u2028"])
    path.write_bytes(b"x\ny")
    assert Vocabulary.load(path).ids() == ["x", "y"]


def test_an_empty_vocabulary(tmp_path):
    Vocabulary([]).save(tmp_path / "v")
    assert len(Vocabulary.load(tmp_path / "v")) == 0
    assert Vocabulary([]).lookup(["a"]).tolist() == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\nb\na\n", "line 3: 'a' is there already, in line 1."),
        (b"a\n\nb\n", "line 2: expected an id without line breaks, got ''."),
        (b"a\n\n", "line 2: expected an id without line breaks, got ''."),
        (b"a\r\nb\r\n", "line 1: expected an id without line breaks, got 'a\\r'."),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, text, message):
    path = tmp_path / "v"
    path.write_bytes(text)
    with pytest.raises(DataError) as caught:
        Vocabulary.load(path)
    assert str(caught.value) == f"{path}, {message}"


def test_missing_and_binary_files(tmp_path):
    path = tmp_path / "v"
    with pytest.raises(DataError, match="v cannot be read: No such file or directory"):
        Vocabulary.load(path)
    path.write_bytes(b"ab\xff")
    with pytest.raises(DataError, match="v is not UTF-8 text: byte 2 is 0xff"):
        Vocabulary.load(path)


def test_wrong_ids_and_indices():
    with pytest.raises(DataError, match="the vocabulary, id 2: 'a' is there already, in id 1"):
        Vocabulary(["a", "a"])
    with pytest.raises(
        DataError, match="the vocabulary, id 1: expected an id without line breaks, got ''"
    ):
        Vocabulary([""])
    for indices in ([-1], [3]):
        with pytest.raises(DataError, match=r"an index must be in 0\.\.2, got"):
            Vocabulary(["a", "b"]).ids(indices)
