"""Held-out events in raw ids: made, saved and read; and the checksums of logs."""

import dataclasses
import hashlib

import numpy as np
import polars as pl
import pytest

from tfrec_attn.data.batches import HeldOut
from tfrec_attn.data.sequences.encoding import checksum, encode_log
from tfrec_attn.data.sequences.held_out_log import (
    held_out_log,
    read_held_out_log,
    save_held_out_log,
)
from tfrec_attn.data.sequences.splits import item_counts, leave_one_out, temporal
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import DataError

# At time 5 and before: training; 6 and 7: validation; later: test.
EVENTS = [
    ("ann", "é", 1), ("bob", "b", 2), ("ann", "c", 3), ("ann", "é", 6), ("bob", "c", 6),
    ("cyd", "d", 7), ("ann", "b", 8), ("bob", "d", 9), ("cyd", "b", 10), ("dan", "é", 11),
    ("cyd", "é", 12), ("dan", "b", 13),
]  # fmt: skip


@pytest.fixture(scope="module")
def sequences():
    return encode_log(
        pl.DataFrame(EVENTS, schema=["user_id", "item_id", "timestamp"], orient="row")
    )[0]


def test_leave_one_out(sequences):
    split = leave_one_out(sequences)
    assert held_out_log(split, "valid").rows() == [
        ("ann", ["é", "c"], "é"),
        ("bob", ["b"], "c"),
        ("cyd", ["d"], "b"),
    ]
    assert held_out_log(split, "test").rows() == [
        ("ann", ["é", "c", "é"], "b"),
        ("bob", ["b", "c"], "d"),
        ("cyd", ["d", "b"], "é"),
    ]
    assert dict(zip(sequences.item_vocabulary.ids(), item_counts(split).tolist(), strict=True)) == {
        "é": 2,
        "b": 2,
        "c": 1,
        "d": 1,
    }


def test_temporal(sequences):
    # The second event in each interval neither trains nor tests; a history may be empty.
    split = temporal(sequences, valid_from="1970-01-01T00:00:06", test_from="1970-01-01T00:00:08")
    assert held_out_log(split, "valid").rows() == [
        ("ann", ["é", "c"], "é"),
        ("bob", ["b"], "c"),
        ("cyd", [], "d"),
    ]
    expected = [
        ("ann", ["é", "c", "é"], "b"),
        ("bob", ["b", "c"], "d"),
        ("cyd", ["d"], "b"),
        ("dan", [], "é"),
    ]
    assert held_out_log(split, "test").rows() == expected
    assert dict(zip(sequences.item_vocabulary.ids(), item_counts(split).tolist(), strict=True)) == {
        "é": 1,
        "b": 1,
        "c": 1,
        "d": 0,
    }


def test_no_history_at_all(sequences):
    split = temporal(sequences, valid_from="1970-01-01T00:00:06", test_from="1970-01-01T00:00:08")
    log = held_out_log(dataclasses.replace(split, test=split.sequences.offsets[:2]), "test")
    assert log.rows() == [("ann", [], "é"), ("bob", [], "b")]
    assert log.schema == {"user_id": pl.String, "history": pl.List(pl.String), "target": pl.String}


@pytest.mark.parametrize("part", ["valid", "test"])
def test_the_log_holds_what_the_evaluation_ranks(part):
    random = np.random.default_rng(2)
    frame = {
        "user_id": random.integers(0, 40, 600),
        "item_id": random.integers(0, 9, 600),
        "timestamp": np.arange(600),
    }
    sequences, _ = encode_log(
        pl.DataFrame(frame).with_columns(pl.col("user_id", "item_id").cast(pl.String))
    )
    split = temporal(sequences, valid_from=0.4, test_from=0.7)
    held_out = HeldOut(split, part, max_length=50, batch_size=1)
    blocks = {block["user"].numpy()[0]: block for block in held_out.dataset()}
    log = held_out_log(split, part)
    assert len(log) == len(blocks) > 30
    for user, history, target in log.rows():
        block = blocks[sequences.user_vocabulary.lookup([user])[0]]
        encoded = sequences.item_vocabulary.lookup(history).tolist()
        assert block["history"].numpy()[0].tolist() == encoded
        assert set(block["seen"].numpy()[0]) - {0} == set(encoded)
        assert (
            block["target"].numpy().tolist() == sequences.item_vocabulary.lookup([target]).tolist()
        )


