"""A run made under one Keras opens and is resumed under the other; both make the same servable."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.commands import history_of
from tests.export.other_keras import interrupted, public_names, resumed, scores
from tests.training.interrupted import OFTEN, SAMPLED, last
from tests.training.interrupted import weights as values
from tfrec_attn import config as configuration
from tfrec_attn.keras_versions import IS_KERAS_3
from tfrec_attn.runs import run, weights
from tfrec_attn.runtime.runner import Runner

REPOSITORY = Path(__file__).resolve().parents[2]
REQUEST = {"user_id": ["person-1", ""], "history": [["", "i3"], ["a b", "i7"]]}


@pytest.fixture(scope="module")
def there(exported, tmp_path_factory):
    """(run of this process, its servable, what the process with the other Keras wrote)."""
    old, servable, _ = exported("attrec")
    folder = tmp_path_factory.mktemp("there")
    config = configuration.load(None, [*SAMPLED, OFTEN, f"run_dir={folder / 'whole'}"])
    with contextlib.redirect_stdout(io.StringIO()):
        interrupted(config, folder / "resumed.partial", 9)
    process = subprocess.run(
        [sys.executable, "-m", "tests.export.other_keras", str(old), str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1" if IS_KERAS_3 else "0"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout == ("tf_keras" if IS_KERAS_3 else "keras")
    return old, servable, folder


def test_scores_are_the_same_both_ways(there):
    old, _, folder = there
    by_other = np.load(folder / "scores.npz")
    for path, expected in ((old, by_other["old"]), (folder / "run", by_other["new"])):
        np.testing.assert_allclose(scores(path), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(by_other["old"] - by_other["new"]).max() > 1e-3


def test_names_of_the_weights_are_the_same(there):
    old, _, folder = there
    names = [weights.saved_weights(path / "checkpoints" / "best") for path in (old, folder / "run")]
    assert names[0] == names[1]
    assert len(names[0]) == len(weights.named_weights(run.load_model(old))) > 3


def test_the_servables_are_the_same(there):
    _, servable, folder = there
    found = []
    for path in (servable, folder / "servable" / "1"):
        with Runner(path, optimize=False) as runner:
            found.append((runner.run("serving_default", **REQUEST), sorted(runner.signatures)))
    (own, names), (other, other_names) = found
    assert names == other_names
    np.testing.assert_array_equal(own["items"], other["items"])
    np.testing.assert_allclose(own["scores"], other["scores"], rtol=1e-5, atol=1e-6)


def test_no_public_name_differs(there):
    here, other = public_names(), json.loads((there[2] / "names.json").read_text())
    assert here.keys() == other.keys() and len(here) > 40
    for part, (known, own) in here.items():
        known_there, own_there = other[part]
        assert set(own) <= set(known_there) and set(own_there) <= set(known), part
    assert "apply_summed" in here["tfrec_attn.keras_versions.keras"][1]
    assert {"fit", "recommend"} <= set(here["AttRec"][0])


@pytest.mark.parametrize("way", ["there", "here"])
def test_a_run_is_resumed_under_the_other_keras(there, way):
    *_, folder = there
    if way == "there":
        whole, found = folder / "whole", folder / "resumed"
    else:
        whole, (found, out) = folder / "run", resumed(folder / "half.partial")
        assert "Resuming from" in out
    for prefix in (lambda run: run / "checkpoints" / "best", last):
        expected, actual = values(prefix(whole)), values(prefix(found))
        assert actual.keys() == expected.keys()
        assert any(name.startswith("optimizer/") for name in expected)
        for name, value in expected.items():
            # Attention does not depend on the bias of its keys, whose gradients are rounding.
            if "key_bias" not in name:
                limit = 1e-5 * np.abs(value).max()
                np.testing.assert_allclose(actual[name], value, rtol=0, atol=limit, err_msg=name)
    for row, wanted in zip(history_of(found), history_of(whole), strict=True):
        metrics = [name for name in wanted if not name.endswith("seconds")]
        assert [float(row[one]) for one in metrics] == pytest.approx(
            [float(wanted[one]) for one in metrics], rel=1e-5
        )
