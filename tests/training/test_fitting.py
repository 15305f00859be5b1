"""Distillation layers, and errors before the training."""

import re

import pytest

from tfrec_attn import config as configuration
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.layers import EmbeddingSmoothing, GraphRegularization
from tfrec_attn.training import fitting, inputs


def test_distillation_on_a_log_without_transitions(make_leave_one_out):
    split = make_leave_one_out([[1, 2, 3], [3, 2, 1]], num_items=3)
    config = configuration.load(None, ["train.distillation.weight=0.1"])
    with pytest.raises(
        DataError,
        match="distillation needs a user with two training events in a row, but there is none",
    ):
        fitting.make_distillation(config, split)


def test_distillation_of_the_latest_events(make_leave_one_out):
    # The last two events are held out; of 1 2 3 the latest two train where data.max_length is 2.
    split = make_leave_one_out([[1, 2, 3, 1, 2]], num_items=3)
    arguments = ["train.distillation.weight=0.1", "data.max_length=2"]
    for latest, expected in (
        ("false", [[0, 0, 1, 2, 2], [2, 3]]),
        ("true", [[0, 0, 0, 1, 1], [3]]),
    ):
        config = configuration.load(None, [*arguments, f"train.distillation.latest={latest}"])
        offsets, neighbours, _ = fitting.make_distillation(config, split).get_config()[
            "transitions"
        ]
        assert [offsets, neighbours] == expected
    assert not configuration.load(None, arguments).train.distillation.latest


def test_a_graph_regularizer_instead(make_leave_one_out):
    split = make_leave_one_out([[1, 2, 3, 1, 2]], num_items=3)
    arguments = ["train.distillation.weight=0.1", "train.distillation.loss=squared_distance"]
    layer = fitting.make_distillation(configuration.load(None, arguments), split)
    assert isinstance(layer, GraphRegularization)
    assert layer.get_config()["transitions"][:2] == [[0, 0, 1, 2, 2], [2, 3]]


def test_smoothing_instead(make_leave_one_out):
    split = make_leave_one_out([[1, 2, 3, 1, 2]], num_items=3)
    arguments = ["train.distillation.weight=0.5", "train.distillation.loss=smoothing"]
    config = configuration.load(None, [*arguments, "train.distillation.layers=2"])
    layer = fitting.make_distillation(config, split)
    assert isinstance(layer, EmbeddingSmoothing)
    assert (layer.weight, layer.num_layers) == (0.5, 2)


def test_no_distillation_without_a_weight(make_leave_one_out):
    assert (
        fitting.make_distillation(
            configuration.load(), make_leave_one_out([[1, 2, 3, 1]], num_items=3)
        )
        is None
    )


@pytest.mark.parametrize(
    ("histories", "keys", "error", "message"),
    [
        (
            [[1, 2, 3, 1], [3, 2, 1, 2]],
            ["model.name=sasrec", "train.loss=bce", "train.negatives=4"],
            ConfigError,
            "train.negatives must be at most the number of items, 3, but is 4.",
        ),
        (
            [[1, 2, 3], [3, 2, 1]],
            ["model.name=attrec"],
            DataError,
            "No user has two training events, so there is nothing to learn from: "
            "give a longer log, or lower data.min_user_events.",
        ),
    ],
)
def test_errors_of_batches_name_the_keys(make_leave_one_out, histories, keys, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        inputs.training_stream(
            configuration.load(None, keys), make_leave_one_out(histories, num_items=3)
        )
