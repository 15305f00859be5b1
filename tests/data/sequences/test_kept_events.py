"""Held-out events from the file that a run keeps: the blocks of the split that they come from."""

import numpy as np
import polars as pl
import pytest

from tfrec_attn.data.batches import HeldOut
from tfrec_attn.data.sequences.held_out_log import read_held_out_log, save_held_out_log
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import DataError

HISTORIES = [[1, 2, 3, 1, 4], [2], [5, 5, 5], [3, 1], [4, 3, 2, 1, 5, 2, 2]]
ITEMS = Vocabulary([f"i{number}" for number in range(1, 6)])
USERS = Vocabulary([f"u{number}" for number in range(1, 6)])


def write(path, *rows):
    schema = {"user_id": pl.String, "history": pl.List(pl.String), "target": pl.String}
    pl.DataFrame(list(rows), schema=schema, orient="row").write_parquet(path)
    return path


@pytest.mark.parametrize("part", ["valid", "test"])
def test_blocks_are_those_of_the_split(make_leave_one_out, tmp_path, part):
    split = make_leave_one_out(HISTORIES, 5)
    save_held_out_log(split, part, tmp_path / "kept.parquet")
    (kept,) = read_held_out_log(tmp_path / "kept.parquet", part, (USERS, ITEMS))
    pairs = zip(
        HeldOut(split, part, batch_size=2).dataset(),
        HeldOut(kept.split, part, batch_size=2).dataset(),
        strict=True,
    )
    for expected, block in pairs:
        block["user"] = kept.users[block["user"].numpy() - 1]
        for name in expected:
            np.testing.assert_array_equal(block[name], expected[name])
    assert (
        kept.user_ids == ["u1", "u3", "u5"]
        and kept.users.tolist() == [1, 3, 5]
        and kept.known.all()
    )


def test_what_is_unknown_is_passed_over(tmp_path):
    rows = [
        ("u9", ["i1", "new", "i2"], "i3"),
        ("u2", ["i1"], "new"),
        ("u1", [], "i5"),
        ("u3", ["new"], "i4"),
    ]
    (kept,) = read_held_out_log(write(tmp_path / "kept.parquet", *rows), "test", (USERS, ITEMS))
    assert kept.users.tolist() == [0, 2, 1, 3]
    assert kept.known.tolist() == [True, False, True, True]
    assert kept.split.sequences.items.tolist() == [1, 2, 3, 5, 4]
    assert kept.split.sequences.offsets.tolist() == [0, 3, 4, 5]
    assert kept.split.test.tolist() == [2, 3, 4] and not len(kept.split.valid)


def test_more_than_fits_comes_in_parts(tmp_path):
    rows = [(f"u{number % 5 + 1}", ["i1", "i2"], f"i{number % 5 + 1}") for number in range(10)]
    path = write(tmp_path / "kept.parquet", *rows)
    parts = list(read_held_out_log(path, "test", (USERS, ITEMS), limit=7))
    assert len(parts) > 3
    assert [target for part in parts for target in part.targets] == [row[2] for row in rows]
    assert [item for part in parts for item in part.split.sequences.items] == [
        one for n in range(10) for one in (1, 2, n % 5 + 1)
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda path: path.unlink(), "is missing; train again"),
        (lambda path: path.write_bytes(b""), "cannot be read as Parquet"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "cannot be read as Parquet"),
        (
            lambda path: pl.DataFrame({"user_id": ["u1"]}).write_parquet(path),
            "must have the columns user_id, history, target",
        ),
        (lambda path: write(path), "holds no events"),
        (lambda path: write(path, ("u1", None, "i1")), "without a user, a history or a target"),
        (lambda path: write(path, ("u1", ["i1"], None)), "without a user, a history or a target"),
    ],
)
def test_what_is_something_else(tmp_path, change, sentence):
    path = write(tmp_path / "kept.parquet", ("u1", ["i1"], "i2"))
    change(path)
    with pytest.raises(DataError, match=rf"^{path} .*{sentence}.*\.$"):
        list(read_held_out_log(path, "test", (USERS, ITEMS)))
