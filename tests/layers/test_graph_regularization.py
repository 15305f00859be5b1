"""Squared distances along transitions, against loops and values worked by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import GraphRegularization, TransitionDistillation
from tfrec_attn.models import AttRec, SASRec

# Item 1 is followed once by 2 and three times by 3; item 2 by nothing; item 3 twice by itself.
TRANSITIONS = ([0, 0, 2, 2, 3], [2, 3, 3], [1, 3, 2])
VECTORS = np.array([[9, 9], [0, 0], [2, 0], [0, 1]], "float32")


def test_worked_by_hand():
    layer = GraphRegularization(TRANSITIONS)
    # Of item 1: (1/4 * 2² + 3/4 * 1²) / 2 = 0.875; the others have no other item to be close to.
    np.testing.assert_allclose(layer(np.array([1]), VECTORS), 0.875)
    assert not np.any(layer(np.array([2, 3]), VECTORS))
    np.testing.assert_allclose(layer(np.array([1, 2, 1, 3]), VECTORS), 0.4375)
    weights = np.array([0.5, 7.0, 2.0, 7.0], "float32")
    np.testing.assert_allclose(layer(np.array([1, 2, 1, 3]), VECTORS, weights), 2.5 * 0.875)
    assert float(layer(np.zeros(0, "int32"), VECTORS)) == 0.0


def test_gradient_by_hand():
    vectors = tf.Variable(VECTORS)
    with tf.GradientTape() as tape:
        loss = GraphRegularization(TRANSITIONS)(np.array([1, 2]), vectors, np.ones(2))
    # p (E_1 - E_j) at item 1, and its opposite at j.
    expected = [[0, 0], [-0.5, -0.75], [0.5, 0], [0, 0.75]]
    np.testing.assert_allclose(tf.convert_to_tensor(tape.gradient(loss, vectors)), expected)


@pytest.mark.parametrize("of", ["positions", "windows"])
def test_it_is_added_to_the_loss_of_a_model(of):
    if of == "positions":
        model, options = SASRec(1, 3, 3, dim=2, dropout=0.0, stddev=1.0), {"loss": "softmax"}
        features = {"targets": np.array([[0, 3, 2]]), "normalizer": np.array([0.5], "float32")}
    else:
        model, options = AttRec(1, 3, 3, dim=2, stddev=1.0, max_norm=None), {"loss": "hinge"}
        features = {"targets": np.array([[2]]), "negatives": np.array([[[3]]])}
    features |= {"user": np.array([1]), "history": np.array([[0, 1, 3]])}
    features = {name: tf.constant(value) for name, value in features.items()}
    losses = []
    for weight in (0.0, 0.7):
        layer = GraphRegularization(TRANSITIONS) if weight else None
        model.compile(
            "sgd", reduction="mean", distillation=layer, distillation_weight=weight, **options
        )
        losses.append(float(model.compute_loss(features)))
    # Half of the positions, or of the items of the window, are item 1.
    vectors = model.item_vectors().numpy()
    shares = {2: 0.25, 3: 0.75}
    expected = sum(
        0.5 * share * np.sum((vectors[1] - vectors[j]) ** 2) for j, share in shares.items()
    )
    np.testing.assert_allclose(losses[1] - losses[0], 0.7 * 0.5 * expected, rtol=1e-4)


@pytest.mark.parametrize("layer", [GraphRegularization, TransitionDistillation])
def test_transitions_that_do_not_fit(layer):
    with pytest.raises(ValueError, match="must have neighbours in 1"):
        layer(([0, 0, 1, 1, 1], [4], [1]))
    with pytest.raises(ValueError, match=r"must have the shape \[4, D\] with a known D"):
        layer(TRANSITIONS)(np.array([1]), VECTORS[:3])


def test_a_layer_from_its_configuration():
    layer = GraphRegularization(TRANSITIONS)
    again = GraphRegularization.from_config(layer.get_config())
    assert float(again(np.array([1]), VECTORS)) == float(layer(np.array([1]), VECTORS))
