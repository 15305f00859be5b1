"""Experiment trackers: what they get, and what happens if they fail."""

import importlib.machinery
import sys
import types

import pytest

from tests.commands import TINY, assert_refused, history_of, metrics_of, run_command
from tfrec_attn import train
from tfrec_attn.config import load
from tfrec_attn.errors import TrainingError
from tfrec_attn.training.trackers import Tracking


class Library(types.ModuleType):
    """A library that records the calls of its functions, and of the run that it returns."""

    def __init__(self, name, *functions):
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.calls = []
        for function in functions:
            setattr(self, function, self._recorder(function))

    def _recorder(self, name):
        def record(*arguments, **options):
            self.calls.append((name, *arguments, options))
            return self

        return record

    @property
    def summary(self):
        return types.SimpleNamespace(update=self._recorder("summary"))

    def named(self, name):
        return [call[1:] for call in self.calls if call[0] == name]


@pytest.fixture
def mlflow(monkeypatch):
    library = Library("mlflow", "start_run", "log_params", "log_metrics", "end_run")
    monkeypatch.setitem(sys.modules, "mlflow", library)
    return library


@pytest.fixture
def wandb(monkeypatch):
    library = Library("wandb", "init", "log", "finish")
    monkeypatch.setitem(sys.modules, "wandb", library)
    return library


def test_mlflow_gets_what_the_run_has(mlflow, tmp_path):
    folder = tmp_path / "run"
    assert run_command(train.main, *TINY, "train.tracker=mlflow", f"run_dir={folder}")[0] == 0
    assert mlflow.calls[0] == ("start_run", {"run_name": "run"})
    assert mlflow.calls[-1] == ("end_run", "FINISHED", {})
    parameters = {}
    for values, _ in mlflow.named("log_params"):
        assert len(values) <= 100
        parameters |= values
    assert (parameters["model.dim"], parameters["train.distillation.weight"]) == (8, 0.0)
    *epochs, (test, _) = mlflow.named("log_metrics")
    history = history_of(folder)
    assert [options["step"] for _, options in epochs] == [0, 1] and len(history) == 2
    for (metrics, _), row in zip(epochs, history, strict=True):
        assert metrics["val_NDCG_at_10"] == pytest.approx(float(row["val_NDCG@10"]))
        assert metrics["loss"] == pytest.approx(float(row["loss"])) and len(metrics) == len(row) - 1
    expected = metrics_of(folder)["test"]
    assert test == {f"test_{one.replace('@', '_at_')}": value for one, value in expected.items()}


def test_weights_and_biases(wandb, tmp_path):
    config = load(overrides=["train.tracker=wandb", f"run_dir={tmp_path / 'shop'}"])
    with Tracking(config) as tracking:
        tracking.log({"val_MRR": 0.5}, 0)
        tracking.log({"test_MRR": 0.25})
    (options,) = wandb.named("init")[0]
    assert options["name"] == "shop" and options["config"]["train.tracker"] == "wandb"
    assert wandb.named("log") == [({"val_MRR": 0.5}, {"step": 0})]
    assert wandb.named("summary") == [({"test_MRR": 0.25}, {})]
    assert wandb.named("finish") == [({"exit_code": 0},)]
    with pytest.raises(KeyError), Tracking(config):
        raise KeyError
    assert wandb.named("finish")[1:] == [({"exit_code": 1},)]


def test_processes_that_do_not_track(mlflow):
    """Neither without a tracker nor as a further worker of a cluster."""
    for config, is_chief in ((load(), True), (load(overrides=["train.tracker=mlflow"]), False)):
        with Tracking(config, is_chief) as tracking:
            tracking.log({"loss": 1.0}, 0)
    assert mlflow.calls == []


def test_trackers_that_fail(mlflow, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no such server\nat all")

    mlflow.log_metrics = refuse
    config = load(overrides=["train.tracker=mlflow", f"run_dir={tmp_path / 'run'}"])
    sentence = (
        r"^train\.tracker=mlflow failed \(no such server\); correct its settings, or leave it"
    )
    with pytest.raises(TrainingError, match=sentence), Tracking(config) as tracking:
        tracking.log({"loss": 1.0}, 0)
    assert mlflow.calls[-1] == ("end_run", "FAILED", {})
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run_command(train.main, *TINY, "train.tracker=mlflow", f"run_dir={tmp_path / 'run'}")
    assert_refused(result, 2, "needs the package mlflow; install the extra trackers")
    assert not list(tmp_path.iterdir())
    result = run_command(train.main, *TINY, "train.tracker=neptune")
    assert_refused(result, 2, "train.tracker must be one of mlflow, wandb, null, but is 'neptune'")
