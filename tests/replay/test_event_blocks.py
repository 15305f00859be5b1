"""Blocks of held-out events, against loops."""

import numpy as np
import polars as pl
import pytest

from tfrec_attn.errors import ConfigError
from tfrec_attn.replay import event_blocks
from tfrec_attn.replay.measured_run import COLUMNS

ITEMS = ["a", "日本語", "c", "d", "e"]


@pytest.fixture(scope="module")
def rows():
    """Events with histories of 0 to 9 items, unordered by length, with repetitions."""
    random = np.random.default_rng(3)
    lengths = [*random.integers(0, 10, 40), 0, 9]
    return [
        (f"u{number}", [ITEMS[i] for i in random.integers(0, 5, length)], ITEMS[number % 5])
        for number, length in enumerate(lengths)
    ]


def frame(rows):
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("at_once", [7, 8192])
def test_blocks_hold_every_event_once(rows, size, at_once, monkeypatch):
    monkeypatch.setattr(event_blocks, "_SLICE", at_once)
    found = []
    for block in event_blocks.blocks(frame(rows), ITEMS, size):
        assert 1 <= len(block.events) <= size
        assert (block.histories[:, 0] == 0).all()
        for event, user, history, seen, target in zip(
            block.events, block.users, block.histories, block.seen, block.targets, strict=True
        ):
            padding = len(history) - np.count_nonzero(history)
            assert (history[:padding] == 0).all()
            assert sorted(seen[seen > 0]) == sorted(set(history[padding:]))
            found.append(
                (event, user, [ITEMS[item - 1] for item in history[padding:]], ITEMS[target - 1])
            )
    assert [event[1:] for event in sorted(found)] == rows


def test_shorter_histories_come_first(rows):
    lengths = [
        np.count_nonzero(history)
        for block in event_blocks.blocks(frame(rows), ITEMS, 4)
        for history in block.histories
    ]
    assert lengths == sorted(lengths)
    widths = [block.histories.shape[1] for block in event_blocks.blocks(frame(rows), ITEMS, 1)]
    assert widths == [length + 1 for length in lengths]


def test_events_without_histories():
    (block,) = event_blocks.blocks(frame([("u", [], "c"), ("v", [], "a")]), ITEMS, 4)
    assert (block.histories.tolist(), block.seen.tolist(), block.targets.tolist()) == (
        [[0], [0]],
        [[0], [0]],
        [3, 1],
    )


@pytest.mark.parametrize(
    "row", [("u", ["a", "b"], "c"), ("u", ["a"], "b")], ids=["history", "target"]
)
def test_events_of_another_vocabulary(row):
    with pytest.raises(
        ConfigError,
        match=r"^The held-out events have items that are not in the run's vocabulary; train again",
    ):
        list(event_blocks.blocks(frame([row]), ITEMS, 4))


def test_padding_is_on_the_left_and_the_latest_count():
    assert event_blocks.padded([["a", "b", "c"], [], ["d"]], 2).tolist() == [
        ["b", "c"],
        ["", ""],
        ["", "d"],
    ]
    assert event_blocks.padded([["a"]], 0).shape == (1, 0)
    assert event_blocks.padded([], 3).shape == (0, 3)
