"""Batches of held-out events, against plain Python loops."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.batches.histories import sequences_of
from tfrec_attn.data.batches.held_out import HeldOut
from tfrec_attn.data.sequences.splits import leave_one_out


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=9), min_size=1, max_size=5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(["valid", "test"]),
)
def test_held_out_blocks(histories, length, batch_size, part):
    cut = 2 if part == "valid" else 1
    held_out = HeldOut(
        leave_one_out(sequences_of(*histories, num_items=9)),
        part,
        max_length=length,
        batch_size=batch_size,
    )
    found = []
    for block in held_out.dataset():
        for row in range(len(block["user"])):
            seen = block["seen"][row].numpy()
            assert len(set(seen[seen > 0])) == (seen > 0).sum()
            history = block["history"][row].numpy().tolist()
            assert len(history) == min(
                length, max(int((block["history"] > 0).numpy().sum(axis=1).max()), 1)
            )
            history = [0] * (length - len(history)) + history
            found.append(
                (
                    int(block["user"][row]),
                    history,
                    int(block["target"][row]),
                    set(seen.tolist()) - {0},
                )
            )
    expected = []
    for user, history in enumerate(histories, start=1):
        past = history[:-cut]
        expected.append(
            (user, [0] * (length - len(past)) + past[-length:], history[-cut], set(past))
        )
    by_length = sorted(range(len(expected)), key=lambda case: len(histories[case]))
    assert found == [expected[case] for case in by_length]
    assert held_out.in_split_order(np.array([case[0] for case in found])).tolist() == list(
        range(1, len(histories) + 1)
    )


def test_with_include_no_item_is_left_out():
    split = leave_one_out(sequences_of([1, 2, 1, 2], [3, 4, 5, 3], [5, 6, 7], num_items=7))
    held_out = HeldOut(split, "test", batch_size=2, repeats="include")
    assert [block["seen"].shape[1] for block in held_out.dataset()] == [0, 0]
    assert [block["history"].shape[1] for block in held_out.dataset()] == [3, 3]


def test_targets_in_their_history_are_found():
    split = leave_one_out(sequences_of([1, 2, 1, 2], [3, 4, 5, 3], [5, 6, 7], num_items=7))
    assert HeldOut(split, "test").repeated().tolist() == [True, True, False]
    assert HeldOut(split, "valid").repeated().tolist() == [True, False, False]
