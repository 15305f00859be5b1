"""Tests of `python -m export.verify` with servables of real runs."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from export import verify
from export.saved_model import save
from export.servable import Servable
from tests.commands import run_command
from tests.models.contract import EXPORTED
from tfrec_attn.runs import run, run_files

quietly = functools.partial(run_command, verify.main)

REPOSITORY = Path(__file__).resolve().parents[2]
# As tests/export/test_command.py exports, so that the servables are shared.
OPTIONS = ("--k", "7", "--max-k", "21")
METRICS = ["HR@5", "NDCG@5", "HR@10", "NDCG@10", "HR@20", "NDCG@20", "MRR"]


# Makes what must not be imported impossible to import.
ALONE = """
import contextlib, io, json, sys

ROOMS = ("data", "evaluation", "layers", "losses", "models", "optimizers", "runs", "training")

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(tuple(f"tfrec_attn.{room}" for room in ROOMS)):
            raise ImportError(f"{name} is not needed")

# As if they were not installed; TensorFlow itself looks for the first.
sys.modules.update(tf_keras=None, tensorflow_recommenders=None)
sys.meta_path.insert(0, Forbidden())
from export import verify

result = []
for servable, run in zip(sys.argv[1::2], sys.argv[2::2]):
    for split in ("test", "valid"):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            code = verify.main([servable, "--run", run, "--split", split, "--json"])
        result.append((code, json.loads(out.getvalue())))
print(json.dumps(result))
"""


def test_metrics_of_all_models_without_their_code(exported):
    def export(name):
        return exported(name, *OPTIONS)

    pairs = [(version.parent, run) for run, version, _ in map(export, EXPORTED)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    arguments = [str(path) for pair in pairs for path in pair]
    process = subprocess.run(
        [sys.executable, "-c", ALONE, *arguments],
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (process.returncode, process.stderr) == (0, "")
    reports = json.loads(process.stdout)
    for number, (base, folder) in enumerate(pairs):
        metrics = json.loads((folder / "metrics.json").read_text())
        for (code, report), split in zip(
            reports[2 * number : 2 * number + 2], ("test", "valid"), strict=True
        ):
            assert (code, report["difference"], report["split"]) == (0, None, split)
            assert (report["servable"], report["run"]) == (str(base / "1"), str(folder))
            assert list(report["metrics"]) == METRICS
            for name, row in report["metrics"].items():
                assert row["run"] == metrics[split][name]
                assert row["servable"] == pytest.approx(row["run"], abs=1e-6)
                assert row["recommend"] == (
                    None if name == "MRR" else pytest.approx(row["run"], abs=1e-6)
                )
            # 30 users; the longest cut-off is 20 of 24 items.
            assert report["events"] == 30
            assert report["recommend"] == {"k": 20, "keep_seen": False, "recall": None}


def test_different_metric_ends_with_1(exported, tmp_path):
    folder, version, _ = exported("attrec", *OPTIONS)
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("SHA256SUMS"))
    metrics = json.loads((folder / "metrics.json").read_text())
    for change, code in ((0.9e-6, 0), (1.1e-6, 1)):
        changed = {
            **metrics,
            "test": {**metrics["test"], "NDCG@10": metrics["test"]["NDCG@10"] + change},
        }
        (tmp_path / "run" / "metrics.json").write_text(json.dumps(changed))
        found, out, error = quietly(version.parent, "--run", tmp_path / "run")
        assert found == code
        assert out.splitlines()[0].split() == ["test", "run", "servable", "difference", "recommend"]
        expected = (
            f"error: NDCG@10 must be {metrics['test']['NDCG@10'] + change:.8f} as in metrics.json, "
            "but the servable gives "
        )
        assert error.startswith(expected) if code else error == ""
        assert error.count("\n") == code


def test_other_weights_end_with_1(run_folder, tmp_path):
    folder = run_folder("attrec")
    model = run.load_model(folder)
    for table in model.tables("items"):
        table.assign(table[::-1])
    save(Servable(model, np.load(folder / run_files.ITEM_COUNTS)), tmp_path / "1")
    code, _, error = quietly(tmp_path, "--run", folder)
    assert code == 1
    assert error.startswith("error: ") and "as in metrics.json, but the servable gives" in error


def assert_refused(result, *pieces):
    assert (result[0], result[1]) == (2, "")
    assert (
        result[2].startswith("error: ") and result[2].endswith(".\n") and result[2].count("\n") == 1
    )
    for piece in pieces:
        assert piece in result[2]


def test_missing_files(exported, tmp_path):
    folder, version, _ = exported("attrec", *OPTIONS)
    base = version.parent
    assert_refused(quietly(base, "--run", tmp_path), f"{tmp_path} is not a finished run")
    assert_refused(quietly(tmp_path, "--run", folder), f"{tmp_path} is not a SavedModel")
    assert_refused(quietly(tmp_path / "no", "--run", folder), "there is no such folder")
    shutil.copy(folder / "metrics.json", tmp_path)
    assert_refused(quietly(base, "--run", tmp_path), "has no test.parquet", "train again")
    shutil.copy(folder / "test.parquet", tmp_path)
    assert_refused(quietly(base, "--run", tmp_path), "vocabulary/items.txt is missing")


def test_help_does_not_wait_for_tensorflow():
    code = """
import sys
from export import verify
try:
    verify.main(["--help"])
finally:
    assert "tensorflow" not in sys.modules
"""
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    assert "--split" in process.stdout
