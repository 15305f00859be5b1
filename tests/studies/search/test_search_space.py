"""The search space: its section, its values, and what it refuses."""

import math
import re

import pytest

from tfrec_attn import config as configuration
from tfrec_attn.config.yaml_tree import read_yaml
from tfrec_attn.errors import ConfigError
from tfrec_attn.studies.search.search_space import SearchSpace, value_of, with_point
from tfrec_attn.studies.search.value_ranges import Choices, Range
from tfrec_attn.training.training_run import resolve


def parse(text, *overrides):
    """Returns the space of a section `search` in YAML, over AttRec unless overridden."""
    return SearchSpace.parse(read_yaml(text), resolve(configuration.load(None, overrides)))


def test_values_have_the_types_of_their_keys():
    space = parse(
        "train.l2: {low: 0, high: 1e-2}\n"
        "model.dim: {low: 8, high: 64, step: 8}\n"
        "model.user_weight: {low: 0, high: 0.7, step: 0.1}\n"
        "train.learning_rate: {low: 1e-4, high: 1, log: true}\n"
        "model.max_norm: {choices: [null, 1, 1.5]}\n"
        "train.shared_negatives: {choices: [true, false]}\n"
        "train.distillation.weight: {choices: ['0', 0.1]}\n"
        "data.window: {choices: [all, full]}\n"
    )
    assert space.ranges == {
        "data.window": Choices(["all", "full"]),
        "model.dim": Range(8, 64, 8),
        "model.max_norm": Choices([None, 1, 1.5]),
        "model.user_weight": Range(0.0, 0.7, 0.1),
        "train.distillation.weight": Choices([0.0, 0.1]),
        "train.l2": Range(0.0, 0.01),
        "train.learning_rate": Range(0.0001, 1.0, None, True),
        "train.shared_negatives": Choices([True, False]),
    }
    assert list(space.ranges) == sorted(space.ranges)
    assert type(space.ranges["train.l2"].low) is float
    assert type(space.ranges["model.dim"].high) is int


def test_a_section_in_one_argument():
    assert SearchSpace.parse(
        configuration.overlay({}, ["search={train.l2: {low: 0, high: 1}, model.dim: null}"])[
            "search"
        ],
        configuration.load(),
    ).ranges == {"train.l2": Range(0.0, 1.0)}


@pytest.mark.parametrize(
    ("one", "size", "inside", "outside"),
    [
        (Choices([None, 8, "a"]), 3, [None, 8, "a"], [9, "b"]),
        (Range(2, 10), 9, [2, 7, 10], [1, 11, 2.5, None, "3"]),
        (Range(2, 10, 4), 3, [2, 6, 10], [4, 12]),
        (Range(1, 100, None, True), 100, [1, 100], [0]),
        (Range(0.0, 0.7, 0.1), 8, [0.0, 0.1 + 0.2, 0.7], [0.25, 0.8]),
        (Range(0.0, 0.7), math.inf, [0.0, 0.123, 0.7], [-0.1, True, None]),
    ],
)
def test_size_and_content(one, size, inside, outside):
    assert one.size == size
    assert [one.contains(value) for value in inside] == [True] * len(inside)
    assert [one.contains(value) for value in outside] == [False] * len(outside)


def test_a_range_ends_at_a_step():
    # 0.5, 0.8, 1.1, and 1.4 is above 1.3; 3, 5, 7, and 9 is above 8.
    space = parse(
        "train.margin: {low: 0.5, high: 1.3, step: 0.3}\nmodel.dim: {low: 3, high: 8, step: 2}"
    )
    assert space.ranges == {"train.margin": Range(0.5, 1.1, 0.3), "model.dim": Range(3, 7, 2)}
    assert space.size == 3 * 3


def test_drawn_numbers_are_short():
    assert Range(0.0, 0.7, 0.1).value(0.30000000000000004) == 0.3
    assert Range(1e-4, 1.0, None, True).value(0.0123456789) == 0.0123457
    # Rounding does not leave the range.
    assert Range(0.1234561, 1.0).value(0.1234562) == 0.1234561
    assert Range(5.0, 5.0001).value(5.00001234) == 5.00001234
    assert Range(10_000_001, 20_000_003).value(12_345_678) == 12_345_678


def test_the_section_is_read_back():
    text = "train.l2: {low: 1e-6, high: 1e-2, log: true}\nmodel.dim: {low: 4, high: 8, step: 2}"
    space = parse(text)
    sections = {key: one.to_dict() for key, one in space.ranges.items()}
    assert sections["model.dim"] == {"low": 4, "high": 8, "step": 2}
    again = SearchSpace.parse(sections, resolve(configuration.load()))
    assert again == space


