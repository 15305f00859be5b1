"""Runs of models, losses and sources of other packages, and of their other versions."""

import json
import shutil
import sys

import numpy as np
import pytest

from tests.commands import run_command
from tests.extensions.foreign_code import LOSSES, MODEL, SOURCE, TINY, without
from tests.training.test_resume import kill
from tfrec_attn import evaluate, train
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of its own model, loss and source, its arguments and its output."""
    folder = tmp_path_factory.mktemp("shop")
    for name, text in (("run_models", MODEL), ("run_losses", LOSSES), ("run_data", SOURCE)):
        (folder / f"{name}.py").write_text(text)
    arguments = [
        *TINY,
        "model.name=run_models:Mean",
        "train.loss=run_losses:square",
        "data.source=run_data:clicks",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path, str(folder)])
        code, out, error = run_command(train.main, *arguments)
        assert (code, error) == (0, "")
        yield folder, arguments, out


def test_a_run_of_another_package(trained):
    folder, arguments, out = trained
    assert "Wrote runs/clicks-Mean: " in out and "\nMean " in out
    config = run.load_config(folder / "runs" / "clicks-Mean")
    assert (config.model.name, config.train.loss, config.data.source) == (
        "run_models:Mean",
        "run_losses:square",
        "run_data:clicks",
    )
    assert (config.data.max_length, config.model.parameters) == (4, {"dim": 8})
    code, out, _ = run_command(train.main, *arguments)
    assert code == 0 and out.endswith("clicks-Mean\n") and "is already complete" in out


def test_the_loss_is_used(trained):
    # The scores are about 0, so each of the 3 x 2 pairs of a window has a loss of about 1.
    lines = (trained[0] / "runs" / "clicks-Mean" / "history.csv").read_text().splitlines()
    first = float(lines[1].split(",")[lines[0].split(",").index("loss")])
    assert first == pytest.approx(6.0, rel=0.05)


def test_evaluation(trained):
    folder = trained[0] / "runs" / "clicks-Mean"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert evaluate.evaluate(folder)["test"] == pytest.approx(metrics["test"])
    assert evaluate.evaluate(folder, on="current-log")["current_log"]["same"]


def test_resuming(trained, tmp_path):
    arguments = [*trained[1], f"run_dir={tmp_path}/run"]
    # In the second of two epochs, each of one step.
    kill(arguments, 2)
    assert (tmp_path / "run.partial").is_dir()
    code, out, _ = run_command(train.main, *arguments)
    assert code == 0 and "Resuming from" in out
    one, other = (
        json.loads((place / "metrics.json").read_text())
        for place in (tmp_path / "run", trained[0] / "runs" / "clicks-Mean")
    )
    assert one["test"] == other["test"]


def test_warm_start(trained, tmp_path):
    code, out, error = run_command(
        train.main,
        *trained[1],
        f"run_dir={tmp_path}/run",
        "train.epochs=1",
        "train.warm_start=runs/clicks-Mean",
    )
    assert (code, error) == (0, "")
    assert "overlap@10" in out


def copy_of(trained, tmp_path):
    shutil.copytree(trained[0] / "runs" / "clicks-Mean", tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text(
        (tmp_path / "run" / "config.yaml").read_text().replace("run_models:", "shop:")
    )
    (tmp_path / "run" / "SHA256SUMS").unlink()
    return tmp_path / "run"


RENAMED = (
    without(MODEL, "dim=8", "width=8")
    .replace("= dim", "= width")
    .replace(", dim,", ", width,")
    .replace("self.dim", "self.width")
)
WIDER = without(MODEL, "num_items, dim, stddev", "num_items, dim + 1, stddev")
MORE = without(
    MODEL,
    "        self.items =",
    "        self.more = EmbeddingTable(num_items, dim, name='more')\n        self.items =",
)
FEWER = without(
    without(
        without(
            without(
                MODEL,
                'EmbeddingTable(num_items, dim, stddev=0.1, name="items")',
                "tf.ones([num_items + 1, dim]) * tf.one_hot(0, num_items + 1, 0.0, 1.0)[:, None]",
            ),
            'self.items(features["history"])',
            'tf.gather(self.items, features["history"])',
        ),
        "self.items.rows(items)",
        "self.items if items is None else tf.gather(self.items, items)",
    ),
    "{self.items: 0}",
    "{}",
)
OTHER = (
    "the weights in RUN are of another model than its config.yaml describes; "
    "install the version that it was trained with, or train again."
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            RENAMED,
            "RUN is of another version of model.name=shop:Mean, which has no dim now: "
            "install that version, or train again.",
        ),
        (WIDER, OTHER),
        (MORE, OTHER),
        (FEWER, OTHER),
        (None, "model.name=shop:Mean names no module: there is no shop in FOLDER or installed."),
    ],
)
def test_runs_of_another_version_of_the_model(text, sentence, trained, folder):
    found = copy_of(trained, folder)
    if text:
        (folder / "shop.py").write_text(text)
    with pytest.raises(ConfigError) as caught:
        run.load_model(found)
    assert str(caught.value).replace(str(found), "RUN").replace(str(folder), "FOLDER") == sentence


def test_evaluation_needs_neither_loss_nor_source(trained, folder):
    found = copy_of(trained, folder)
    (folder / "shop.py").write_text(MODEL)
    config = (found / "config.yaml").read_text()
    (found / "config.yaml").write_text(
        config.replace("run_losses:", "gone:").replace("run_data:", "gone:")
    )
    assert np.isfinite(evaluate.evaluate(found)["test"]["MRR"])
