"""Averages of runs: scores by hand, through an export, and runs that do not fit."""

from pathlib import Path

import numpy as np
import pytest

from tfrec_attn import average, config
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs import run, run_files
from tfrec_attn.training.training_run import train

SMALL = ("data.events=1000", "data.max_length=4", "model.dim=4", "train.epochs=1")
FAST = ("evaluate.bootstrap=0", "evaluate.k=[2, 5]", "evaluate.metric=NDCG@5")
SASREC = ("model.name=sasrec", "train.loss=softmax", "train.optimizer=adam")
ATTREC = ("model.name=attrec", "data.max_length=3")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("average")
    for name, settings in (("sasrec", SASREC), ("attrec", ATTREC)):
        train(config.load(None, [*SMALL, *FAST, *settings, f"run_dir={folder / name}"]))
    return folder


@pytest.fixture(scope="module")
def averaged(runs):
    arguments = [str(runs / name) for name in ("sasrec", "attrec")]
    options = ["--weights", "0.5,2", "--to", str(runs / "both"), "prior.weight=0.5"]
    assert average.main([*arguments, *options]) == 0
    return run.load_model(runs / "both")


def test_scores_are_the_weighted_sum(runs, averaged):
    features = {
        "user": np.array([1, 3], "int32"),
        "history": np.array([[0, 5, 2, 7], [0, 0, 0, 9]]),
    }
    scores = [run.load_model(runs / name).scores(features) for name in ("sasrec", "attrec")]
    expected = 0.5 * scores[0].numpy() + 2.0 * scores[1].numpy()
    vectors = averaged.item_vectors().numpy()[1:]
    alone = averaged.queries(features).numpy() @ vectors.T
    np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-5)


def test_a_prior_is_added_to_the_sum(averaged, runs):
    features = {"user": np.array([1], "int32"), "history": np.array([[0, 5, 2, 7]])}
    items, values = (one.numpy()[0] for one in averaged.prior(features))
    expected = averaged.queries(features).numpy() @ averaged.item_vectors().numpy()[1:].T
    for item, value in zip(items, values, strict=True):
        if item > 0:
            expected[0, item - 1] += value
    assert np.count_nonzero(values) > 0
    np.testing.assert_allclose(averaged.scores(features), expected, rtol=1e-4, atol=1e-5)


def test_the_run_is_one_of_its_log(runs, averaged):
    made, first = (run_files.load_metrics(runs / name) for name in ("both", "sasrec"))
    assert made["protocol"]["hash"] == first["protocol"]["hash"]
    assert made["baselines"] == first["baselines"]
    assert averaged.uses_user
    assert made["prior"]["weight"] == 0.5


def test_the_export_has_the_same_lists(runs, averaged, tmp_path):
    from export.command import main as export
    from tfrec_attn.runtime.runner import Runner

    assert export([str(runs / "both"), "--to", str(tmp_path / "servable")]) == 0
    runner = Runner(tmp_path / "servable" / "1")
    history = averaged.item_vocabulary.ids([5, 2, 7])
    response = runner.run(
        "serving_default", user_id=np.array(["?"], object), history=np.array([history], object)
    )
    runner.close()
    expected, _ = averaged.recommend([history], k=10)
    assert [one.decode() for one in response["items"][0]] == expected[0]


def test_weights_are_equal_by_default(runs):
    made = average.config_of([runs / "sasrec", runs / "attrec"], None, "both")
    assert [one["weight"] for one in made.model.parameters["members"]] == [0.5, 0.5]
    assert made.data.max_length == 4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sasrec"], "An average needs two runs or more, but has 1."),
        (
            ["sasrec", "attrec", "--weights", "1,0"],
            "--weights must be a number above 0 for each of the 2 runs, with commas, but is 1,0.",
        ),
        (["sasrec", "nothing"], "nothing is not a finished run"),
        (["sasrec", "attrec", "data.seed=5"], "was trained on other events than the log has now"),
    ],
)
def test_runs_that_cannot_be_averaged(runs, arguments, expected, capsys, monkeypatch):
    monkeypatch.chdir(runs)
    assert average.main([*arguments, "--to", "other"]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1
    assert not (runs / "other").exists() and not (runs / "other.partial").exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model.name": "pop"}, "one cannot be averaged, because pop only counts"),
        (
            {"model.name": "prme", "model.max_gap": 3.0},
            "its model needs times between events; train it with model.max_gap=null",
        ),
    ],
)
def test_models_that_cannot_be_averaged(settings, expected, monkeypatch):
    changed = config.with_values(config.load(), settings)
    monkeypatch.setattr(average, "load_config", lambda folder: changed)
    with pytest.raises(ConfigError, match=expected):
        average.config_of([Path("one"), Path("other")], None, "both")
