"""Sessions and immediate repeats, by hand and against plain Python."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrec_attn.data.sequences.sessions import collapse_repeats, split_sessions

EVENTS = st.lists(
    st.tuples(st.sampled_from(["u", "v", "u#1"]), st.sampled_from("ab"), st.integers(0, 12)),
    min_size=1,
    max_size=25,
)


def log(events):
    return pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")


def in_time(events):
    """Rows of each user in order of time, ties as in the log."""
    rows = {}
    for row in sorted(range(len(events)), key=lambda row: events[row][2]):
        rows.setdefault(events[row][0], []).append(row)
    return rows


def test_sessions_by_hand():
    # u at 0, 10, 25, 36: a pause of 10 continues a session, pauses of 15 and 11 end it. The order
    # of the rows stays.
    events = [
        ("u", "c", 25),
        ("v", "a", 5),
        ("u", "a", 0),
        ("u", "d", 36),
        ("u", "b", 10),
        ("v", "b", 5),
    ]
    split = split_sessions(log(events), 10)
    assert split["user_id"].to_list() == ["u#2", "v#1", "u#1", "u#3", "u#1", "v#1"]
    assert split.drop("user_id").rows() == [event[1:] for event in events]


def test_collapsed_repeats_get_their_largest_weight():
    events = [
        ("u", "a", 3),
        ("v", "b", 2),
        ("u", "a", 1),
        ("u", "b", 5),
        ("u", "a", 2),
        ("v", "b", 1),
    ]
    weighed = log(events).with_columns(
        weight=pl.Series([1.0, 7.0, 2.0, 3.0, 5.0, 4.0], dtype=pl.Float32)
    )
    kept = collapse_repeats(weighed)
    # Of u the first of a a a, at 1, with the weight of the one at 2; of v the first of b b, at 1,
    # with that of the one at 2.
    assert kept.rows() == [("u", "a", 1, 5.0), ("u", "b", 5, 3.0), ("v", "b", 1, 7.0)]
    assert kept["weight"].dtype == pl.Float32


def test_fractions_of_a_second():
    assert split_sessions(log([("u", "a", 0.0), ("u", "b", 0.5), ("u", "c", 1.25)]), 0.5)[
        "user_id"
    ].to_list() == ["u#1", "u#1", "u#2"]


def test_names_of_sessions_never_meet():
    # User "u" in session 1 and user "u#1" in session 1.
    assert split_sessions(log([("u", "a", 0), ("u#1", "a", 0)]), 1)["user_id"].to_list() == [
        "u#1",
        "u#1#1",
    ]


def test_repeats_by_hand():
    # In order of time u touches a a b a, and v touches b a a: of the two a in a row the earlier
    # stays.
    events = [
        ("u", "a", 2),
        ("v", "a", 3),
        ("u", "a", 1),
        ("u", "b", 3),
        ("u", "a", 4),
        ("v", "b", 1),
        ("v", "a", 2),
    ]
    assert collapse_repeats(log(events)).rows() == [
        ("u", "a", 1),
        ("u", "b", 3),
        ("u", "a", 4),
        ("v", "b", 1),
        ("v", "a", 2),
    ]


def test_of_equal_times_the_first_line_stays():
    frame = log([("u", "a", 1), ("u", "a", 1)]).with_columns(line=pl.Series([7, 8]))
    assert collapse_repeats(frame)["line"].to_list() == [7]


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.integers(1, 4))
def test_sessions_equal_the_plain_twin(events, gap):
    names = [""] * len(events)
    for user, rows in in_time(events).items():
        number, before = 0, None
        for row in rows:
            number += before is None or events[row][2] - before > gap
            names[row], before = f"{user}#{number}", events[row][2]
    assert split_sessions(log(events), gap)["user_id"].to_list() == names


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_repeats_equal_the_plain_twin(events):
    stays = set()
    for rows in in_time(events).values():
        stays |= {
            row
            for place, row in enumerate(rows)
            if not place or events[row][1] != events[rows[place - 1]][1]
        }
    assert collapse_repeats(log(events)).rows() == [
        event for row, event in enumerate(events) if row in stays
    ]
