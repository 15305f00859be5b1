"""Folders with the modules of the shop."""

import sys

import pytest

from tests.extensions.foreign_code import LOSSES, MODEL, SOURCE


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder, not on the path as for a console script.

    Its modules are forgotten after the test.
    """
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and file.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def shop(folder):
    """A folder with a module of each kind."""
    for name, text in (("shop_models", MODEL), ("shop_losses", LOSSES), ("shop_data", SOURCE)):
        (folder / f"{name}.py").write_text(text)
    return folder
