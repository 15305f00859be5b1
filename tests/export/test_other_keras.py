"""A run made under one Keras opens under the other, and both make the same servable."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.export.other_keras import scores
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
