"""The sentence about training windows that are longer than any history."""

import pytest

from tfrec_attn import config as configuration
from tfrec_attn.training.inputs import window_note


@pytest.mark.parametrize(
    ("arguments", "noted"),
    [
        (["data.max_length=2", "data.targets=3"], True),
        (["data.max_length=1", "data.targets=3"], False),
        (["data.max_length=9", "data.window=all"], False),
        (["data.max_length=9", "model.name=sasrec"], False),
    ],
)
def test_windows_longer_than_any_history(arguments, noted, make_leave_one_out):
    # Of six events, the first four are for training.
    split = make_leave_one_out([[1, 2, 3, 4, 5, 6], [3, 2, 1]], 6)
    note = window_note(configuration.load(None, ["model.name=caser", *arguments]), split)
    expected = (
        "A training window is 2 + 3 events (data.max_length + data.targets), but no user has more "
        "than 4, so each user has one padded window: lower data.max_length or set data.window=all."
    )
    assert note == (expected if noted else None)
