"""SASRec: numbers worked by an independent script, with the losses of its successors."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models import worked
from tfrec_attn.keras_versions.variables import variable_of
from tfrec_attn.models import SASRec


@pytest.fixture(scope="module")
def model():
    model = SASRec(1, 3, 2, dim=3, num_blocks=1, dropout=0.0)
    worked.fill(model.items, worked.WIDE_ITEMS)
    model.embedding.positions.table.assign(worked.POSITIONS)
    (block,) = model.encoder.blocks
    worked.assign(
        block.attention,
        query_kernel=worked.QUERY,
        key_kernel=worked.KEY,
        value_kernel=worked.VALUE,
    )
    worked.assign(
        block.feed_forward,
        hidden_kernel=worked.HIDDEN,
        hidden_bias=worked.HIDDEN_BIAS,
        output_kernel=worked.NARROW,
        output_bias=worked.NARROW_BIAS,
    )
    return model


def test_scores(model):
    features = {"user": tf.constant([1]), "history": tf.constant([[1, 2]])}
    worked.near(model.attention(features)[0], [0.325087, 0.674913])
    worked.near(model.query_vectors(features)[0], [0.526043, 0.873842, -1.399885])
    worked.near(worked.scores(model, [1, 2]), [-0.173899, 1.836806, 0.260849])


@pytest.mark.parametrize(
    ("loss", "negatives", "expected"),
    [
        ("bce", [[[0], [3]]], 1.615925),
        # The authors divide by one more than the number of negatives.
        ("gbce", [[[0], [3]]], 1.321973),
        ("sampled_softmax", [[3]], 0.933963),
        ("softmax", None, np.log(np.exp([-0.173899, 1.836806, 0.260849]).sum()) + 0.173899),
    ],
)
def test_losses_of_target_1_and_negative_3(model, loss, negatives, expected):
    batch = {
        "user": tf.constant([1]),
        "history": tf.constant([[1, 2]]),
        "targets": tf.constant([[0, 1]]),
        "normalizer": tf.constant([1.0]),
    }
    if negatives is not None:
        batch["negatives"] = tf.constant(negatives)
    model.compile("sgd", loss, calibration=0.75)
    worked.near(model.compute_loss(batch), expected)


def test_ranks_and_recommendations_read_a_trained_table_without_a_copy(model):
    features = {name: tf.constant([1]) for name in ("user", "target")}
    features |= {"history": tf.constant([[1, 2]]), "seen": tf.constant([[1, 2]])}
    table = variable_of(model.items.embeddings)
    for use in (lambda: model.recommend([[1, 2]]), lambda: model.traced_ranks()(features)):
        # After a lookup, TensorFlow copies the whole table whenever it is read.
        tf.gather(table, [1])
        use()
        once, again = (np.asarray(memoryview(tf.convert_to_tensor(table))) for _ in range(2))
        assert np.shares_memory(once, again)
