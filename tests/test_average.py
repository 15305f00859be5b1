"""Averages of runs: scores by hand, through an export, and runs that do not fit."""

from pathlib import Path

import numpy as np
import pytest

from tfrec_attn import average, config, models
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs import run, run_files
from tfrec_attn.studies.average import Average
from tfrec_attn.training.training_run import train
from tfrec_attn.training.warm_start import load_previous_run

SMALL = ("data.events=1000", "data.max_length=4", "model.dim=4", "train.epochs=1")
FAST = ("evaluate.bootstrap=0", "evaluate.k=[2, 5]", "evaluate.metric=NDCG@5")
SASREC = ("model.name=sasrec", "train.loss=softmax", "train.optimizer=adam")
AVERAGE = "tfrec_attn.studies.average:Average"
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


def test_a_model_of_histories_is_left_out_without_a_history(runs, averaged):
    features = {"user": np.array([1, 3], "int32"), "history": np.zeros([2, 4], "int64")}
    expected = 2.0 * run.load_model(runs / "attrec").scores(features).numpy()
    np.testing.assert_allclose(averaged.scores(features), expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected) > 0 and not averaged.knows_nothing(features).numpy().any()


def test_a_prior_is_added_to_the_sum(averaged, runs):
    features = {"user": np.array([1], "int32"), "history": np.array([[0, 5, 2, 7]])}
    items, values = (one.numpy()[0] for one in averaged.prior(features))
    expected = averaged.queries(features).numpy() @ averaged.item_vectors().numpy()[1:].T
    for item, value in zip(items, values, strict=True):
        if item > 0:
            expected[0, item - 1] += value
    assert np.count_nonzero(values) > 0
    np.testing.assert_allclose(averaged.scores(features), expected, rtol=1e-4, atol=1e-5)


def test_an_average_is_shown_beside_its_runs(runs, averaged, monkeypatch):
    both, sasrec, attrec = (runs / name for name in ("both", "sasrec", "attrec"))
    text = average.beside_its_runs(both, [sasrec, attrec])
    names = [line.split()[0] for line in text.splitlines()[:4]]
    assert names == ["validation", str(sasrec), str(attrec), str(both)]
    found = {run: run_files.load_metrics(run) for run in (both, sasrec, attrec)}
    for run_, value in ((both, 0.2), (sasrec, 0.3), (attrec, 0.1)):
        found[run_]["valid"]["NDCG@5"] = value
    monkeypatch.setattr(average, "load_metrics", found.get)
    note = f"{sasrec} alone has a better NDCG@5 on the validation events; give it more weight with "
    assert note in average.beside_its_runs(both, [sasrec, attrec])
    assert "alone" not in average.beside_its_runs(both, [attrec])
    found[sasrec]["protocol"]["hash"] = "another"
    text = average.beside_its_runs(both, [sasrec, attrec])
    assert str(sasrec) not in text and "alone" not in text


def test_the_run_is_one_of_its_log(runs, averaged):
    made, first = (run_files.load_metrics(runs / name) for name in ("both", "sasrec"))
    assert made["protocol"]["hash"] == first["protocol"]["hash"]
    assert made["baselines"] == first["baselines"]
    assert averaged.uses_user
    assert made["prior"]["weight"] == 0.5


def test_the_export_has_the_same_lists(runs, averaged, tmp_path, no_warmup):
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


def members(*names, max_length=4, **parameters):
    rest = {"weight": 0.5, "max_length": max_length, "run": "somewhere"}
    return [
        {**rest, "name": name, "parameters": {"dim": 4, "stddev": 0.5, **parameters}}
        for name in names
    ]


def test_a_prior_and_the_vocabularies_of_another_run(runs, monkeypatch):
    monkeypatch.chdir(runs)
    options = ["prior.weight=0.5", "train.warm_start=sasrec", "--to", "prior"]
    assert average.main(["sasrec", *options]) == 0
    found = run.load_model(runs / "prior")
    assert found.transition_prior.weight.numpy() == 0.5
    features = {"user": np.array([0], "int32"), "history": np.array([[0, 5, 2, 7]])}
    items, values = (part.numpy()[0] for part in found.prior(features))
    scores = run.load_model(runs / "sasrec").scores(features).numpy()[0]
    np.add.at(scores, items[items > 0] - 1, values[items > 0])
    np.testing.assert_allclose(found.scores(features)[0], scores, rtol=1e-4, atol=1e-5)


def test_a_run_that_continues_another_has_its_vocabularies(monkeypatch, tmp_path):
    continued = config.with_values(config.load(), {"train.warm_start": "yesterday"})
    configs = {"first": config.load(), "second": continued}
    monkeypatch.setattr(average, "load_config", lambda folder: configs[folder.name])
    monkeypatch.setattr(average, "load_metrics", lambda _: {"data": {"sha256": "1"}})
    made = average.config_of([tmp_path / "first", tmp_path / "second"], None, "both")
    assert made.train.warm_start == str(tmp_path / "first")
    made = average.config_of([tmp_path / "first", tmp_path / "first"], None, "both")
    assert made.train.warm_start is None


def test_users_alone_are_an_average_of_users_alone():
    model = Average(3, 5, 4, members=members("bpr_mf", "bpr_mf"))
    features = {"user": np.array([0, 2]), "history": np.array([[0, 0, 1, 2], [0, 0, 0, 0]])}
    assert model.knows_nothing(features).numpy().tolist() == [True, False]


