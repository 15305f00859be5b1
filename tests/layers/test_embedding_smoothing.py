"""Item vectors smoothed along transitions, against NumPy, and in the training of models."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import EmbeddingSmoothing
from tfrec_attn.models import AttRec, LightGCN, SASRec
from tfrec_attn.models.base import SequenceModel

# Item 1 is followed once by 2 and three times by 3; item 2 by nothing; item 3 twice by itself;
# nothing comes before or after item 4.
TRANSITIONS = ([0, 0, 2, 2, 3, 3], [2, 3, 3], [1, 3, 2])
COUNTS = np.zeros([5, 5])
COUNTS[1, 2], COUNTS[1, 3], COUNTS[3, 3] = 1, 3, 2
VECTORS = np.random.default_rng(1).normal(size=[5, 2]).astype("float32")


def graph(weight=1.0):
    matrix = weight * (COUNTS + COUNTS.T) + np.eye(5)
    roots = np.sqrt(matrix.sum(axis=1))
    return matrix / np.outer(roots, roots)


def test_worked_by_hand():
    # Sums of the rows of C + Cᵀ + I: 1 + 1 + 3, 1 + 1 and 3 + 4 + 1.
    expected = VECTORS[1] / 5 + VECTORS[2] / np.sqrt(5 * 2) + 3 * VECTORS[3] / np.sqrt(5 * 8)
    found = EmbeddingSmoothing(TRANSITIONS)(VECTORS)
    np.testing.assert_allclose(found[1], expected, rtol=1e-6)
    np.testing.assert_allclose(found.numpy()[[0, 4]], VECTORS[[0, 4]], rtol=1e-6)


@pytest.mark.parametrize(("weight", "num_layers"), [(1.0, 1), (0.1, 3)])
def test_by_numpy(weight, num_layers):
    layer = EmbeddingSmoothing(TRANSITIONS, weight, num_layers)
    expected = np.linalg.matrix_power(graph(weight), num_layers) @ VECTORS
    np.testing.assert_allclose(layer(VECTORS), expected, rtol=1e-5, atol=1e-6)
    again = EmbeddingSmoothing.from_config(layer.get_config())
    np.testing.assert_array_equal(again(VECTORS), layer(VECTORS))


@pytest.mark.parametrize("loss", ["softmax", "bce"])
def test_a_model_trains_what_is_smoothed(loss):
    features = {
        "user": tf.constant([1]),
        "history": tf.constant([[0, 1, 3]]),
        "targets": tf.constant([[0, 3, 2]]),
        "normalizer": tf.constant([0.5]),
    }
    if loss == "bce":
        features["negatives"] = tf.constant([[[1], [2], [4]]])
    smoothed, plain = (SASRec(1, 4, 3, dim=2, dropout=0.0, stddev=1.0) for _ in range(2))
    plain.set_weights(smoothed.get_weights())
    plain.items.embeddings.assign(graph() @ smoothed.items.embeddings.numpy())
    found = []
    for model, layer in ((smoothed, EmbeddingSmoothing(TRANSITIONS)), (plain, None)):
        model.compile("sgd", loss, reduction="mean", distillation=layer)
        with tf.GradientTape() as tape:
            value = model.compute_loss(features, training=True)
        slopes = tape.gradient(value, model.trainable_variables)
        found.append([float(value), *(tf.convert_to_tensor(one).numpy() for one in slopes)])
    place = 1 + [one.shape for one in smoothed.trainable_variables].index((5, 2))
    found[1][place] = graph() @ found[1][place]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


class WithoutTable(SequenceModel):
    """A model whose item vectors are in no `EmbeddingTable`."""


@pytest.mark.parametrize(
    ("model", "loss", "message"),
    [
        (WithoutTable(1, 4, 3), "hinge", "WithoutTable has no EmbeddingTable of items"),
        (AttRec(1, 4, 3, dim=2, max_norm=1.0), "hinge", "AttRec keeps its item vectors within max"),
        (LightGCN(1, 4, dim=2), "bpr", "LightGCN already spreads its item vectors on a graph"),
    ],
    ids=["no-table", "max-norm", "graph"],
)
def test_models_that_cannot_be_smoothed(model, loss, message):
    with pytest.raises(ValueError, match=message):
        model.compile("sgd", loss, distillation=EmbeddingSmoothing(TRANSITIONS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": 0}, "`weight` must be a finite number above 0"),
        ({"num_layers": 0}, "`num_layers` must be an integer of at least 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingSmoothing(TRANSITIONS, **arguments)
    with pytest.raises(ValueError, match=r"must have the shape \[5, D\] with a known D"):
        EmbeddingSmoothing(TRANSITIONS)(VECTORS[:3])
