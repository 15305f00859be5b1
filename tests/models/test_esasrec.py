"""eSASRec: numbers worked by an independent script."""

import tensorflow as tf

from tests.models import worked
from tfrec_attn.models import ESASRec


def test_scores():
    model = ESASRec(1, 3, 2, dim=3, num_blocks=1, dropout=0.0)
    worked.fill(model.items, worked.WIDE_ITEMS)
    model.embedding.positions.table.assign(worked.POSITIONS)
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
        gate_kernel=worked.HIDDEN,
        value_kernel=[[0.1, 0.4, 0], [-0.2, 0.1, 0.3], [0.5, 0, -0.1]],
        output_kernel=worked.NARROW,
    )
    worked.assign(
        block,
        attention_gate_kernel=[[0.2, 0, -0.1], [0.1, 0.3, 0], [0, -0.2, 0.4]],
        feed_forward_gate_kernel=[[-0.3, 0.1, 0], [0.2, 0.2, 0.1], [0, 0, 0.5]],
    )
    features = {"user": tf.constant([1]), "history": tf.constant([[1, 2]])}
    worked.near(model.query_vectors(features)[0], [-0.110657, 0.627284, -1.108152])
    worked.near(worked.scores(model, [1, 2]), [-0.664733, 1.421794, 0.405575])
