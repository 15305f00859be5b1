"""Batches of users and histories, worked by hand."""

import numpy as np
import polars as pl

from tfrec_attn.lists.user_histories import Histories, UserBatch

HISTORIES = Histories(np.array([1, 2, 3, 4, 5, 6], np.int32), np.array([3, 0, 1, 2]))


def test_latest_events_are_padded_on_the_left():
    assert HISTORIES.latest(2).tolist() == [[2, 3], [0, 0], [0, 4], [5, 6]]
    assert HISTORIES.latest().tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 4], [0, 5, 6]]
    assert HISTORIES.latest(0).shape == (4, 0)


def test_rows_in_any_order_and_more_than_once():
    some = HISTORIES.rows(np.array([3, 1, 0, 3]))
    assert some.items.tolist() == [5, 6, 1, 2, 3, 5, 6]
    assert some.lengths.tolist() == [2, 0, 3, 2]


def test_events_are_left_out():
    some = HISTORIES.filter(HISTORIES.items % 2 == 0)
    assert (some.items.tolist(), some.lengths.tolist()) == ([2, 4, 6], [1, 0, 1, 1])
    none = HISTORIES.filter(HISTORIES.items > 9)
    assert none.latest().shape == (4, 0)


def test_batches_of_lists_and_of_tables_are_the_same():
    users, histories = ["u", "v", "w"], [["a", "b"], [], ["c"]]
    one = UserBatch.of(users, histories)
    schema = {"user_id": pl.String, "history": pl.List(pl.String)}
    other = UserBatch.from_frame(pl.DataFrame({"user_id": users, "history": histories}, schema))
    for batch in (one, other):
        assert batch.items.to_list() == ["a", "b", "c"]
        assert batch.lengths.tolist() == [2, 0, 1]
    part = one.slice(1, 9)
    assert (part.users.to_list(), part.items.to_list()) == (["v", "w"], ["c"])
    assert part.lengths.tolist() == [0, 1]
