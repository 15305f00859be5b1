"""Times between events: from the log to training batches, held-out events and a run of PRME."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from export import command
from tests.commands import assert_refused, metrics_of, run_command
from tfrec_attn import config as configuration
from tfrec_attn import evaluate, train
from tfrec_attn.data import prepare
from tfrec_attn.data.batches import HeldOut, Windows
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.training import inputs
from tfrec_attn.training.training_run import resolve

SMALL = ["model.name=prme", "model.dim=4", "data.events=1500", "train.epochs=1"]
TIMES = [0, 5, 7, 30, 90, 3, 4, 14, 19]


@pytest.fixture
def split(make_leave_one_out):
    """Two users of 5 and 4 events."""
    split = make_leave_one_out([[1, 2, 3, 4, 5], [3, 1, 2, 5]], 6)
    return dataclasses.replace(
        split, sequences=dataclasses.replace(split.sequences, timestamps=np.array(TIMES))
    )


def test_gaps_by_hand(split):
    inf = np.inf
    np.testing.assert_array_equal(split.sequences.time_gaps(), [inf, 5, 2, 23, 60, inf, 1, 10, 5])


def test_windows_and_held_out_events_have_them(split):
    windows = Windows(split, max_length=1, targets=1, batch_size=3, gaps=True)
    batch = windows.batch(tf.constant(0, tf.int64))
    found = {tuple(one) for one in zip(*(np.ravel(batch[key]) for key in ("user", "targets")))}
    assert found == {(1, 2), (1, 3), (2, 1)}
    gaps = dict(zip(batch["targets"].numpy()[:, 0].tolist(), batch["gap"].numpy().tolist()))
    assert gaps == {2: 5.0, 3: 2.0, 1: 1.0}
    for part, expected in (("valid", [10.0, 23.0]), ("test", [5.0, 60.0])):
        (block,) = HeldOut(split, part, gaps=True).dataset()
        assert block["gap"].numpy().tolist() == expected
        (block,) = HeldOut(split, part).dataset()
        assert "gap" not in block


def test_only_a_model_that_asks_gets_them(split):
    for keys, has in ((["model.max_gap=9"], True), ([], False)):
        config = resolve(configuration.load(None, ["model.name=prme", "data.max_length=1", *keys]))
        stream = inputs.training_stream(config, split)
        (block,) = inputs.held_out(config, split, "valid").dataset()
        assert [("gap" in stream.batch(tf.constant(0, tf.int64))), "gap" in block] == [has, has]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gaps") / "run"
    keys = [*SMALL, "model.max_gap=1000", "evaluate.bootstrap=0", f"run_dir={folder}"]
    code, _, error = run_command(train.main, *keys)
    assert code == 0, error
    return folder


def test_a_run_is_evaluated_with_them(folder):
    code, out, _ = run_command(evaluate.main, folder, "--json")
    assert code == 0
    assert json.loads(out)["test"] == pytest.approx(metrics_of(folder)["test"], abs=1e-6)
    code, out, _ = run_command(evaluate.main, folder, "--json", "--on", "current-log")
    assert code == 0 and json.loads(out)["current_log"]["same"]


def test_a_run_with_them_is_not_exported(folder, tmp_path):
    result = run_command(command.main, folder, "--to", tmp_path / "servables")
    assert_refused(result, 2, "model.max_gap=1000.0 needs the time since the latest event", "null")
    assert not (tmp_path / "servables").exists()


def test_shards_are_refused(tmp_path):
    synthetic(1500).write_csv(tmp_path / "log.csv")
    assert run_command(prepare.main, tmp_path / "log.csv", "--to", tmp_path / "log")[0] == 0
    keys = [f"data.source={tmp_path / 'log'}", "data.cache=stream", "model.max_gap=9"]
    result = run_command(train.main, SMALL[0], *keys, f"run_dir={tmp_path / 'run'}")
    assert_refused(result, 2, "model.max_gap needs the times of all events in memory", "memory")
    assert not (tmp_path / "run").exists()
