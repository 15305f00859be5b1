"""Filtering and encoding a log, by hand and against plain Python."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrec_attn.data.sequences.encoding import encode_log
from tfrec_attn.data.sequences.filter_report import Statistics
from tfrec_attn.data.sequences.k_core import k_core
from tfrec_attn.errors import DataError

EVENTS = st.lists(
    st.tuples(st.sampled_from("uvwxy"), st.sampled_from("abcde"), st.integers(0, 6)),
    min_size=1,
    max_size=30,
)


def log(events):
    return pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")


def naive_core(events, users, items):
    """Removes one event at a time until every user and item has enough events."""
    kept = list(events)
    while True:
        of_user, of_item = Counter(event[0] for event in kept), Counter(event[1] for event in kept)
        wrong = next(
            (event for event in kept if of_user[event[0]] < users or of_item[event[1]] < items),
            None,
        )
        if wrong is None:
            return kept
        kept.remove(wrong)


def in_core(users, items, *least):
    """Whether each event stays, given the codes of its user and of its item."""
    core = k_core(
        lambda: [(users, items, np.arange(len(users)))], (max(users) + 1, max(items) + 1), least
    )
    return (core.user_row[users] >= 0) & (core.item_row[items] >= 0)


def test_by_hand():
    # In order of the file: v is the first user and b the first item. Both of v's events at time 2
    # stay in the order of the file.
    sequences, report = encode_log(
        log([("v", "b", 2), ("u", "a", 9), ("v", "a", 2), ("u", "b", 1), ("v", "c", 1)])
    )
    assert sequences.user_vocabulary.ids() == ["v", "u"]
    assert sequences.item_vocabulary.ids() == ["b", "a", "c"]
    assert sequences.items.tolist() == [3, 1, 2, 1, 2]
    assert sequences.items.dtype == np.int32
    assert sequences.offsets.tolist() == [0, 3, 5]
    assert sequences.timestamps.tolist() == [1, 2, 2, 1, 9]
    assert sequences.users().tolist() == [1, 1, 1, 2, 2]
    assert sequences.lengths.tolist() == [3, 2]
    assert (sequences.num_users, sequences.num_items) == (2, 3)
    assert report.before == report.after == Statistics(5, 2, 3)
    assert report.after.density == 5 / 6


def test_filter_by_hand():
    # c has one event and goes; then w has one event and goes; then a and b have two each and stay.
    events = [
        ("w", "c", 1),
        ("w", "b", 2),
        ("u", "a", 1),
        ("u", "b", 2),
        ("v", "b", 1),
        ("v", "a", 2),
    ]
    sequences, report = encode_log(log(events), min_user_events=2, min_item_events=2)
    assert sequences.user_vocabulary.ids() == ["u", "v"]
    assert sequences.item_vocabulary.ids() == ["a", "b"]
    assert sequences.items.tolist() == [1, 2, 2, 1]
    assert report.to_dict() == {
        "before": {"events": 6, "users": 3, "items": 3, "density": 6 / 9},
        "after": {"events": 4, "users": 2, "items": 2, "density": 1.0},
        "min_user_events": 2,
        "min_item_events": 2,
        "duplicates": 0,
    }
    assert str(report) == (
        "6 events of 3 users with 3 items (density 66.6667%); users with at least 2 and items with "
        "at least 2 events: "
        "4 events of 2 users with 2 items (density 100.0000%)"
    )


def test_nothing_left():
    with pytest.raises(DataError) as caught:
        encode_log(log([("u", "a", 1), ("u", "b", 2)]), min_user_events=2, min_item_events=3)
    assert str(caught.value) == (
        "data.min_user_events=2 and data.min_item_events=3 leave nothing of 2 events of 1 user "
        "with 2 items (density 100.0000%): "
        "lower them."
    )


def test_fractional_times():
    assert encode_log(log([("u", "a", 1.5), ("u", "b", 0.5)]))[0].timestamps.tolist() == [0.5, 1.5]


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.integers(1, 4), st.integers(1, 4))
def test_the_core_is_the_largest_that_fits(events, min_user, min_item):
    users, items = (
        np.array([ord(event[place]) - ord("a") for event in events]) for place in (0, 1)
    )
    mask = in_core(users, items, min_user, min_item)
    kept = [event for event, stays in zip(events, mask, strict=True) if stays]
    assert Counter(kept) == Counter(naive_core(events, min_user, min_item))


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.integers(1, 3), st.integers(1, 3))
def test_sequences_equal_the_plain_twin(events, min_user, min_item):
    users, items = (np.array([ord(event[place]) for event in events]) for place in (0, 1))
    mask = in_core(users, items, min_user, min_item)
    kept = [event for event, stays in zip(events, mask, strict=True) if stays]
    if not kept:
        return
    sequences, _ = encode_log(log(events), min_user_events=min_user, min_item_events=min_item)
    order = list(dict.fromkeys(event[0] for event in kept))
    assert sequences.user_vocabulary.ids() == order
    assert sequences.item_vocabulary.ids() == list(dict.fromkeys(event[1] for event in kept))
    for row, user in enumerate(order):
        mine = sorted((event for event in kept if event[0] == user), key=lambda event: event[2])
        span = slice(sequences.offsets[row], sequences.offsets[row + 1])
        assert sequences.item_vocabulary.ids(sequences.items[span]) == [event[1] for event in mine]
        assert sequences.timestamps[span].tolist() == [event[2] for event in mine]


def test_a_filter_that_leaves_less_than_half_of_the_events_is_noted():
    """Users a to e have 2 events each, and f has 6: of 16 events, 10 are lost."""
    users = "aabbccddeeffffff"
    frame = log([(user, f"i{time}", time) for time, user in enumerate(users)])
    _, report = encode_log(frame, min_user_events=3, min_item_events=1)
    assert report.sentences()[0] == (
        "62.5% of the events are of users with fewer events than data.min_user_events=3, or of "
        "items with fewer than data.min_item_events=1; lower them to keep more"
    )
    _, report = encode_log(frame, min_user_events=2, min_item_events=1)
    assert report.sentences() == []
