"""Fixtures of the tests of engines: the models, runs and servables of the tests of the export."""

from tests.export.conftest import exported, make_model, run_folder, served

__all__ = ["exported", "make_model", "run_folder", "served"]
