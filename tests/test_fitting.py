"""What cannot be trained is said before training."""

import pytest

from tfrec_attn import config as configuration
from tfrec_attn import fitting
from tfrec_attn.errors import DataError


def test_distillation_on_a_log_without_transitions(make_leave_one_out):
    split = make_leave_one_out([[1, 2, 3], [3, 2, 1]], num_items=3)
    config = configuration.load(None, ["train.distillation.weight=0.1"])
    with pytest.raises(DataError, match="distillation needs a user with two training events in a row, but there is none"):
        fitting.make_distillation(config, split)


def test_no_distillation_without_a_weight(make_leave_one_out):
    assert fitting.make_distillation(configuration.load(), make_leave_one_out([[1, 2, 3, 1]], num_items=3)) is None
