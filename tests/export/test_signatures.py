"""Tests of the shapes that signatures accept and return, through the loader of TF Serving."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import EXPORTED
from tfrec_attn import models

EACH = pytest.mark.parametrize("name", EXPORTED)
# For what does not depend on the model: one that uses users and one that does not.
ONE_OF_EACH = pytest.mark.parametrize(
    "name",
    [
        next(name for name in EXPORTED if models.get(name).uses_user == uses_user)
        for uses_user in (True, False)
    ],
)


@EACH
@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (0, 0), (2, 0)])
def test_empty_batches_and_empty_rows(name, served, rows, columns):
    _, _, runner = served(name)
    for signature, (inputs, outputs) in runner.signatures.items():
        arrays = {
            key: np.zeros([rows, columns][: len(spec.shape)], np.int32)
            if spec.dtype == tf.int32
            else np.full([rows, columns][: len(spec.shape)], "", object)
            for key, spec in inputs.items()
        }
        result = runner.run(signature, **arrays)
        assert {key: (len(value), value.ndim) for key, value in result.items()} == {
            key: (rows, len(spec.shape)) for key, spec in outputs.items()
        }


@ONE_OF_EACH
def test_inputs_of_another_rank_are_refused(name, served):
    """A handle of a tensor passes the check of Python, as the C++ session compares no ranks."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
        loaded = tf.compat.v1.saved_model.loader.load(
            session, [tf.saved_model.SERVING], str(served(name)[2].path)
        )
        for signature in loaded.signature_def.values():
            for wrong in signature.inputs.values():
                feed = {
                    info.name: np.full(
                        [1] * len(info.tensor_shape.dim), 1 if info.dtype == tf.int32 else "a"
                    )
                    for info in signature.inputs.values()
                }
                value = tf.constant(feed[wrong.name][np.newaxis].tolist(), wrong.dtype)
                feed[wrong.name] = session.run(tf.compat.v1.get_session_handle(value))
                with pytest.raises(
                    tf.errors.InvalidArgumentError, match="is not compatible with expected shape"
                ):
                    session.run([info.name for info in signature.outputs.values()], feed)


@ONE_OF_EACH
def test_inputs_of_different_batches_are_refused(name, served):
    runner = served(name)[2]
    for signature, (inputs, _) in runner.signatures.items():
        for wrong in inputs if len(inputs) > 1 else ():
            arrays = {
                key: np.full(
                    [1 + (key == wrong)] + [2] * (len(spec.shape) - 1),
                    1 if spec.dtype == tf.int32 else "a",
                )
                for key, spec in inputs.items()
            }
            with pytest.raises(tf.errors.InvalidArgumentError):
                runner.run(signature, **arrays)


@EACH
def test_signatures_have_the_batch_first(name, served):
    _, _, runner = served(name)
    with_a_history = {"serving_default", "recommend", "score", "embed", "explain"}
    assert set(runner.signatures) == {
        *with_a_history,
        "embed_items",
        "similar",
        *(f"{one}_joined" for one in with_a_history),
    }
    for inputs, outputs in runner.signatures.values():
        assert all(
            len(spec.shape) >= 1 and spec.shape[0] is None
            for spec in (*inputs.values(), *outputs.values())
        )
    assert runner.signatures["serving_default"][1]["items"].shape == (None, 5)
