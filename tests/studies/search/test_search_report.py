"""The table of the trials, and the best configuration as a file."""

import csv
import io

import pytest

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.config.config_files import read_config_file
from tfrec_attn.studies.search.search_report import (
    best_of,
    best_yaml,
    describe_search,
    describe_trial,
    trials_csv,
)
from tfrec_attn.studies.search.search_space import SearchSpace, with_point
from tfrec_attn.studies.search.trial_training import COMPLETED, FAILED, PRUNED, TrialResult
from tfrec_attn.studies.search.value_ranges import Choices, Range
from tfrec_attn.training.progress import Progress
from tfrec_attn.training.training_run import resolve

SPACE = SearchSpace(
    {
        "model.max_norm": Choices([None, 1.0]),
        "train.distillation.weight": Range(0.0, 0.4, 0.1),
        "train.loss": Choices(["bpr", "hinge"]),
    }
)


def point(max_norm, weight, loss):
    return dict(zip(SPACE.ranges, (max_norm, weight, loss), strict=True))


RESULTS = [
    TrialResult(COMPLETED, point(1.0, 0.0, "bpr"), {"HR@5": 0.3, "MRR": 0.25}, 4, 9, 12.3456, 70),
    TrialResult(FAILED, point(None, 0.1, "bpr"), seconds=0.5, error="It, overflowed."),
    TrialResult(PRUNED, point(None, 0.2, "hinge"), {"HR@5": 0.9, "MRR": 0.8}, 1, 5, 4.0, 71),
    TrialResult(COMPLETED, point(None, 0.3, "hinge"), {"HR@5": 0.2, "MRR": 0.5}, 2, 7, 9.1, 71),
]


def test_the_best_trial_is_completed():
    assert best_of(RESULTS, "MRR") == 3
    assert best_of(RESULTS, "HR@5") == 0
    assert best_of(RESULTS[1:3], "MRR") is None


def test_the_table_has_a_row_for_each_trial():
    rows = list(csv.reader(io.StringIO(trials_csv(RESULTS, SPACE))))
    assert rows == [
        [
            *("trial", "state", "model.max_norm", "train.distillation.weight", "train.loss"),
            *("HR@5", "MRR", "best_epoch", "epochs", "seconds", "parameters", "error"),
        ],
        ["1", "completed", "1.0", "0.0", "bpr", "0.3", "0.25", "4", "9", "12.346", "70", ""],
        ["2", "failed", "null", "0.1", "bpr", "", "", "0", "0", "0.5", "0", "It, overflowed."],
        ["3", "pruned", "null", "0.2", "hinge", "0.9", "0.8", "1", "5", "4.0", "71", ""],
        ["4", "completed", "null", "0.3", "hinge", "0.2", "0.5", "2", "7", "9.1", "71", ""],
    ]


def test_lines():
    assert describe_trial(1, RESULTS[0], "MRR", True) == (
        "trial 1: model.max_norm=1.0 train.distillation.weight=0.0 train.loss=bpr\n"
        "  MRR 0.2500 at epoch 4 of 9, 12 s, the best so far"
    )
    assert describe_trial(2, RESULTS[1], "MRR", False).endswith("  failed: It, overflowed, 0 s")
    assert describe_trial(3, RESULTS[2], "MRR", False).endswith(
        "  pruned after epoch 5, MRR 0.8000, 4 s"
    )
    assert describe_search(RESULTS, "MRR") == (
        "validation    HR@5     MRR\n"
        "trial 4     0.2000  0.5000\n"
        "trial 1     0.3000  0.2500\n"
        "\n"
        "4 trials (2 completed, 1 pruned, 1 failed), 26 s."
    )
    assert describe_search(RESULTS[1:2], "MRR") == (
        "1 trial (0 completed, 0 pruned, 1 failed), 0 s."
    )


@pytest.fixture
def given(tmp_path, monkeypatch):
    """The sections of a file with a relative path, an argument and recommended settings."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "some.yaml"
    path.write_text("data: {source: file, path: log.csv}\ntrain:\nmodel: {dim: 9}\n")
    arguments = ["train={epochs: 3}", "model.name=attrec", "train.optimizer_options={beta: 1}"]
    return configuration.overlay(read_config_file(path), arguments, lambda _: {"train.l2": 0.5})


def test_the_best_configuration_is_one_for_training(given, tmp_path):
    base = resolve(configuration.from_dict(given))
    text = best_yaml(RESULTS, SPACE, base, given, "python -m tfrec_attn.search 'a\nb'")
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert header == [
        "# attrec on log.csv: the best settings of a search by MRR on the validation events.",
        "#",
        "#   python -m tfrec_attn.search 'a\\nb'",
        "#",
        "# 4 trials (2 completed, 1 pruned, 1 failed), 26 s. Trial 4, epoch 2 of 7, seed 1, 9 s. "
        "Validation:",
        "#   HR@5 0.2000   MRR 0.5000",
        "# The best of many trials overfits these events. Searched:",
        "#   model.max_norm: null of null, 1.0",
        "#   train.distillation.weight: 0.3 of 0 to 0.4 in steps of 0.1",
        "#   train.loss: hinge of bpr, hinge",
    ]
    (tmp_path / "best.yaml").write_text(text)
    tree = read_config_file(tmp_path / "best.yaml")
    # Only what was given, recommended or searched is in it, each by its final value.
    assert {section: sorted(keys) for section, keys in tree.items()} == {
        "data": ["path", "source"],
        "model": ["dim", "max_norm", "name"],
        "train": sorted(["epochs", "optimizer_options", "l2", "distillation", "loss"]),
    }
    config = configuration.load(tmp_path / "best.yaml", [], models.recommended)
    assert resolve(config) == with_point(base, RESULTS[3].values)
    assert config.model.parameters["max_norm"] is None


def test_results_of_progress():
    history = [{"loss": 3.0, "val_MRR": 0.1}, {"loss": 2.0, "val_MRR": 0.3}, {"val_MRR": 0.2}]
    values = {"model.dim": 4}
    result = TrialResult(COMPLETED, values).with_progress(Progress(3, history=history), "MRR")
    assert result == TrialResult(COMPLETED, values, {"MRR": 0.3}, best_epoch=2, epochs=3)
    assert TrialResult(FAILED, values).with_progress(Progress(), "MRR").metrics == {}
