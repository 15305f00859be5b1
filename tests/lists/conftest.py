"""Fixtures of the tests of lists: the models, runs and servables of the tests of the export."""

import functools

import pytest

from tests.export.conftest import exported, make_model, run_folder, served
from tfrec_attn.lists import model_folder
from tfrec_attn.runtime.runner import Runner

__all__ = ["exported", "make_model", "run_folder", "served"]


@pytest.fixture(autouse=True)
def _no_optimizer(monkeypatch):
    """TensorFlow optimizes no graph: that takes longer than the few calls of a test."""
    monkeypatch.setattr(model_folder, "Runner", functools.partial(Runner, optimize=False))
