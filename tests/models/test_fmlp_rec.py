"""FMLP-Rec: numbers worked by an independent script."""

import numpy as np
import tensorflow as tf

from tests.models import worked
from tfrec_attn.models import FMLPRec

FILTER = np.array([[0.5 + 0.1j, -0.2 + 0.2j, 0.1 + 0.3j], [0.3 + 0.2j, 0.4 - 0.1j, -0.6 + 0.1j]])


def test_scores():
    model = FMLPRec(1, 3, 2, dim=3, num_blocks=1, dropout=0.0)
    worked.fill(model.items, worked.WIDE_ITEMS)
    model.embedding.positions.table.assign(worked.POSITIONS)
    (block,) = model.blocks
    block.filter.kernel.assign([FILTER.real.T, FILTER.imag.T])
    # A network that adds nothing to what is normalised already.
    worked.assign(block.feed_forward, hidden_kernel=[[0]], output_kernel=[[0]])
    features = {"user": tf.constant([1]), "history": tf.constant([[1, 2]])}
    x = model.embedding(model.items(features["history"]), mask=tf.constant([[True, True]]))
    worked.near(block.filter(x)[0, -1], [0.106904, 0.523366, 0.399728])
    worked.near(model.query_vectors(features)[0], [-0.222271, 1.320659, -1.098388])
    worked.near(worked.scores(model, [1, 2]), [-0.771465, 1.758717, 1.157197])
