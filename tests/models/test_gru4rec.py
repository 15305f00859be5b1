"""GRU4Rec: numbers worked by an independent script, its losses, and what it exports to."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models import worked
from tfrec_attn.models import GRU4Rec


@pytest.fixture(scope="module")
def model():
    model = GRU4Rec(1, 3, 3, dim=2, dropout=0.0)
    worked.fill(model.items, worked.ITEMS)
    worked.fill(model.biases, worked.BIASES)
    update = [[0.1, 0.2], [0.3, -0.1]], [[0.05, -0.2], [0.1, 0.3]], [0, 0.1]
    reset = [[-0.2, 0.4], [0.1, 0.2]], [[0.3, 0.1], [-0.1, 0.2]], [0.1, 0]
    candidate = [[0.5, -0.3], [0.2, 0.6]], [[0.4, 0.1], [-0.2, 0.3]], [0, -0.1]
    kernel, _, bias = (np.concatenate(one, axis=-1) for one in zip(update, reset, candidate))
    worked.assign(
        model.gru,
        kernel=kernel,
        bias=bias,
        gates_recurrent_kernel=np.concatenate([update[1], reset[1]], axis=1),
        recurrent_kernel=candidate[1],
    )
    return model


def test_scores(model):
    features = {"user": tf.constant([1]), "history": tf.constant([[0, 1, 2]])}
    vectors = model.sequence_vectors(features)[0]
    worked.near(vectors, [[0, 0, 1], [0.242602, -0.218259, 1], [0.206595, -0.026640, 1]])
    worked.near(worked.scores(model, [0, 1, 2]), [0.306595, -0.213320, 0.170063])


@pytest.mark.parametrize(
    ("loss", "options", "expected"),
    [
        ("softmax", {}, 0.902983),
        # The correction is the same for all items of a uniform distribution.
        ("sampled_softmax", {}, 0.902983),
        ("bpr_max", {"score_penalty": 0.0}, 0.558978),
        ("bpr_max", {"score_penalty": 1.95}, 0.628482),
        ("top1_max", {}, 0.937116),
    ],
)
def test_losses_of_target_1_and_negatives_2_and_3(model, loss, options, expected):
    batch = {
        "user": tf.constant([1]),
        "history": tf.constant([[0, 1, 2]]),
        "targets": tf.constant([[0, 0, 1]]),
        "normalizer": tf.constant([1.0]),
        "negatives": tf.constant([[2, 3]]),
    }
    model.compile("sgd", loss, **options)
    worked.near(model.compute_loss(batch), expected)
