"""Configurations: defaults, files and arguments, and back to text."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from tfrec_attn import config as configuration
from tfrec_attn.config import Config, load

REPOSITORY = Path(__file__).resolve().parents[2]


def leaves(tree, prefix=""):
    """Returns `a.b.c` -> value of nested dictionaries; an empty one is a value."""
    result = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            result.update(leaves(value, f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = value
    return result


def test_defaults_are_attrec_on_generated_data():
    # L = 5 and T = 3 as in the paper.
    config = load()
    assert (config.data.source, config.model.name, config.model.parameters) == (
        "synthetic",
        "attrec",
        {},
    )
    assert (config.data.max_length, config.data.targets, config.evaluate.k, config.run_dir) == (
        5,
        3,
        [5, 10, 20],
        None,
    )
    assert config == Config() == configuration.from_dict({})


def test_a_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().train.epochs = 3


def test_configurations_share_no_list():
    load().evaluate.k.append(7)
    assert load().evaluate.k == [5, 10, 20]


def test_a_file_overrides_defaults_and_an_argument_overrides_the_file(file):
    path = file(
        "data: {max_length: 9, columns: {user: who}}\ntrain:\n  epochs: 7\nevaluate:\nrun_dir: "
        "there\n"
    )
    config = load(path, ["train.epochs=8", "data.columns.item=what", "model.dim=4"])
    changed = {
        key: value
        for key, value in leaves(configuration.to_dict(config)).items()
        if value != leaves(DEFAULTS).get(key)
    }
    assert changed == {
        "data.max_length": 9,
        "data.columns.user": "who",
        "data.columns.item": "what",
        "train.epochs": 8,
        "model.dim": 4,
        "run_dir": "there",
    }


DEFAULTS = configuration.to_dict(Config())


def test_the_last_override_wins():
    assert load(None, ["train.epochs=3", "train.epochs=4"]).train.epochs == 4


def test_an_empty_file_is_the_defaults(file):
    assert load(file("# nothing yet\n")) == Config()


def test_round_trip(file):
    overrides = [
        "data.names=[a, b]",
        "data.columns.timestamp=null",
        "data.test_from=2020-01-31",
        "data.path=/данные/log 1.csv",
        "train.learning_rate=1e-5",
        "train.optimizer_options={epsilon: 0.5}",
        "model.dim=12",
        "model.max_norm=null",
        "model.aggregation=max",
    ]
    config = load(None, overrides)
    assert configuration.from_dict(configuration.to_dict(config)) == config
    assert load(file(configuration.to_yaml(config))) == config


def test_documented_covers_every_key_with_its_default():
    documented = {key: default for key, default, _ in configuration.documented()}
    assert documented == leaves(DEFAULTS)
    assert all(text.strip() for _, _, text in configuration.documented())


def test_no_tensorflow_is_imported():
    code = "import tfrec_attn.config, sys; assert 'tensorflow' not in sys.modules"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


def test_the_line_on_recommended_settings(file):
    lines = []
    recommended = {
        "train.loss": "softmax",
        "train.epochs": 100,
        "train.patience": 10,
        "train.l2": 1e-4,
    }
    path = file("train: {epochs: 3, l2: 0.0001}")
    config = load(path, ["train.loss=bce"], lambda name: recommended, lines.append)
    assert (config.train.loss, config.train.epochs, config.train.patience) == ("bce", 3, 10)
    assert lines == [
        "Recommended for attrec: train.patience=10; changed: train.loss=bce instead of softmax "
        f"(argument), train.epochs=3 instead of 100 ({path})."
    ]
    load(None, [], lambda name: {}, lines.append)
    assert len(lines) == 1
    load(None, ["train.l2=0.0001"], lambda name: {"train.l2": 1e-4}, lines.append)
    assert lines[1] == "Recommended for attrec: all settings are given."
