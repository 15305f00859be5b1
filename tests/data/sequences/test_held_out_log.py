"""Held-out events in raw ids, against loops over the log; the checksum, against its parts written
down.
"""

import dataclasses
import hashlib

import numpy as np
import polars as pl
import pytest

from tfrec_attn.data.batches import HeldOut
from tfrec_attn.data.sequences.encoding import checksum, encode_log
from tfrec_attn.data.sequences.held_out_log import held_out_log
from tfrec_attn.data.sequences.splits import item_counts, leave_one_out, temporal

# At time 5 and before: training; 6 and 7: validation; later: test.
EVENTS = [
    ("ann", "é", 1), ("bob", "b", 2), ("ann", "c", 3), ("ann", "é", 6), ("bob", "c", 6), ("cyd", "d", 7),
    ("ann", "b", 8), ("bob", "d", 9), ("cyd", "b", 10), ("dan", "é", 11), ("cyd", "é", 12), ("dan", "b", 13),
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
def test_it_is_what_the_evaluation_ranks(part):
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
