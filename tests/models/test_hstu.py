"""HSTU: numbers worked by an independent script."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models import worked
from tfrec_attn.models import HSTU

FEATURES = {"user": tf.constant([1]), "history": tf.constant([[1, 2]])}
GATE = [[0.4, 0.1, 0], [0, 0.3, 0.2], [0.1, -0.1, 0.5]]


def small(**options):
    model = HSTU(1, 3, 2, dim=3, num_blocks=1, dropout=0.0, **options)
    worked.fill(model.items, worked.WIDE_ITEMS)
    # The input is E + P there, here E sqrt(3) + P.
    model.embedding.positions.table.assign(
        worked.POSITIONS + (1 - np.sqrt(3)) * np.array(worked.WIDE_ITEMS[:2])
    )
    (block,) = model.blocks
    kernels = GATE, worked.VALUE, worked.QUERY, worked.KEY
    worked.assign(block, input_kernel=np.concatenate(kernels, axis=1), output_kernel=worked.OUTPUT)
    return model


def test_inner_products():
    model = small(temperature=None)
    worked.near(model.attention_map(FEATURES)[0], np.abs([[0.047173, 0], [-0.016823, 0.018259]]))
    worked.near(model.query_vectors(FEATURES)[0], [-0.154562, 0.891851, -1.003925])
    worked.near(worked.scores(model, [1, 2]), [-0.656524, 1.449850, 0.718150])


def test_the_attention_of_heads_with_opposite_signs():
    model = HSTU(1, 4, 3, dim=4, num_blocks=1, num_heads=2, dropout=0.0)
    (block,) = model.blocks
    block.input_kernel.assign(np.random.default_rng(0).normal(size=(4, 16)))
    worked.fill(model.items, np.random.default_rng(1).normal(size=(4, 4)))
    history = tf.constant([[2, 4, 1]])
    x = model.embedding(model.items(history), mask=history > 0)
    _, scores = block(x, mask=history > 0, return_attention_scores=True)
    assert (np.sign(scores[0, 0]) * np.sign(scores[0, 1]) < 0).any()
    found = model.attention_map({"user": tf.constant([1]), "history": history})
    np.testing.assert_allclose(found, np.abs(scores).mean(axis=1), rtol=1e-5)


def test_cosines():
    found = worked.scores(small(temperature=0.5), [1, 2])
    lengths = np.linalg.norm(worked.WIDE_ITEMS, axis=1) * np.linalg.norm(
        [-0.154562, 0.891851, -1.003925]
    )
    worked.near(found, np.array([-0.656524, 1.449850, 0.718150]) / lengths / 0.5)


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf")])
def test_a_temperature_that_does_not_fit(temperature):
    with pytest.raises(ValueError, match="`temperature` must be a finite number above 0"):
        HSTU(1, 3, temperature=temperature)