def test_the_checksum_is_of_ids_offsets_and_items(sequences):
    parts = [
        "é\nb\nc\nd\n".encode(),
        b"ann\nbob\ncyd\ndan\n",
        np.array([0, 4, 7, 10, 12], "<i8").tobytes(),
        np.array([1, 3, 1, 2, 2, 3, 4, 4, 2, 1, 1, 2], "<i4").tobytes(),
    ]
    expected = hashlib.sha256(
        b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    ).hexdigest()
    assert checksum(sequences) == expected


def test_the_checksum_tells_logs_apart():
    def of(rows):
        return checksum(
            encode_log(
                pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
            )[0]
        )

    swapped = [*EVENTS[:6], ("ann", "d", 8), *EVENTS[7:]]
    renamed = [(user.replace("bob", "bo"), item, time) for user, item, time in EVENTS]
    later = [(user, item, 2 * time) for user, item, time in EVENTS]
    assert len({of(EVENTS), of(swapped), of(renamed), of(EVENTS[:-1])}) == 4
    assert of(later) == of(EVENTS)


HISTORIES = [[1, 2, 3, 1, 4], [2], [5, 5, 5], [3, 1], [4, 3, 2, 1, 5, 2, 2]]
ITEMS = Vocabulary([f"i{number}" for number in range(1, 6)])
USERS = Vocabulary([f"u{number}" for number in range(1, 6)])


def write_log(path, *rows):
    schema = {"user_id": pl.String, "history": pl.List(pl.String), "target": pl.String}
    pl.DataFrame(list(rows), schema=schema, orient="row").write_parquet(path)
    return path


@pytest.mark.parametrize("part", ["valid", "test"])
def test_blocks_are_those_of_the_split(make_leave_one_out, tmp_path, part):
    split = make_leave_one_out(HISTORIES, 5)
    save_held_out_log(split, part, tmp_path / "events.parquet")
    (found,) = read_held_out_log(tmp_path / "events.parquet", part, (USERS, ITEMS))
    pairs = zip(
        HeldOut(split, part, batch_size=2).dataset(),
        HeldOut(found.split, part, batch_size=2).dataset(),
        strict=True,
    )
    for expected, block in pairs:
        block["user"] = found.users[block["user"].numpy() - 1]
        for name in expected:
            np.testing.assert_array_equal(block[name], expected[name])
    assert (
        found.user_ids == ["u1", "u3", "u5"]
        and found.users.tolist() == [1, 3, 5]
        and found.known.all()
    )


def test_unknown_items_are_left_out(tmp_path):
    rows = [
        ("u9", ["i1", "new", "i2"], "i3"),
        ("u2", ["i1"], "new"),
        ("u1", [], "i5"),
        ("u3", ["new"], "i4"),
    ]
    (found,) = read_held_out_log(
        write_log(tmp_path / "events.parquet", *rows), "test", (USERS, ITEMS)
    )
    assert found.users.tolist() == [0, 2, 1, 3]
    assert found.known.tolist() == [True, False, True, True]
    assert found.split.sequences.items.tolist() == [1, 2, 3, 5, 4]
    assert found.split.sequences.offsets.tolist() == [0, 3, 4, 5]
    assert found.split.test.tolist() == [2, 3, 4] and not len(found.split.valid)


def test_a_large_file_comes_in_blocks(tmp_path):
    rows = [(f"u{number % 5 + 1}", ["i1", "i2"], f"i{number % 5 + 1}") for number in range(10)]
    path = write_log(tmp_path / "events.parquet", *rows)
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
        (lambda path: write_log(path), "holds no events"),
        (lambda path: write_log(path, ("u1", None, "i1")), "without a user, a history or a target"),
        (
            lambda path: write_log(path, ("u1", ["i1"], None)),
            "without a user, a history or a target",
        ),
    ],
)
def test_files_that_are_refused(tmp_path, change, sentence):
    path = write_log(tmp_path / "events.parquet", ("u1", ["i1"], "i2"))
    change(path)
    with pytest.raises(DataError, match=rf"^{path} .*{sentence}.*\.$"):
        list(read_held_out_log(path, "test", (USERS, ITEMS)))