def test_a_user_whom_a_run_does_not_know_is_unknown(monkeypatch):
    model = Average(3, 5, 4, members=members("bpr_mf", "bpr_mf"))
    runs = [models.get("bpr_mf")(3, 5, 4, dim=4) for _ in range(2)]
    runs[1].trained_users = np.array([True, False, True])
    monkeypatch.setattr(run, "load_model", lambda folder, found=iter(runs): next(found))
    monkeypatch.setattr(run_files, "load_metrics", lambda folder: {"data": {"sha256": "1"}})
    monkeypatch.setattr("tfrec_attn.studies.average.split_checksum", lambda split: "1")
    model.count(None)
    assert model.trained_users.tolist() == [True, False, True]


def test_similar_items_are_those_of_the_sum():
    # LightGCN propagates its vectors along a graph, and AttRec scores by distances.
    names = ("attrec", "lightgcn")
    model = Average(3, 6, 4, members=members(*names))
    for number, table in enumerate(model.tables("items")):
        table.assign(np.random.default_rng(number).normal(size=table.shape))
    served = model.for_serving()
    features = {"user": np.array([1]), "history": np.array([[0, 0, 1, 2]])}
    np.testing.assert_allclose(served.scores(features), model.scores(features), rtol=1e-5)
    assert len(served.item_columns()) > len(model.item_columns())
    items = list(range(1, 7))
    parts = [one.similar(items, k=5, by="score") for one in served.models]
    found_items, found_scores = served.similar(items, k=5, by="score")
    for row, (found, scores) in enumerate(zip(found_items, found_scores, strict=True)):
        both = [dict(zip(ids[row], values[row], strict=True)) for ids, values in parts]
        expected = [0.5 * both[0][item] + 0.5 * both[1][item] for item in found]
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_an_average_takes_new_items():
    from export.item_addition import add_items
    from export.new_items import NewItems
    from tfrec_attn.training.transfer import Neighbours

    model = Average(3, 6, 4, members=members("sasrec", "lightgcn"))
    model.set_vocabularies(list("abcdef"), ["u", "v", "w"])
    neighbours = Neighbours(np.array([0, 0]), np.array([1, 4]), np.array([1.0, 3.0]))
    vectors = add_items(model, NewItems(["x"], neighbours, [])).item_vectors().numpy()
    np.testing.assert_allclose(vectors[1:7], model.item_vectors()[1:], rtol=1e-5)
    np.testing.assert_allclose(vectors[7], 0.25 * vectors[1] + 0.75 * vectors[4], rtol=1e-5)


def test_an_average_is_made_again(runs, monkeypatch):
    given = []
    monkeypatch.setattr(average, "train", lambda config, restart: given.append(restart))
    arguments = [str(runs / "sasrec"), str(runs / "attrec"), "--to", str(runs / "both")]
    assert average.main(arguments) == average.main([*arguments, "--restart"]) == 0
    assert given == [False, True]


def test_weights_are_equal_by_default(runs):
    made = average.config_of([runs / "sasrec", runs / "attrec"], None, "both")
    assert [one["weight"] for one in made.model.parameters["members"]] == [0.5, 0.5]
    assert made.data.max_length == 4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["prior.weight=1"], "An average needs runs, but has only keys; name the folders of runs"),
        (
            ["sasrec", "attrec", "--weights", "1,0"],
            "--weights must be a number above 0 for each of the 2 runs, with commas, but is 1,0.",
        ),
        (["sasrec", "nothing"], "nothing is not a finished run"),
        (
            ["sasrec", "attrec", "data.seed=5"],
            "sasrec was trained on other events than the log has now; average runs of the same log",
        ),
    ],
)
def test_runs_that_cannot_be_averaged(runs, arguments, expected, capsys, monkeypatch):
    monkeypatch.chdir(runs)
    assert average.main([*arguments, "--to", "other"]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1 and "cannot count" not in error
    assert not (runs / "other").exists() and not (runs / "other.partial").exists()


def test_runs_of_different_logs_cannot_be_averaged(runs, monkeypatch):
    sums = iter(["one", "other"])
    monkeypatch.setattr(average, "load_metrics", lambda _: {"data": {"sha256": next(sums)}})
    with pytest.raises(ConfigError, match="attrec was trained on other events than "):
        average.config_of([runs / "sasrec", runs / "attrec"], None, "both")


def test_a_run_without_a_checksum_of_its_events_cannot_be_averaged(runs, monkeypatch):
    monkeypatch.setattr(average, "load_metrics", lambda _: {"data": {}})
    with pytest.raises(ConfigError, match="sasrec has no checksum of its events in "):
        average.config_of([runs / "sasrec", runs / "attrec"], None, "both")


def test_no_training_continues_an_average(runs, averaged):
    given = config.load(None, [f"train.warm_start={runs / 'both'}", "model.name=sasrec"])
    sentence = "both is a run of Average, which has no training to continue; give a run of model.n"
    with pytest.raises(ConfigError, match=sentence):
        load_previous_run(given)


def test_another_average_of_the_same_name(runs, averaged, capsys):
    names = [str(runs / name) for name in ("sasrec", "attrec")]
    assert average.main([*names, "--weights", "0.5,1", "--to", str(runs / "both")]) == 2
    assert "with model.members.1.weight=2.0, not 1.0; " in capsys.readouterr().err


@pytest.mark.parametrize("to", ["attrec", "sasrec/../attrec"])
def test_an_average_does_not_replace_one_of_its_runs(runs, to, capsys, monkeypatch):
    monkeypatch.chdir(runs)
    assert average.main(["sasrec", "attrec", "--to", to, "--restart"]) == 2
    assert capsys.readouterr().err == (
        f"error: --to {to} is one of the runs, which the average needs to be made again; name "
        "another folder.\n"
    )
    assert run_files.load_config(runs / "attrec").model.name == "attrec"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model.name": "pop"}, "one cannot be averaged, because pop only counts"),
        ({"model.name": AVERAGE}, "one cannot be averaged, because it is an average itself"),
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