def test_values_are_set_in_a_configuration():
    base = resolve(configuration.load(None, ["train.epochs=7"]))
    config = with_point(base, {"model.dim": 16, "train.distillation.weight": 0.2})
    assert (config.model.parameters["dim"], config.train.distillation.weight) == (16, 0.2)
    assert value_of(config, "train.epochs") == 7
    assert with_point(config, {"model.dim": 100, "train.distillation.weight": 0.0}) == base


def test_the_point_of_a_configuration():
    space = parse("model.dim: {choices: [8, 16]}\ntrain.margin: {low: 0, high: 1}")
    base = configuration.load(None, ["model.dim=8", "train.margin=0.25"])
    assert space.point_of(resolve(base)) == {"model.dim": 8, "train.margin": 0.25}
    assert space.point_of(resolve(configuration.load(None, ["model.dim=9"]))) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The search space is empty; give ranges in section search of the configuration"),
        ("{}", "The search space is empty"),
        ("model.dim:", "The search space is empty"),
        ("5", "search must be a section of keys, but is '5'."),
        (
            "model.dims: {choices: [1, 2]}",
            "Unknown configuration key model.dims; did you mean model.dim?",
        ),
        ("train.epoch: {low: 1, high: 2}", "Unknown configuration key train.epoch; did you mean"),
        ("dim: {low: 1, high: 2}", "Unknown configuration key dim; valid are data, model, train"),
        (
            "data.min_user_events: {low: 1, high: 5}",
            "search.data.min_user_events cannot be searched, because trials with other values "
            "could not be compared; search other keys of model and train, or data.max_length,",
        ),
        ("evaluate.repeats: {choices: [include, exclude]}", "evaluate.repeats cannot be searched"),
        ("model.name: {choices: [attrec, sasrec]}", "search.model.name cannot be searched"),
        ("run_dir: {choices: [a, b]}", "search.run_dir cannot be searched"),
        ("model.dim: 8", "search.model.dim must be {choices: [a, b]} or {low: a, high: b}"),
        ("model.dim: {low: 8}", "but is a section of keys ({'low': '8'})."),
        ("model: {dim: {choices: [1, 2]}}", "search.model must be {choices: [a, b]} or"),
        (
            "model.dim: {low: 8, high: 16, steps: 4}",
            "search.model.dim has no steps (did you mean 'step'?): {choices: [a, b]} or",
        ),
        ("model.dim: {choices: [8, 16], log: true}", "search.model.dim has no log: {choices"),
        ("model.dim: {choices: []}", "must have two choices or more, but has a list ([])."),
        ("model.dim: {choices: 8}", "must have two choices or more, but has '8'."),
        ("model.dim: {choices: [8, 8.0]}", "must have different choices, but has 8 twice."),
        (
            "model.dim: {choices: [8, wide]}",
            "model.dim must be a whole number, but is text ('wide').",
        ),
        (
            "train.optimizer_options: {choices: [{}, {beta_1: 0.8}]}",
            "must have choices of numbers, texts, truth values or null, but has a section of keys",
        ),
        (
            "train.loss: {choices: [hinge, sampled_softmax]}",
            "train.loss=sampled_softmax takes next_items and masked_items, but model.name=attrec",
        ),
        ("train.loss: {choices: [hinge, hing]}", "train.loss must be one of"),
        (
            "train.loss: {low: bce, high: bpr}",
            "search.train.loss must have choices, because its values are not numbers.",
        ),
        (
            "train.shared_negatives: {low: false, high: true}",
            "must have choices, because its values are not numbers.",
        ),
        ("train.epochs: {low: 1, high: 2.5}", "train.epochs must be a whole number, but is '2.5'."),
        (
            "train.epochs: {low: 3, high: 3}",
            "search.train.epochs must have low less than high, but has low 3 and high 3.",
        ),
        ("train.l2: {low: 1e-2, high: 1e-3}", "must have low less than high, but has low 0.01"),
        (
            "train.l2: {low: 0, high: 1, log: true}",
            "search.train.l2 must have low above 0, because log is true, but has low 0.0.",
        ),
        (
            "train.learning_rate: {low: 0, high: 1, log: true}",
            "train.learning_rate must be greater than 0, but is 0.0.",
        ),
        ("train.l2: {low: 0, high: 1, log: 3}", "search.train.l2.log must be true or false"),
        (
            "train.l2: {low: 0.1, high: 1, step: 0.1, log: true}",
            "search.train.l2 must have either step or log, but has both.",
        ),
        (
            "train.l2: {low: 0.5, high: 1, step: 2}",
            "must have a step above 0 and at most high - low, 0.5, but has step 2.0.",
        ),
        ("train.l2: {low: 0, high: 1, step: 0}", "must have a step above 0"),
        ("model.dim: {low: 8, high: 16, step: 0.5}", "search.model.dim.step must be a whole"),
    ],
)
def test_bad_spaces(text, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
