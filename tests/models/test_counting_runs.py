"""Runs of the counting models: training, evaluation, recommendations and exports."""

import math

import polars as pl
import pytest

from export import agreement, command
from tests.commands import METRICS, metrics_of, run_command
from tfrec_attn import config as configuration
from tfrec_attn import evaluate, models, train
from tfrec_attn.evaluation.held_out import summarise
from tfrec_attn.runs import run
from tfrec_attn.training.evaluating import rank

COUNTING = [name for name in models.names() if models.trains_on(name) == models.COUNTS]
TINY = ["data.events=1500", "evaluate.bootstrap=50"]


@pytest.mark.parametrize("name", COUNTING)
def test_a_counting_model_in_all_commands(name, tmp_path, no_warmup):
    folder = tmp_path / "run"
    code, out, error = run_command(train.main, *TINY, f"model.name={name}", f"run_dir={folder}")
    assert (code, error) == (0, "")
    assert {entry.name for entry in folder.iterdir()} == {
        "SHA256SUMS", "checkpoints", "config.yaml", "metrics.json", "ranks.npz",
        "test.parquet", "valid.parquet", "vocabulary",
    }  # fmt: skip
    report = metrics_of(folder)
    assert list(report["test"]) == METRICS
    assert (report["epochs"], report["best_epoch"], report["parameters"]) == (0, 0, 0)
    if name in report["baselines"]:
        assert report["test"] == pytest.approx(report["baselines"][name], abs=0.01)
        assert f"{name} (default)" in out

    assert evaluate.evaluate(str(folder))["test"] == pytest.approx(report["test"], abs=1e-9)
    events = pl.read_parquet(folder / "test.parquet")
    found, _ = run.load_model(folder).recommend(events["history"].to_list(), k=10)
    hits = [target in items for target, items in zip(events["target"], found, strict=True)]
    # A tie counts against the rank, but not against a place in a list.
    assert sum(hits) / len(hits) == pytest.approx(report["test"]["HR@10"], abs=0.02)

    assert run_command(command.main, folder, "--to", tmp_path / "shop")[0] == 0
    compared = agreement.compare(tmp_path / "shop" / "1", folder)
    assert compared["difference"] is None
    for metric, row in compared["metrics"].items():
        assert row["servable"] == pytest.approx(report["test"][metric], abs=1e-6)
    assert run_command(train.main, *TINY, f"model.name={name}", f"run_dir={folder}")[0] == 0


def test_each_beats_the_popular_items():
    config = configuration.load(None, ["data.events=20000", "data.max_length=50"])
    split, found = run.prepare_data(config).split, {}
    for name in COUNTING:
        sequences = split.sequences
        model = models.get(name)(sequences.num_users, sequences.num_items, 50)
        model.count(split)
        ranks = rank(model.ranks, config, split, "test", eager=math.inf)
        found[name] = summarise(ranks, [10])["HR@10"]
    assert all(found[name] > 1.3 * found["pop"] for name in COUNTING if name != "pop"), found
