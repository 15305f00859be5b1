"""The prior of item transitions: a run with it, and all that is made of the run."""

from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from export import agreement, command
from export.index_building import build_index
from export.saved_model import save
from export.servable import Servable
from tests.commands import METRICS, TINY, assert_refused, metrics_of, run_command
from tfrec_attn import config as configuration
from tfrec_attn import evaluate, train
from tfrec_attn.config import Config, Prior
from tfrec_attn.layers import TransitionPrior
from tfrec_attn.models import BPRMF
from tfrec_attn.replay.event_blocks import padded
from tfrec_attn.runs import run
from tfrec_attn.runtime.runner import Runner
from tfrec_attn.training import settings, transition_prior
from tfrec_attn.training.transition_prior import candidates


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with a prior, and what the command printed."""
    folder = tmp_path_factory.mktemp("prior") / "run"
    arguments = [*TINY, "model.name=sasrec", "train.batch_size=32", "data.max_length=4"]
    code, out, error = run_command(
        train.main, *arguments, "prior.weight=auto", "prior.neighbours=20", f"run_dir={folder}"
    )
    assert (code, error) == (0, "")
    return folder, out


@pytest.fixture(scope="module")
def model(trained):
    return run.load_model(trained[0])


def test_the_best_candidate_is_in_the_run(trained, model):
    prior = metrics_of(trained[0])["prior"]
    found = {(one["weight"], one["epsilon"]): one["NDCG@10"] for one in prior["candidates"]}
    assert list(found) == [(a, e) for a in (0.1, 0.2, 0.5, 1.0, 2.0) for e in (1e-4, 3e-4, 1e-3)]
    best = (prior["weight"], prior["epsilon"])
    assert found[best] == max(found.values())
    assert metrics_of(trained[0])["valid"]["NDCG@10"] == pytest.approx(found[best], abs=1e-9)
    layer = model.transition_prior
    assert (float(layer.weight), float(layer.epsilon)) == pytest.approx(best)
    assert layer.rows.width == 20


def test_the_table_shows_both(trained):
    report = metrics_of(trained[0])
    for name, row in (
        ("sasrec", report["prior"]["test_alone"]),
        ("sasrec + prior", report["test"]),
    ):
        shown = "  ".join(f"{row[metric]:.4f}" for metric in METRICS)
        assert any(
            line.startswith(f"{name} ") and "  ".join(line.split()[-7:]) == shown
            for line in trained[1].splitlines()
        )
    assert report["test"] != report["prior"]["test_alone"]


def test_alone_is_the_model_without_its_prior(trained, model):
    prior, model.transition_prior = model.transition_prior, None
    try:
        found = {}
        for part in ("valid", "test"):
            events = pl.read_parquet(trained[0] / f"{part}.parquet")
            items, _ = model.recommend(events["history"].to_list(), k=10)
            hits = [target in one for target, one in zip(events["target"], items, strict=True)]
            found[part] = np.mean(hits)
    finally:
        model.transition_prior = prior
    alone = metrics_of(trained[0])["prior"]
    for part, value in found.items():
        assert value == pytest.approx(alone[f"{part}_alone"]["HR@10"])


def test_scores_by_the_definition(model):
    history = [3, 5, 9]
    features = {"user": tf.constant([0]), "history": tf.constant([[0, *history]])}
    prior, model.transition_prior = model.transition_prior, None
    alone = model.scores(features).numpy()[0]
    model.transition_prior = prior
    sums = np.zeros(model.num_items + 1)
    items, values = prior.rows.items.numpy(), prior.rows.values.numpy()
    for position, item in enumerate(history[::-1], start=1):
        np.add.at(sums, items[item], values[item] / position)
    weight, epsilon = float(prior.weight), float(prior.epsilon)
    expected = alone + weight * np.log((epsilon + sums / sums.sum()) / epsilon)[1:]
    np.testing.assert_allclose(model.scores(features)[0], expected, rtol=1e-5, atol=1e-6)
    # Up to a number, the logarithm of the softmax and that of the transitions.
    logarithms = tf.nn.log_softmax(alone) + weight * np.log(epsilon + sums / sums.sum())[1:]
    assert np.ptp(expected - logarithms) < 1e-4


def test_evaluation_and_export_give_the_metrics_of_the_run(trained, tmp_path, no_warmup):
    report = metrics_of(trained[0])
    found = evaluate.evaluate(str(trained[0]))
    assert found["test"] == pytest.approx(report["test"], abs=1e-9)
    code, _, error = run_command(command.main, trained[0], "--to", tmp_path / "shop")
    assert (code, error) == (0, "")
    compared = agreement.compare(tmp_path / "shop" / "1", trained[0])
    assert compared["difference"] is None
    for name, row in compared["metrics"].items():
        assert row["servable"] == pytest.approx(report["test"][name], abs=1e-6)


def test_an_index_of_all_cells_gives_the_lists_of_the_model(trained, model, tmp_path):
    events = pl.read_parquet(trained[0] / "test.parquet").head(20)
    indexed, order, index, _ = build_index(model, events, cells=6, nprobe=6)
    save(Servable(indexed, np.ones(len(order)), index=index), tmp_path)
    with Runner(tmp_path, optimize=False) as runner:
        histories = padded(events["history"].to_list(), 1 + events["history"].list.len().max())
        asked = {"user_id": events["user_id"].to_list(), "history": histories}
        found = runner.run("serving_default", **asked)
    items, scores = model.recommend(events["history"].to_list(), k=10)
    assert [[one.decode() for one in row] for row in found["items"]] == items
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-4, atol=1e-5)


def test_a_warm_start_from_a_run_with_a_prior(trained, tmp_path):
    folder = tmp_path / "warm"
    arguments = [*TINY, "model.name=sasrec", "train.batch_size=32", "data.max_length=4"]
    result = run_command(
        train.main,
        *arguments,
        "train.epochs=1",
        f"train.warm_start={trained[0]}",
        "prior.weight=0.3",
        "prior.epsilon=0.001",
        f"run_dir={folder}",
    )
    assert (result[0], result[2]) == (0, "")
    report = metrics_of(folder)
    assert (report["prior"]["weight"], report["prior"]["epsilon"]) == (0.3, 0.001)
    alone = metrics_of(trained[0])["prior"]["valid_alone"]
    assert report["warm_start"]["valid_before"] == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize(("weight", "chosen"), [("auto", 0.0), ([0.5, 1.0], 0.5)])
def test_the_model_alone_is_a_choice_of_auto(model, monkeypatch, tmp_path, weight, chosen):
    """All candidates have ranks 9, the model alone 1."""

    def rank(ranker, config, split, part):
        return np.array([[1] + [9] * len(candidates(config.prior))] * 5)

    rows = np.zeros((model.num_items + 1, 20))
    monkeypatch.setattr(transition_prior, "rank", rank)
    monkeypatch.setattr(transition_prior, "rank_by_model", lambda *_: np.ones(5, int))
    monkeypatch.setattr(transition_prior, "decayed_transitions", lambda *_, **__: (rows, rows))
    monkeypatch.setattr(transition_prior, "Checkpoints", lambda _: MagicMock())
    config = Config(prior=Prior(weight=weight, neighbours=20))
    twin = SimpleNamespace(num_items=model.num_items)
    report, alone = transition_prior.add_transition_prior(twin, config, None, tmp_path)
    assert report["weight"] == float(twin.transition_prior.weight) == chosen
    assert report["valid_alone"]["HR@5"] == 1.0 and alone["valid_alone"].tolist() == [1] * 5


def test_candidates_are_ranked_as_the_model_with_its_prior_ranks():
    """An unknown user with a known history, for a model that depends on the user alone."""
    model, layer = BPRMF(2, 5, 3, dim=4), TransitionPrior(5, 2)
    biases = np.array([0.0, 0.1, 0.5, 0.3, 0.4, 0.2])
    model.biases.embeddings.assign(biases[:, np.newaxis])
    model.trained_users = np.array([True, False])
    model.popularity = np.array([0.4, 0.3, 0.2, 0.1, 0.0], np.float32)
    rows = np.zeros((6, 2))
    rows[1] = [5, 4]
    layer.rows.set_rows(rows, np.array([[0, 0], [2, 1], *[[0, 0]] * 4]))
    # Of the biases alone, and with 0.5 ln(1 + 10 T): 1.13 for item 4 with T = 1/3, 1.22 for item 5.
    alone, added = [5, 1, 3, 2, 4], [5, 3, 4, 2, 1]
    asked = {"user": [2] * 5, "history": [[0, 0, 1]] * 5, "target": range(1, 6), "seen": [[0]] * 5}
    features = {name: tf.constant(np.array(value)) for name, value in asked.items()}
    assert model.ranks(features).numpy().tolist() == [1, 2, 3, 4, 5]
    model.transition_prior = layer
    found = transition_prior._ranker(model, layer, [(0.0, 1.0), (0.5, 0.1)])(features)
    np.testing.assert_array_equal(tf.transpose(found), [alone, added])
    layer.weight.assign(0.5)
    layer.epsilon.assign(0.1)
    assert model.ranks(features).numpy().tolist() == added


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (Prior(weight=0.5, epsilon=0.1), [(0.5, 0.1)]),
        (Prior(weight=[0.5, 2.0], epsilon=0.1), [(0.5, 0.1), (2.0, 0.1)]),
        (Prior(weight=0.5), [(0.5, 1e-4), (0.5, 3e-4), (0.5, 1e-3)]),
    ],
)
def test_candidates(prior, expected):
    assert candidates(prior) == expected


@pytest.mark.parametrize(
    ("prior", "chosen", "tries"),
    [
        (Prior(weight="auto"), (2.0, 3e-4), ["prior.weight=2,10"]),
        (Prior(weight="auto"), (0.1, 1e-4), ["prior.epsilon=0.0001,1e-05"]),
        (
            Prior(weight=[1.0, 4.0]),
            (4.0, 1e-3),
            ["prior.weight=4,20", "prior.epsilon=0.001,0.01"],
        ),
        (Prior(weight="auto"), (1.0, 3e-4), None),
        (Prior(weight=2.0, epsilon=0.1), (2.0, 0.1), None),
        (Prior(weight=[1.0, 100.0], epsilon=[1e-9, 1e-8, 1e-7]), (100.0, 1e-9), None),
    ],
)
def test_a_prior_at_the_edge_of_its_candidates(prior, chosen, tries):
    note = transition_prior.at_the_edge(candidates(prior), *chosen)
    start = "These are at the edge of the values to choose from; try "
    assert note == (tries and f"{start}{' '.join(tries)} too.")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["prior.weight=-1"],
            "prior.weight must be a number from 0 to 100, a list of them or auto, but is -1.0.",
        ),
        (
            ["prior.weight=[]"],
            "prior.weight must be a number from 0 to 100, a list of them or auto, but is [].",
        ),
        (["prior.weight=much"], "prior.weight must be auto or a number or a list, but is 'much'."),
        (
            ["prior.epsilon=[1, 0]"],
            "prior.epsilon must be a number from 1e-09 to 100 or a list of them, but is "
            "[1.0, 0.0].",
        ),
        (["prior.span=0"], "prior.span must be greater than 0, but is 0."),
        (["prior.backward=101"], "prior.backward must be from 0 to 100, but is 101.0."),
        (
            ["prior.weight=auto", "model.name=pop"],
            "prior.weight adds item transitions to the scores, but model.name=pop already has "
            "counts or a prior of its own; leave it out.",
        ),
        (
            ["prior.weight=1", "model.name=tests.outside.again:Again"],
            "prior.weight adds item transitions to the scores, but "
            "model.name=tests.outside.again:Again already has counts or a prior of its own; leave "
            "it out.",
        ),
        (
            ["train.warm_start=RUN", "model.name=pop"],
            "train.warm_start continues a training, but model.name=pop only counts the events of "
            "the log; leave it out.",
        ),
    ],
)
def test_priors_that_cannot_be(arguments, sentence, trained, tmp_path):
    arguments = [one.replace("RUN", str(trained[0])) for one in arguments]
    result = run_command(train.main, *arguments, f"run_dir={tmp_path / 'run'}")
    assert_refused(result, 2, f"error: {sentence}\n")
    assert not list(tmp_path.iterdir())


def test_keys_without_effect():
    def lines(*arguments):
        return settings.settings_without_effect(configuration.load(None, arguments))

    assert lines("prior.span=3") == ["prior.span has no effect: prior.weight is 0."]
    assert lines("prior.span=3", "prior.weight=1") == []
    assert lines("model.name=pop", "train.epochs=3", "train.distillation.weight=1") == [
        "train.epochs has no effect: pop is not trained, it counts.",
        "train.distillation.weight has no effect: pop is not trained, it counts.",
    ]
