"""Slices of the held-out events, worked by hand."""

import itertools

import numpy as np
import pytest

from tfrec_attn.data.sequences.transitions import count_transitions
from tfrec_attn.evaluation.slices import Slices, event_slices, frequencies

# The last two events of each history are held out. Training events: 1 2 1 2, 1 2, 3.
HISTORIES = [[1, 2, 1, 2, 3, 1], [1, 2, 1, 2], [3, 1, 2]]


@pytest.fixture
def split(make_leave_one_out):
    return make_leave_one_out(HISTORIES, 4)


def test_slices_of_the_test_events(split):
    # The test events are 3 -> 1, 1 -> 2 and 1 -> 2, after 5, 3 and 2 events. Of training events,
    # 1 -> 2 has three, 3 -> 1 none, item 1 three and item 2 three.
    by_transition, by_history, by_target, by_repeat, by_time = event_slices(split)
    assert (by_transition.labels, by_transition.index.tolist()) == (["0", "3-5"], [0, 1, 1])
    assert (by_history.labels, by_history.index.tolist()) == (["1-5"], [0, 0, 0])
    assert (by_target.labels, by_target.index.tolist()) == (["1-5"], [0, 0, 0])
    # The third user has not had item 2 before. The times are 5, 9 and 12, their quartiles 7, 9 and
    # 10.5.
    assert (by_repeat.labels, by_repeat.index.tolist()) == (["no", "yes"], [1, 1, 0])
    assert by_time.labels == ["first quarter", "second quarter", "last quarter"]
    assert by_time.index.tolist() == [0, 1, 2]


def test_slices_of_the_validation_events(split):
    # 2 -> 3, 2 -> 1 and 3 -> 1, after 4, 2 and 1 events.
    by_transition, _, by_target, *_ = event_slices(split, "valid")
    assert (by_transition.labels, by_transition.index.tolist()) == (["0", "1"], [0, 1, 0])
    assert by_target.labels == ["1-5"]


def test_frequencies_of_all_pairs(split):
    transitions = count_transitions(split)
    expected = np.zeros([5, 5], int)
    for history in HISTORIES:
        for pair in itertools.pairwise(history[:-2]):
            expected[pair] += 1
    first, second = (axis.ravel() for axis in np.indices([5, 5]))
    found = frequencies(transitions, first, second)
    assert found.reshape(5, 5).tolist() == expected.tolist()


def test_means_of_slices():
    slices = Slices("x", ["a", "b"], np.array([1, 0, 1, 1]))
    assert slices.counts().tolist() == [1, 3]
    np.testing.assert_allclose(slices.means(np.array([1.0, 5.0, 2.0, 6.0])), [5, 3])
