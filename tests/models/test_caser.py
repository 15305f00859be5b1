"""Caser: numbers worked by hand, and filters that do not fit."""

import pytest

from tests.models import worked
from tfrec_attn.models import Caser


def test_scores():
    model = Caser(1, 3, 2, dim=2, vertical=1, horizontal=1, dropout=0.0)
    worked.fill(model.users, worked.USER)
    worked.fill(model.items, worked.ITEMS)
    worked.fill(model.targets, [[0.1, 0.2, 0.3, 0.4], [-0.2, 0.5, 0.1, 0], [0.6, -0.3, 0.2, -0.1]])
    worked.fill(model.biases, worked.BIASES)
    worked.assign(
        model.convolution,
        vertical_kernel=[[0.5], [-1]],
        vertical_bias=[0.1],
        horizontal_bias=[0.2, -0.1],
    )
    model.convolution.horizontal_kernels[0].assign([[1], [-1]])
    model.convolution.horizontal_kernels[1].assign([[0.5], [0.5], [-1], [1]])
    worked.assign(
        model.hidden,
        kernel=[[0.2, -0.5], [-0.1, 0.6], [0.4, 0.1], [0.3, 0.2]],
        bias=[0.05, -0.05],
    )
    worked.near(worked.scores(model, [1, 2]), [0.246, -0.342, 1.001])
    # Without the user: the last two columns of the targets times [.5, -.25] less.
    worked.near(worked.scores(model, [1, 2], user=0), [0.196, -0.392, 0.876])


def test_filters_are_at_most_as_high_as_the_window():
    assert len(Caser(1, 3, 8, dim=2, max_height=3).convolution.horizontal_kernels) == 3
    sentence = "max_height must be at most max_length, 5, but is 6; lower model.max_height, or "
    with pytest.raises(ValueError, match=sentence):
        Caser(1, 3, 5, max_height=6)
