"""Runs on a prepared log: the metrics of the log itself from memory, and the same evaluation
wherever the events are.
"""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from tfrec_attn import config
from tfrec_attn.config import Data
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.evaluate import evaluate
from tfrec_attn.runs import run_files
from tfrec_attn.training.training_run import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs on one log from a file, from memory and from a stream."""
    folder = tmp_path_factory.mktemp("runs")
    synthetic(1_200, seed=3).write_parquet(folder / "log.parquet")
    prepare_log([str(folder / "log.parquet")], folder / "prepared", Data(), shards=3)
    sources = {
        "file": {"source": "file", "path": str(folder / "log.parquet")},
        "memory": {"source": str(folder / "prepared")},
        "stream": {"source": str(folder / "prepared"), "cache": "stream"},
    }
    base = {
        "model": {"name": "attrec", "dim": 8},
        "train": {"epochs": 2, "batch_size": 64},
        "evaluate": {"bootstrap": 0},
    }
    return {
        name: train(config.from_dict({**base, "data": data, "run_dir": str(folder / name)}))
        for name, data in sources.items()
    }


def metrics(folder):
    return json.loads((Path(folder) / run_files.METRICS).read_text(encoding="utf-8"))


def test_a_prepared_folder_in_memory_gives_the_metrics_of_the_log(runs):
    one, other = metrics(runs["file"]), metrics(runs["memory"])
    for name in ("valid", "test", "baselines", "best_epoch", "data"):
        assert one[name] == other[name]


def test_a_streamed_folder_gives_the_same_events_and_baselines(runs):
    one, other = metrics(runs["file"]), metrics(runs["stream"])
    assert one["baselines"] == other["baselines"]
    assert {**one["data"], "sha256": None} == {**other["data"], "sha256": None}
    assert evaluate(str(runs["stream"]), "valid")["valid"] == pytest.approx(
        other["valid"], abs=1e-6
    )
    for part in ("valid", "test"):
        frames = [
            pl.read_parquet(runs[name] / f"{part}.parquet").sort("user_id")
            for name in ("file", "stream")
        ]
        assert frames[0].equals(frames[1])
    for name in (
        "users.txt",
        "items.txt",
        "item_counts.npy",
        "trained_users.npy",
        "trained_items.npy",
    ):
        assert (runs["file"] / "vocabulary" / name).read_bytes() == (
            runs["stream"] / "vocabulary" / name
        ).read_bytes()


def test_ranks_agree_with_the_metrics_for_all_sources(runs, tmp_path):
    for name, folder in runs.items():
        report = evaluate(str(folder), "test", str(tmp_path / name))
        assert report["test"] == pytest.approx(metrics(folder)["test"], abs=1e-6)
        ranks = pl.read_csv(tmp_path / name, separator="\t")
        assert (
            ranks["user_id"].to_list()
            == (folder / "vocabulary" / "users.txt").read_text().splitlines()
        )
        assert (ranks["rank"] <= 10).mean() == pytest.approx(report["test"]["HR@10"], abs=1e-6)
    assert (tmp_path / "file").read_bytes() == (tmp_path / "memory").read_bytes()


@pytest.mark.parametrize("name", ["memory", "stream"])
def test_another_prepared_folder_is_reported(runs, name):
    folder = runs[name].parent / "prepared"
    away = folder.rename(folder.with_name("away"))
    try:
        prepare_log(
            [str(folder.with_name("log.parquet"))],
            folder,
            Data(split="temporal", valid_from=0.7, test_from=0.9),
            shards=3,
        )
        assert evaluate(str(runs[name]))["test"] == pytest.approx(
            metrics(runs[name])["test"], abs=1e-6
        )
        found = evaluate(str(runs[name]), on="current-log")["current_log"]
        assert found == {
            **found,
            "same": False,
            "unknown_users": 0,
            "unknown_items": 0,
            "unknown_targets": 0,
        }
        assert found["events"] == found["events_of_run"]
    finally:
        if folder.exists():
            shutil.rmtree(folder)
        away.rename(folder)
    assert evaluate(str(runs[name]), on="current-log")["current_log"]["same"]
