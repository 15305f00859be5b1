"""Transitions against plain loops, in memory and counted in files."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrec_attn.data.sequences import pair_sums
from tfrec_attn.data.sequences.encoding import Sequences
from tfrec_attn.data.sequences.pair_sums import PairSums
from tfrec_attn.data.sequences.splits import Split, leave_one_out
from tfrec_attn.data.sequences.transitions import (
    count_transitions,
    load_transitions,
    save_transitions,
    transitions_of,
)
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError

NUM_ITEMS = 5
HISTORIES = st.lists(st.lists(st.integers(1, NUM_ITEMS), max_size=9), min_size=1, max_size=6)


def sequences_of(histories, num_items=NUM_ITEMS):
    items = np.array([item for history in histories for item in history], np.int32)
    offsets = np.cumsum([0, *map(len, histories)]).astype(np.int64)
    users, names = (
        Vocabulary([f"{kind}{i}" for i in range(1, n + 1)])
        for kind, n in (("u", len(histories)), ("i", num_items))
    )
    return Sequences(items, offsets, np.arange(len(items)), users, names)


def split_of(histories, train_lengths):
    sequences = sequences_of(histories)
    return Split(
        sequences,
        sequences.offsets[:-1] + np.array(train_lengths),
        np.zeros(0, int),
        np.zeros(0, int),
        "temporal",
    )


def as_counter(transitions):
    counter = Counter()
    for i in range(transitions.num_items + 1):
        for place in range(transitions.offsets[i], transitions.offsets[i + 1]):
            counter[i, int(transitions.neighbours[place])] += int(transitions.counts[place])
    return counter


def plain_counter(histories, time_span):
    counter = Counter()
    for history in histories:
        for t in range(len(history)):
            for step in range(1, time_span + 1):
                if t + step < len(history):
                    counter[history[t], history[t + step]] += 1
    return counter


def test_by_hand():
    # The last two events of both users are held out, so they train on 1 2 1 2 and on 2 3.
    split = leave_one_out(sequences_of([[1, 2, 1, 2, 4, 5], [2, 3, 3, 1]]))
    transitions = count_transitions(split)
    assert transitions.num_items == 5
    assert transitions.offsets.tolist() == [0, 0, 1, 3, 3, 3, 3]
    assert transitions.neighbours.tolist() == [2, 1, 3]
    assert transitions.counts.tolist() == [2, 1, 1]
    assert as_counter(count_transitions(split, time_span=2)) == {
        (1, 2): 2,
        (2, 1): 1,
        (1, 1): 1,
        (2, 2): 1,
        (2, 3): 1,
    }


def test_of_the_latest_events_by_hand():
    # The last two events of both users are held out: of 3 1 2 1 2 the latest three train, of 2 3
    # both.
    split = leave_one_out(sequences_of([[3, 1, 2, 1, 2, 4, 5], [2, 3, 3, 1]]))
    assert as_counter(count_transitions(split, max_length=3)) == {(2, 1): 1, (1, 2): 1, (2, 3): 1}
    counted = as_counter(count_transitions(split, time_span=2, max_length=3))
    assert counted == {(2, 1): 1, (1, 2): 1, (2, 2): 1, (2, 3): 1}


@settings(max_examples=100, deadline=None)
@given(HISTORIES, st.data(), st.integers(1, 3), st.sampled_from([None, 1, 2, 4, 20]))
def test_equals_the_loop(histories, data, time_span, max_length):
    lengths = [data.draw(st.integers(0, len(history))) for history in histories]
    transitions = count_transitions(split_of(histories, lengths), time_span, max_length)
    prefixes = [history[:length] for history, length in zip(histories, lengths, strict=True)]
    latest = [prefix[-max_length:] if max_length else prefix for prefix in prefixes]
    assert as_counter(transitions) == plain_counter(latest, time_span)
    assert transitions.offsets.shape == (NUM_ITEMS + 2,)
    assert transitions.offsets[1] == 0
    assert len(transitions.neighbours) == len(transitions.counts) == transitions.offsets[-1]
    assert (transitions.offsets.dtype, transitions.neighbours.dtype, transitions.counts.dtype) == (
        np.int64,
        np.int32,
        np.int64,
    )
    for begin, end in zip(transitions.offsets[:-1], transitions.offsets[1:], strict=True):
        assert (np.diff(transitions.neighbours[begin:end]) > 0).all()


@pytest.mark.parametrize("time_span", [1, 2, 3])
def test_held_out_events_are_never_counted(time_span):
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 4, size=rng.integers(3, 9)).tolist() for _ in range(20)]
    expected = as_counter(count_transitions(leave_one_out(sequences_of(histories)), time_span))
    # Items 4 and 5 are in held-out events only.
    changed = [[*history[:-2], 4, 5] for history in histories]
    assert (
        as_counter(count_transitions(leave_one_out(sequences_of(changed)), time_span)) == expected
    )
    assert expected == plain_counter([history[:-2] for history in histories], time_span)


def test_a_span_longer_than_any_history():
    split = split_of([[1, 2, 3]], [3])
    assert as_counter(count_transitions(split, time_span=10**12)) == {
        (1, 2): 1,
        (1, 3): 1,
        (2, 3): 1,
    }


def test_a_log_without_any_transition():
    transitions = count_transitions(split_of([[1], [], [2, 3]], [1, 0, 1]))
    assert transitions.offsets.tolist() == [0] * (NUM_ITEMS + 2)
    assert len(transitions.neighbours) == len(transitions.counts) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"time_span": 0}, "time_span must be an integer of at least 1, got 0"),
        ({"time_span": 1.5}, "time_span must be an integer of at least 1, got 1.5"),
        ({"time_span": None}, "time_span must be an integer of at least 1, got None"),
        ({"max_length": 0}, "max_length must be an integer of at least 1, got 0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        count_transitions(split_of([[1, 2]], [2]), **arguments)


@pytest.mark.parametrize("bucket", [4_000_000, 7])
def test_pairs_counted_in_files(tmp_path, monkeypatch, bucket):
    monkeypatch.setattr(pair_sums, "_BUCKET", bucket)
    random, expected = np.random.default_rng(0), Counter()
    counted = PairSums(tmp_path, num_items=9, pairs=60)
    for size in (0, 1, 40, 19):
        first, second = random.integers(1, 10, (2, size)).astype(np.int32)
        counted.add(first, second)
        expected.update(zip(first.tolist(), second.tolist(), strict=True))
    result = transitions_of(counted, 9)
    assert result.num_items == 9 and len(result.offsets) == 11 and result.offsets[1] == 0
    rows = np.repeat(np.arange(10), np.diff(result.offsets))
    found = dict(
        zip(
            zip(rows.tolist(), result.neighbours.tolist(), strict=True),
            result.counts.tolist(),
            strict=True,
        )
    )
    assert found == dict(expected) and list(found) == sorted(found)

    save_transitions(tmp_path / "pairs.npz", result)
    loaded = load_transitions(tmp_path / "pairs.npz")
    for name in ("num_items", "offsets", "neighbours", "counts"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(result, name), strict=True)


def test_no_pairs_in_files(tmp_path):
    result = transitions_of(PairSums(tmp_path, num_items=3, pairs=0), 3)
    assert result.offsets.tolist() == [0] * 5 and not len(result.neighbours)
