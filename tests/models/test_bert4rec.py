"""BERT4Rec: numbers worked by an independent script, and what its attention means."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models import worked
from tfrec_attn.models import BERT4Rec


@pytest.fixture(scope="module")
def model():
    model = BERT4Rec(1, 3, 3, dim=3, num_blocks=1, num_heads=1, dropout=0.0)
    worked.fill(model.items, worked.WIDE_ITEMS)
    worked.fill(model.biases, worked.BIASES)
    worked.fill(model.mask, [[0.3, -0.2, 0.1]])
    model.embedding.positions.table.assign([*worked.POSITIONS, [0.05, 0.15, -0.1]])
    (block,) = model.blocks
    worked.assign(
        block.attention,
        query_kernel=worked.QUERY,
        key_kernel=worked.KEY,
        value_kernel=worked.VALUE,
        output_kernel=worked.OUTPUT,
    )
    worked.assign(
        block.feed_forward,
        hidden_kernel=worked.HIDDEN,
        hidden_bias=worked.HIDDEN_BIAS,
        output_kernel=worked.NARROW,
        output_bias=worked.NARROW_BIAS,
    )
    worked.assign(
        model.projection,
        kernel=[[0.5, 0.1, 0], [0, 0.6, 0.2], [-0.1, 0, 0.7]],
        bias=[0.05, 0, 0],
    )
    return model


def test_scores(model):
    # A history of the length of the window loses its first item to the mask.
    for history in ([1, 2], [0, 1, 2], [3, 1, 2]):
        worked.near(worked.scores(model, history), [1.131839, 0.236390, -1.247758])
    features = {"user": tf.constant([1]), "history": tf.constant([[0, 1, 2]])}
    worked.near(model.query_vectors(features)[0], [1.412763, -0.650915, -0.761847, 1])


def test_attention_is_that_of_the_mask(model):
    # The third weight, .371358, is that of the mask itself.
    for history, expected in (
        ([1, 2], [0.390653, 0.237989]),
        ([0, 1, 2], [0, 0.390653, 0.237989]),
        ([3, 1, 2], [0, 0.390653, 0.237989]),
    ):
        features = {"user": tf.constant([1]), "history": tf.constant([history])}
        worked.near(model.attention(features)[0], expected)


def test_a_masked_position_reads_both_sides(model):
    def at_mask(history):
        return model.sequence_vectors({"history": tf.constant([history])})[0, 1].numpy()

    base = at_mask([1, 4, 2])
    assert np.abs(at_mask([3, 4, 2]) - base).max() > 1e-3
    assert np.abs(at_mask([1, 4, 3]) - base).max() > 1e-3
