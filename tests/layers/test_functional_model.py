"""The functional model of the documentation, with layers of KerasHub and Keras Recommenders."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.keras_versions import IS_KERAS_3

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api" / "layers.md"


@pytest.mark.skipif(not IS_KERAS_3, reason="a model of Keras 3")
def test_layers_beside_those_of_other_packages(tmp_path):
    for package in ("keras_hub", "keras_rs"):
        pytest.importorskip(package)
    (program,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    namespace = {}
    exec(compile(program, PAGE.name, "exec"), namespace)
    model = namespace["model"]
    histories = np.random.default_rng(1).integers(1, 1001, (8, 50)).astype(np.int32)
    histories[:, :20] = 0
    losses = model.fit(histories, histories[:, -1], epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(histories, verbose=0), model.predict(histories, verbose=0)
    )
