"""Measures of a log, computed by hand and with plain Python."""

from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrec_attn.data.quality.log_measures import BURSTS, EncodedLog, measure
from tfrec_attn.data.quality.text_report import as_text, findings, moment

NOW = 1.7e9


def measured(events, **options):
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    return measure(EncodedLog(frame, **options), NOW)


BY_HAND = [
    ("u", "a", 100),
    ("u", "a", 100),  # a duplicate, tied, and the same item at once
    ("u", "b", 90),  # after a later event of u
    ("v", "a", 50),
    ("v", "c", 60),
    ("v", "a", 70),  # a repeat, but not at once
    ("w", "d", 10),
]


def test_by_hand():
    tree = measured(BY_HAND)
    assert (tree["events"], tree["users"], tree["items"]) == (7, 3, 4)
    assert tree["duplicates"] == {"count": 1, "share": 1 / 7}
    assert tree["repeats"] == {"count": 2, "share": 2 / 7, "immediate": 1}
    assert tree["ties"] == {"count": 1, "share": 1 / 4}
    # 100 to 90, 90 to 50, 70 to 10.
    assert tree["order"] == {"out_of_order": {"count": 1, "share": 1 / 7}, "lines_back_in_time": 3}
    assert tree["once"] == {
        "users": {"count": 1, "share": 1 / 3},
        "items": {"count": 3, "share": 3 / 4},
    }
    assert tree["history_length"] == {
        "min": 1,
        "median": 3,
        "p90": 3,
        "p99": 3,
        "max": 3,
        "mean": pytest.approx(7 / 3),
    }
    assert tree["profile"]["items"][0] == "a"
    assert tree["profile"]["events"] == 7


def test_a_copy_has_the_same_user_item_time_and_type():
    frame = pl.DataFrame(
        {
            "user_id": ["u"] * 4,
            "item_id": ["a"] * 4,
            "timestamp": [1] * 4,
            "event": ["view", "buy", "view", "view"],
        }
    )
    assert measure(EncodedLog(frame), NOW)["duplicates"]["count"] == 2
    assert measure(EncodedLog(frame.drop("event")), NOW)["duplicates"]["count"] == 3


def test_a_log_without_times():
    tree = measured(BY_HAND, has_times=False)
    assert not {"time", "ties", "order", "bursts"} & set(tree)
    assert tree["profile"]["time_events"] == []
    assert "Time" not in as_text({"source": "x", "rejected": 0, **tree})


@pytest.mark.parametrize("ticks", [1, 1_000, 1_000_000, 1_000_000_000])
def test_bursts_by_hand(ticks):
    # Five events from 0 to 1 second; the sixth comes later. y has four, and z five in two seconds.
    seconds = {"x": [0, 0.5, 1, 1, 1, 3], "y": [0, 0, 0, 0], "z": [0, 0, 0, 0, 2]}
    if ticks == 1:
        seconds["x"][1] = 0
    events = [
        (user, "a", int((1_600_000_000 + t) * ticks))
        for user, times in seconds.items()
        for t in times
    ]
    burst = measured(events)["bursts"]["second"]
    assert burst == {
        "events_at_least": 5,
        "within_seconds": 1,
        "count": 5,
        "share": 5 / 15,
        "users": 1,
        "worst": {"x": 5},
    }


def test_thirty_in_a_minute():
    events = [("u", f"i{k}", 1_600_000_000 + 2 * k) for k in range(31)] + [
        ("v", f"i{k}", 1_600_000_000 + 3 * k) for k in range(40)
    ]
    bursts = measured(events)["bursts"]
    assert (bursts["minute"]["count"], bursts["minute"]["worst"], bursts["second"]["count"]) == (
        31,
        {"u": 31},
        0,
    )


def test_the_unit_and_the_future():
    times = [
        1_600_000_000,
        1_600_000_001,
        1_600_000_002,
        1_800_000_000,
        -5,
    ]  # the last one is a date before 1970
    tree = measured([("u", f"i{time}", time) for time in times])
    assert tree["time"] == {
        "first": -5,
        "last": 1_800_000_000,
        "unit": "seconds",
        "future": 1,
    }
    assert findings({"rejected": 0, **tree}) == ["1 event is in the future."]


def test_times_without_a_unit_are_not_in_the_future():
    tree = measured(BY_HAND)["time"]
    assert (tree["unit"], tree["future"]) == (None, 0)


@pytest.mark.parametrize(
    ("time", "unit", "text"),
    [
        (0, "seconds", "1970-01-01 00:00:00"),
        (1_600_000_000_500, "milliseconds", "2020-09-13 12:26:40"),
        (12, None, "12"),
        (1e30, "seconds", "1e+30"),
        (-(10**14), "seconds", "-100000000000000"),
    ],
)
def test_moments(time, unit, text):
    assert moment(time, unit) == text


EVENTS = st.lists(
    st.tuples(st.sampled_from("uv"), st.sampled_from("ab"), st.integers(0, 9)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_the_plain_twin(events):
    tree = measured(events)
    histories = {
        user: sorted(event[2] for event in events if event[0] == user)
        for user in {event[0] for event in events}
    }
    assert tree["duplicates"]["count"] == len(events) - len(set(events))
    assert tree["repeats"]["count"] == len(events) - len({event[:2] for event in events})
    assert tree["ties"]["count"] == sum(
        sum(n - 1 for n in Counter(times).values()) for times in histories.values()
    )
    late = sum(
        any(b[0] == a[0] and b[2] > a[2] for b in events[:row]) for row, a in enumerate(events)
    )
    assert tree["order"]["out_of_order"]["count"] == late
    least, seconds = BURSTS["second"]
    inside = 0
    for times in histories.values():
        windows = [
            range(k, k + least)
            for k in range(len(times) - least + 1)
            if times[k + least - 1] - times[k] <= seconds
        ]
        inside += len({place for window in windows for place in window})
    assert tree["bursts"]["second"]["count"] == inside
