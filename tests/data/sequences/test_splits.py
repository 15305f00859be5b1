"""Splits and their leakage: properties for any log, results by hand, and errors."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrec_attn.data.sequences.encoding import encode_log
from tfrec_attn.data.sequences.leakage import leak_report
from tfrec_attn.data.sequences.splits import leave_one_out, make_split, temporal
from tfrec_attn.errors import ConfigError, DataError

EVENTS = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcde"), st.integers(0, 20)),
    min_size=3,
    max_size=40,
)

THREE = [("u", "a", 3), ("u", "b", 5), ("u", "a", 9)]


def sequences_of(events):
    return encode_log(
        pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    )[0]


# u: a@1 b@3 c@5 d@7;  v: b@2 c@6;  w: a@4 e@6 b@8 a@8
LOG = [
    ("u", "a", 1),
    ("v", "b", 2),
    ("u", "b", 3),
    ("w", "a", 4),
    ("u", "c", 5),
    ("v", "c", 6),
    ("w", "e", 6),
    ("u", "d", 7),
]
LOG += [("w", "b", 8), ("w", "a", 8)]


def test_leave_one_out_by_hand():
    split = leave_one_out(sequences_of(LOG))
    assert split.train_end.tolist() == [2, 6, 8]
    assert split.valid.tolist() == [2, 8]
    assert split.test.tolist() == [3, 9]
    assert split.rows(split.test).tolist() == [0, 2]
    assert np.flatnonzero(split.train_mask()).tolist() == [0, 1, 4, 5, 6, 7]


def test_temporal_by_hand():
    # train < 5 <= valid < 7 <= test: u trains on a, b; v on b; w on a.
    split = temporal(
        sequences_of(LOG), valid_from="1970-01-01T00:00:05", test_from="1970-01-01T00:00:07+00:00"
    )
    assert split.train_end.tolist() == [2, 5, 7]
    assert split.valid.tolist() == [2, 5, 7]
    assert split.test.tolist() == [3, 8]
    # Times in order: 1 2 3 4 5 6 6 7 8 8; the 0.5 quantile (lower) is 5, the 0.8 quantile is 7.
    shares = temporal(sequences_of(LOG), valid_from=0.5, test_from=0.8)
    assert shares.train_end.tolist() == split.train_end.tolist()
    assert shares.test.tolist() == split.test.tolist()


def test_last_and_all_targets_by_hand():
    # 2 <= valid < 7 <= test: u has b, c and then d, v has b and c, w has a, e and then b, a.
    bounds = {"valid_from": "1970-01-01T00:00:02", "test_from": "1970-01-01T00:00:07"}
    sequences = sequences_of(LOG)
    found = {
        which: make_split(sequences, "temporal", which, **bounds)
        for which in ("first", "last", "all", None)
    }
    assert all(one.train_end.tolist() == [1, 4, 6] for one in found.values())
    assert found["first"].valid.tolist() == found[None].valid.tolist() == [1, 4, 6]
    assert found["first"].test.tolist() == found[None].test.tolist() == [3, 8]
    assert found["last"].valid.tolist() == [2, 5, 7] and found["last"].test.tolist() == [3, 9]
    assert found["all"].valid.tolist() == [1, 2, 4, 5, 6, 7]
    assert found["all"].test.tolist() == [3, 8, 9]


def test_a_user_may_lack_targets():
    log = sequences_of([("u", "a", 1), ("v", "a", 5), ("w", "a", 9)])
    split = temporal(log, valid_from=0.5, test_from="1970-01-01T00:00:08")
    assert split.train_end.tolist() == [1, 1, 2]
    assert split.valid.tolist() == [1]
    assert split.test.tolist() == [2]


def check_promises(sequences, split):
    users, times = sequences.users(), sequences.timestamps
    same = users[1:] == users[:-1]
    assert (np.diff(times)[same] >= 0).all()
    train, valid, test = (
        set(places)
        for places in (
            np.flatnonzero(split.train_mask()),
            split.valid.tolist(),
            split.test.tolist(),
        )
    )
    assert not train & valid
    assert not train & test
    assert not valid & test
    for positions in (split.valid, split.test):
        assert len(set(users[positions])) == len(positions)
        assert (np.diff(positions) > 0).all()
        assert (split.rows(positions) == users[positions] - 1).all()
    for place in valid | test:
        assert all(one < place for one in train if users[one] == users[place])
    owner_of_valid = {users[place]: place for place in valid}
    assert all(owner_of_valid.get(users[place], -1) < place for place in test)


@settings(max_examples=100, deadline=None)
@given(EVENTS)
def test_leave_one_out_promises(events):
    sequences = sequences_of(events + THREE)
    split = leave_one_out(sequences)
    check_promises(sequences, split)
    assert split.train_mask().sum() + len(split.valid) + len(split.test) == len(events + THREE)
    assert len(split.test) == len(split.valid) == (sequences.lengths >= 3).sum()
    assert not set(split.test + 1) - set(sequences.offsets)


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.integers(1, 12), st.integers(1, 12))
def test_temporal_promises(events, first, gap):
    sequences = sequences_of([*events, ("u", "a", 0), ("v", "a", first), ("w", "a", first + gap)])
    bounds = [f"1970-01-01T00:00:{first + more:02}" for more in (0, gap)]
    split = temporal(sequences, valid_from=bounds[0], test_from=bounds[1])
    check_promises(sequences, split)
    users, times = sequences.users(), sequences.timestamps
    assert (split.train_mask() == (times < first)).all()
    for positions, low, high in ((split.valid, first, first + gap), (split.test, first + gap, 99)):
        expected = {}
        for place in range(len(times)):
            if low <= times[place] < high:
                expected.setdefault(users[place], place)
        assert sorted(expected.values()) == positions.tolist()


def test_no_user_to_test():
    with pytest.raises(DataError) as caught:
        leave_one_out(sequences_of([("u", "a", 1), ("u", "b", 2), ("v", "a", 1)]))
    assert (
        str(caught.value)
        == "data.split=leave-one-out needs a user with 3 events or more, the longest history has 2."
    )


@pytest.mark.parametrize(
    ("valid_from", "test_from", "message"),
    [
        (
            0.8,
            0.8,
            "data.valid_from must be earlier than data.test_from, got 0.8 (time 7) and 0.8 (time "
            "7).",
        ),
        (
            1.0,
            0.8,
            "data.valid_from must be a share of the events between 0 and 1 or an ISO 8601 date, "
            "got 1.0.",
        ),
        (
            0.5,
            "soon",
            "data.test_from must be a share of the events between 0 and 1 or an ISO 8601 date, "
            "got 'soon'.",
        ),
        (
            0.5,
            "1970-01-02",
            "no event lies at or after data.test_from=1970-01-02: the times go from 1 to 8.",
        ),
        (
            "1970-01-01T00:00:07.500",
            "1970-01-01T00:00:08",
            "no event lies between data.valid_from=1970-01-01T00:00:07.500 and "
            "data.test_from=1970-01-01T00:00:08: "
            "the times go from 1 to 8.",
        ),
        (
            "1970-01-01",
            0.8,
            "no event lies before data.valid_from=1970-01-01: the times go from 1 to 8.",
        ),
    ],
)
def test_bounds_that_make_no_split(valid_from, test_from, message):
    with pytest.raises(DataError) as caught:
        temporal(sequences_of(LOG), valid_from=valid_from, test_from=test_from)
    assert str(caught.value) == message


def test_make_split():
    sequences = sequences_of(LOG)
    assert (
        make_split(sequences, "leave-one-out", valid_from=None, test_from=None).name
        == "leave-one-out"
    )
    assert make_split(sequences, "temporal", valid_from=0.5, test_from=0.8).name == "temporal"
    for name, bounds, message in (
        ("random", {}, "data.split must be one of leave-one-out, temporal, got 'random'."),
        (
            "temporal",
            {"valid_from": 0.5},
            "data.split=temporal needs data.test_from and data.valid_from, got data.valid_from.",
        ),
        (
            "leave-one-out",
            {"test_from": 0.5},
            "data.split=leave-one-out needs no bounds, got data.test_from.",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            make_split(sequences, name, **bounds)
        assert str(caught.value) == message


def test_leaks_by_hand():
    # u trains on a@1, tests c@3.  v trains on b@2, c@6, tests d@9.  w trains on a@8, a@8, tests
    # b@9. Training is at 1 2 6 8 8, tests at 3 9 9 (median 9): only the test at 3 has training
    # after it; no training after 9; c, u's target at 3, is trained on at 6 only. Of the 8 events
    # that follow one of the same user, w's second ties.
    events = [
        ("u", "a", 1),
        ("u", "b", 2),
        ("u", "c", 3),
        ("v", "b", 2),
        ("v", "c", 6),
        ("v", "e", 7),
        ("v", "d", 9),
    ]
    events += [("w", "a", 8), ("w", "a", 8), ("w", "c", 8.5), ("w", "b", 9)]
    report = leak_report(
        leave_one_out(sequences_of([(user, item, float(time)) for user, item, time in events]))
    )
    assert report.to_dict() == pytest.approx(
        {
            "tests_before_training": 1 / 3,
            "training_after_median_test": 0.0,
            "targets_only_seen_later": 1 / 3,
            "ties": 1 / 8,
        }
    )
    assert str(report) == (
        "33.3% of the test events have training events after them, and 0.0% of the training "
        "events are later than the median test event;\n"
        "33.3% of the test events are of items whose training events are all later, and 12.5% "
        "of the events have the same time as the event before."
    )


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_leaks_equal_the_plain_twin(events):
    sequences = sequences_of(events + THREE)
    split = leave_one_out(sequences)
    times, items = sequences.timestamps.tolist(), sequences.items.tolist()
    train, tests = np.flatnonzero(split.train_mask()).tolist(), split.test.tolist()
    only_later = 0
    for place in tests:
        seen = [times[one] for one in train if items[one] == items[place]]
        only_later += bool(seen) and min(seen) > times[place]
    report = leak_report(split)
    assert report.tests_before_training == pytest.approx(
        sum(any(times[one] > times[place] for one in train) for place in tests) / len(tests)
    )
    assert report.targets_only_seen_later == pytest.approx(only_later / len(tests))


def test_a_temporal_split_does_not_leak():
    report = leak_report(temporal(sequences_of(LOG), valid_from=0.5, test_from=0.8))
    assert (
        report.tests_before_training,
        report.training_after_median_test,
        report.targets_only_seen_later,
    ) == (0, 0, 0)
