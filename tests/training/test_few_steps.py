"""Trainings of a few steps, which run eagerly: the same result as with a trace."""

import numpy as np
import pytest

from tests.commands import TINY, history_of, metrics_of
from tfrec_attn import config as configuration
from tfrec_attn.training import fitting, training_run


@pytest.mark.parametrize("name", ["attrec", "sasrec"])
def test_eager_steps_train_as_traced_ones(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    compiled, found = [], []
    original = fitting.compile_model

    def compile_model(model, *arguments):
        original(model, *arguments)
        compiled.append(model.run_eagerly)

    monkeypatch.setattr(fitting, "compile_model", compile_model)
    keys = [*TINY, f"model.name={name}", "train.epochs=1", "train.batch_size=256"]
    for few in (0, fitting._FEW_STEPS):
        monkeypatch.setattr(fitting, "_FEW_STEPS", few)
        config = configuration.load(None, [*keys, f"run_dir=runs/{few}"])
        found.append(training_run.train(config))
    assert compiled == [False, True]
    losses, valid = (
        [[float(row[key]) for row in history_of(one)] for one in found]
        for key in ("loss", "val_MRR")
    )
    np.testing.assert_allclose(*losses, rtol=1e-4)
    np.testing.assert_allclose(*valid, rtol=2e-2)
    tests = [metrics_of(one)["test"]["MRR"] for one in found]
    np.testing.assert_allclose(*tests, rtol=2e-2)
