"""The texts of errors."""

import pytest

from tfrec_attn.errors import with_keys

KEYS = {"dim": "model.dim", "max_norm": "model.max_norm", "max_length": "data.max_length"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("dim must be positive, but is 0.", "model.dim must be positive, but is 0."),
        ("max_norm must not exceed dim.", "model.max_norm must not exceed dim."),
        ("lower x, or raise max_length.", "lower x, or raise data.max_length."),
        ("raise data.max_length.", "raise data.max_length."),
        ("`dim` must be that of `inputs`", "model.dim must be that of `inputs`"),
        ("num_heads must divide dim", "num_heads must divide dim"),
        ("pooling must be in mean, max, but is 'max_norm'.",) * 2,
        ("", ""),
    ],
)
def test_arguments_are_named_by_their_keys(message, expected):
    assert with_keys(message, KEYS) == expected
