"""Windows of histories, against plain Python loops."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.batches.histories import HISTORIES, all_for_training, one_pass, sequences_of
from tfrec_attn.data.batches.windows import Windows
from tfrec_attn.data.sequences.splits import leave_one_out


def naive_windows(histories, length, targets):
    found = []
    for user, history in enumerate(histories, start=1):
        if len(history) >= length + targets:
            for begin in range(len(history) - length - targets + 1):
                window = history[begin : begin + length + targets]
                found.append((user, tuple(window[:length]), tuple(window[length:])))
        elif len(history) >= 2:
            cut = max(len(history) - targets, 1)
            past, future = history[:cut], history[cut:]
            past = past[-length:]
            found.append(
                (
                    user,
                    (0,) * (length - len(past)) + tuple(past),
                    tuple(future) + (0,) * (targets - len(future)),
                )
            )
    return found


@settings(max_examples=40, deadline=None)
@given(HISTORIES, st.integers(1, 4), st.integers(1, 3), st.integers(1, 7))
def test_one_pass_holds_every_window_once(histories, length, targets, batch_size):
    windows = Windows(
        all_for_training(*histories, num_items=9),
        max_length=length,
        targets=targets,
        batch_size=batch_size,
    )
    expected = naive_windows(histories, length, targets)
    assert len(windows) == len(expected)
    assert sorted(one_pass(windows)) == sorted(expected)


def test_windows_from_the_first_event_by_hand():
    windows = Windows(
        all_for_training([1, 2, 3], [4, 5], [6], [], num_items=9),
        max_length=2,
        targets=2,
        batch_size=3,
        window="all",
    )
    expected = [(1, (0, 0), (1, 2)), (1, (0, 1), (2, 3)), (2, (0, 0), (4, 5)), (3, (0, 0), (6, 0))]
    assert len(windows) == 4
    assert sorted(one_pass(windows)) == expected


@settings(max_examples=25, deadline=None)
@given(HISTORIES, st.integers(1, 4), st.integers(1, 3))
def test_windows_from_the_first_event_make_every_event_a_target(histories, length, targets):
    windows = Windows(
        all_for_training(*histories, num_items=9),
        max_length=length,
        targets=targets,
        batch_size=4,
        window="all",
    )
    found = one_pass(windows)
    for user, history in enumerate(histories, start=1):
        mine = sorted(
            (sum(item > 0 for item in past), past, future)
            for owner, past, future in found
            if owner == user
        )
        assert len(mine) == (max(len(history) - targets + 1, 1) if history else 0)
        firsts = [future[0] for _, _, future in mine]
        assert sorted(firsts) == sorted(history[: len(firsts)])


def test_held_out_events_are_in_no_window():
    split = leave_one_out(sequences_of([1, 2, 3, 4, 8, 9], [5, 6, 7, 8, 9]))
    seen = {
        item
        for _, history, targets in one_pass(Windows(split, max_length=2, targets=1, batch_size=2))
        for item in history + targets
    }
    assert seen == {1, 2, 3, 4, 5, 6, 7}


def test_passes_differ_and_a_step_is_a_function_of_its_number():
    split = all_for_training(list(range(1, 40)))
    windows = Windows(split, max_length=2, targets=1, batch_size=7, seed=3)
    count = len(windows)
    order = [
        int(user)
        for step in range(3 * count)
        for user in windows.batch(tf.constant(step, tf.int64))["targets"][:, 0]
    ]
    passes = [order[n * count : (n + 1) * count] for n in range(7)]
    assert all(sorted(one) == sorted(passes[0]) for one in passes)
    assert len({tuple(one) for one in passes}) == 7
    again = Windows(split, max_length=2, targets=1, batch_size=7, seed=3)
    for step, batch in zip(range(11, 14), again.dataset(first_step=11), strict=False):
        expected = windows.batch(tf.constant(step, tf.int64))
        for key, value in expected.items():
            np.testing.assert_array_equal(batch[key], value)
    other = Windows(split, max_length=2, targets=1, batch_size=7, seed=4).batch(
        tf.constant(0, tf.int64)
    )
    assert (
        other["targets"].numpy().tolist()
        != windows.batch(tf.constant(0, tf.int64))["targets"].numpy().tolist()
    )


def test_stream_has_one_shape_and_negatives_as_asked():
    split = all_for_training([1, 2, 3, 4, 5], [2, 3, 4, 5, 6], num_items=20)
    for shared, shape in ((False, [4, 2, 3]), (True, [4, 1, 3])):
        windows = Windows(split, max_length=2, targets=2, negatives=3, shared=shared, batch_size=4)
        spec = windows.dataset().element_spec
        assert {key: value.shape.as_list() for key, value in spec.items()} == {
            "user": [4],
            "history": [4, 2],
            "targets": [4, 2],
            "negatives": shape,
        }
