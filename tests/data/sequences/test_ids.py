"""Ids that differ only in their spelling, and words for a missing id."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrec_attn.config import Data
from tfrec_attn.data.sequences.event_filters import EventFilter
from tfrec_attn.data.sequences.ids import MISSING, IdProblems, unified


@pytest.mark.parametrize(
    ("written", "common"),
    [
        ("7.0", "7"),
        ("-7.00", "-7"),
        (" 7 ", "7"),
        ("\xa0 7.0", "7"),
        ("007.0", "007"),
        ("7.5", "7.5"),
        ("1.0.0", "1.0.0"),
        ("7.", "7."),
        ("a.0", "a.0"),
        ("550E8400-E29B-41D4-A716-446655440000", "550e8400-e29b-41d4-a716-446655440000"),
        ("507F1F77BCF86CD799439011", "507f1f77bcf86cd799439011"),
        ("dQw4w9WgXcQ", "dQw4w9WgXcQ"),  # letters tell such ids apart
        ("ABBA", "ABBA"),
        ("Beyonce\u0301", "Beyonc\u00e9"),
    ],
)
def test_the_common_spelling(written, common):
    assert unified(pl.Series(["x", written])).to_list() == ["x", common]


@given(st.lists(st.text(" 7.0aF\u0301e-", min_size=1, max_size=6).filter(str.strip)))
def test_the_common_spelling_is_stable(ids):
    once = unified(pl.Series(ids, dtype=pl.String))
    assert unified(once).equals(once) and all(once)


def test_problems_by_hand():
    ids = pl.Series(["7", "nan", "7.0", " 7", "8", "9.0", "NULL", "N\u00e9", "Ne\u0301"])
    found = IdProblems.of(ids, lambda: np.arange(1, 10))
    assert found == IdProblems(2, [" 7", "7"], {"NULL": 7, "nan": 2})
    assert found.sentences("users") == [
        "2 users are written in several ways, such as ' 7' and '7': data.ids=unify makes them one",
        "9 events name no real id among the users (7 NULL, 2 nan): data.missing_ids=drop leaves "
        "them out",
    ]
    assert (
        IdProblems.of(
            pl.Series(["7.0", "8.0", "nano"]), lambda: pytest.fail("nothing to count")
        ).sentences("users")
        == []
    )


def test_the_filter_over_parts():
    frame = pl.DataFrame(
        {"user_id": ["7.0", "nan", "8", " 8"], "item_id": ["a", "None", "None", "7.0"]}
    )
    clean = EventFilter(Data(ids="unify", missing_ids="drop"))
    parts = [clean(frame[:2]), clean(frame[2:])]
    assert pl.concat(parts).rows() == [("7", "a"), ("8", "7")]
    report = clean.report()
    assert (report.unified, report.missing_ids) == (2, {"nan": 1, "None": 1})
    kept = EventFilter(Data())
    assert kept(frame).equals(frame)
    assert (kept.report().unified, kept.report().missing_ids) == (None, None)


def test_words_for_missing_are_words():
    assert len(set(MISSING)) == len(MISSING) and not {"", "0", "-1"} & set(MISSING)
