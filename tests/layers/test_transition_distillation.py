"""TED against its definition with dense teacher rows, and its gradient by differences."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn import losses
from tfrec_attn.data.sequences.transitions import Transitions
from tfrec_attn.layers import TransitionDistillation

NUM_ITEMS, WIDTH = 7, 3
# Items 3 and 7 were never followed by anything; 5 is followed by all.
COUNTS = {
    1: {2: 3, 4: 1},
    2: {2: 5},
    4: {1: 1, 7: 1},
    5: {j: j for j in range(1, 8)},
    6: {1: 2, 3: 1, 7: 4},
}
ITEMS = np.array([1, 3, 5, 1, 6, 1, 2], "int32")


def transitions():
    rows = [sorted(COUNTS.get(i, {}).items()) for i in range(NUM_ITEMS + 1)]
    pairs = [pair for row in rows for pair in row]
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Transitions(
        NUM_ITEMS,
        offsets,
        np.array([j for j, _ in pairs], np.int32),
        np.array([c for _, c in pairs], np.int64),
    )


def random_vectors(scale=0.3):
    return (scale * np.random.default_rng(3).normal(size=[NUM_ITEMS + 1, WIDTH])).astype("float32")


def softmax(logits):
    power = np.exp(logits - np.max(logits))
    return power / np.sum(power)


def dense_loss(items, vectors, tau, weights=None, masks=None):
    """Every teacher row and every student row over all items, one position at a time."""
    vectors = np.asarray(vectors, "float64")
    losses = []
    for place, item in enumerate(items):
        row = np.array([COUNTS.get(item, {}).get(j, 0) for j in range(1, NUM_ITEMS + 1)], "float64")
        teacher = softmax(row / max(row.max(), 1.0) / tau)
        query = vectors[item] * math.sqrt(WIDTH) * (1.0 if masks is None else masks[place])
        student = softmax(vectors[1:] @ query / tau)
        losses.append(-np.sum(teacher * np.log(student)))
    return np.mean(losses) if weights is None else np.dot(weights, losses)


@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0, 3.0])
def test_equals_the_dense_teacher(tau):
    layer, vectors = TransitionDistillation(transitions(), tau), random_vectors()
    np.testing.assert_allclose(layer(ITEMS, vectors), dense_loss(ITEMS, vectors, tau), rtol=1e-5)
    for item in range(1, NUM_ITEMS + 1):
        np.testing.assert_allclose(
            layer(np.array([item]), vectors), dense_loss([item], vectors, tau), rtol=1e-5, atol=1e-6
        )


def test_worked_by_hand():
    # Two items, tau 1, D = 1, E = (0, ln 3): item 2 was followed once, by item 1, so its teacher is
    # softmax(1, 0) = (e, 1) / (e + 1); its student is softmax(0, ln² 3). Item 1 was never followed:
    # its teacher is (1/2, 1/2), its student softmax(0, 0): ln 2.
    vectors = np.array([[9.0], [0.0], [math.log(3)]], "float32")
    layer = TransitionDistillation(([0, 0, 0, 1], [1], [1]), temperature=1.0)
    np.testing.assert_allclose(layer(np.array([1]), vectors), math.log(2), rtol=1e-6)
    square = math.log(3) ** 2
    expected = math.log(1 + math.exp(square)) - square / (math.e + 1)
    np.testing.assert_allclose(layer(np.array([2]), vectors), expected, rtol=1e-6)
    np.testing.assert_allclose(
        layer(np.array([2, 1, 2, 2]), vectors), (3 * expected + math.log(2)) / 4, rtol=1e-6
    )


def test_padding_takes_no_part():
    layer, vectors = TransitionDistillation(transitions()), tf.Variable(random_vectors())
    with tf.GradientTape() as tape:
        loss = layer(ITEMS, vectors)
    assert not np.any(tf.convert_to_tensor(tape.gradient(loss, vectors))[0])
    changed = random_vectors()
    changed[0] = 100.0
    np.testing.assert_array_equal(layer(ITEMS, changed), loss)


def test_weights_stand_in_for_the_mean():
    layer, vectors = TransitionDistillation(transitions(), 0.5), random_vectors()
    weights = np.array([0.5, 1.0, 0.0, 2.0, 0.25, 0.1, 3.0], "float32")
    np.testing.assert_allclose(
        layer(ITEMS, vectors, weights), dense_loss(ITEMS, vectors, 0.5, weights), rtol=1e-5
    )
    uniform = np.full(len(ITEMS), 1 / len(ITEMS), "float32")
    np.testing.assert_allclose(layer(ITEMS, vectors, uniform), layer(ITEMS, vectors), rtol=1e-6)


def test_no_position_is_no_loss_and_no_gradient():
    vectors = tf.Variable(random_vectors())
    with tf.GradientTape() as tape:
        loss = TransitionDistillation(transitions())(np.zeros(0, "int32"), vectors)
    assert float(loss) == 0.0
    gradient = tf.convert_to_tensor(tape.gradient(loss, vectors))
    np.testing.assert_array_equal(gradient, np.zeros(vectors.shape))


@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "graph"])
def test_gradient_by_finite_differences(in_graph):
    layer, vectors = TransitionDistillation(transitions(), 0.5), tf.Variable(random_vectors())

    def gradient(items):
        with tf.GradientTape() as tape:
            loss = layer(items, vectors)
        return tape.gradient(loss, vectors)

    if in_graph:
        gradient = tf.function(gradient, input_signature=[tf.TensorSpec([None], tf.int32)])
    found = tf.convert_to_tensor(gradient(tf.constant(ITEMS))).numpy()
    step, start = 1e-5, random_vectors().astype("float64")
    for place in np.ndindex(start.shape):
        change = np.zeros(start.shape)
        change[place] = step
        expected = (
            dense_loss(ITEMS, start + change, 0.5) - dense_loss(ITEMS, start - change, 0.5)
        ) / (2 * step)
        np.testing.assert_allclose(found[place], expected, atol=1e-5)


def test_dropout_has_a_mask_for_each_position():
    layer, vectors = TransitionDistillation(transitions(), 0.5, dropout=0.5), random_vectors()
    np.testing.assert_array_equal(layer(ITEMS, vectors), layer(ITEMS, vectors, training=False))
    np.testing.assert_allclose(layer(ITEMS, vectors), dense_loss(ITEMS, vectors, 0.5), rtol=1e-5)
    items = np.full(200, 5, "int32")
    queries, targets, weights, _ = layer.softmax_terms(items, vectors, training=True)
    masks = queries.numpy() * 0.5 / (vectors[5] * math.sqrt(WIDTH))
    np.testing.assert_allclose(np.unique(np.round(masks, 4)), [0.0, 2.0])
    assert len(np.unique(np.round(masks, 4), axis=0)) == 2**WIDTH
    assert targets.numpy().tolist() == [4] * 200
    np.testing.assert_allclose(weights, np.full(200, 1 / 200), rtol=1e-6)


def test_loss_with_dropout_equals_the_dense_teacher():
    layer, vectors = TransitionDistillation(transitions(), 0.5, dropout=0.4), random_vectors()
    queries, targets, weights, rest = layer.softmax_terms(ITEMS, vectors, training=True)
    masks = queries.numpy() * 0.5 / (vectors[ITEMS] * math.sqrt(WIDTH))
    logits = queries.numpy().astype("float64") @ vectors[1:].T
    own = logits[np.arange(len(ITEMS)), targets]
    found = np.dot(weights, np.log(np.sum(np.exp(logits), axis=1)) - own) + float(rest)
    np.testing.assert_allclose(found, dense_loss(ITEMS, vectors, 0.5, masks=masks), rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_the_terms_fit_the_tiled_softmax(training):
    layer, vectors = (
        TransitionDistillation(transitions(), 0.5, dropout=0.4),
        tf.Variable(random_vectors()),
    )

    def loss_and_gradient(tiled):
        tf.random.set_seed(5)
        layer._dropout_layer = tf.keras.layers.Dropout(0.4, seed=5)
        with tf.GradientTape() as tape:
            if tiled:
                queries, targets, weights, rest = layer.softmax_terms(
                    ITEMS, vectors, training=training
                )
                loss = (
                    losses.softmax(
                        queries,
                        tf.convert_to_tensor(vectors)[1:],
                        targets,
                        weights,
                        tile=2 * NUM_ITEMS,
                    )
                    + rest
                )
            else:
                loss = layer(ITEMS, vectors, training=training)
        return loss, tf.convert_to_tensor(tape.gradient(loss, vectors))

    (loss, gradient), (expected, expected_gradient) = (
        loss_and_gradient(True),
        loss_and_gradient(False),
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-6)


def test_without_dropout_each_item_is_taken_once():
    queries, targets, weights, _ = TransitionDistillation(transitions()).softmax_terms(
        ITEMS, random_vectors()
    )
    assert queries.shape == (5, WIDTH)
    assert targets.numpy().tolist() == [0, 2, 4, 5, 1]
    np.testing.assert_allclose(7 * weights, [3, 1, 1, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("tau", [1e-3, 1e3])
def test_extreme_temperatures_are_finite(tau):
    layer, vectors = TransitionDistillation(transitions(), tau), random_vectors(10.0)
    assert np.isfinite(layer(ITEMS, vectors))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_arithmetic_is_in_float32_whatever_the_policy(policy):
    vectors = random_vectors()
    layer, plain = (
        TransitionDistillation(transitions(), dtype=dtype)
        for dtype in (tf.keras.mixed_precision.Policy(policy), "float32")
    )
    loss = layer(ITEMS, tf.constant(vectors))
    assert loss.dtype == tf.float32
    np.testing.assert_array_equal(loss, plain(ITEMS, tf.constant(vectors)))
    narrow = layer(ITEMS, tf.cast(vectors, layer.compute_dtype))
    assert narrow.dtype == tf.float32
    np.testing.assert_allclose(narrow, loss, rtol=0.05)


def test_it_has_no_weights():
    layer = TransitionDistillation(transitions())
    layer(ITEMS, random_vectors())
    assert layer.weights == []


def test_config_round_trip():
    layer = TransitionDistillation(transitions(), 0.25, 0.5)
    again = TransitionDistillation.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.temperature, again.dropout) == (0.25, 0.5)
    np.testing.assert_array_equal(again(ITEMS, random_vectors()), layer(ITEMS, random_vectors()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be a finite number above 0; got 0.0"),
        ({"temperature": math.inf}, "`temperature` must be a finite number above 0; got inf"),
        ({"dropout": 1.0}, r"`dropout` must be a number in \[0, 1\); got 1.0"),
        ({"transitions": ([0, 0, 2], [1], [1])}, "`transitions` must have offsets"),
        ({"transitions": ([0, 1, 1], [1], [1])}, "`transitions` must have offsets"),
        ({"transitions": ([0, 0, 2, 1], [1], [1])}, "`transitions` must have offsets"),
        ({"transitions": ([0, 0, 1], [2], [1])}, r"`transitions` must have neighbours in 1..N = 1"),
        ({"transitions": ([0, 0, 1], [1], [0])}, "counts of at least 1"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TransitionDistillation(**{"transitions": transitions(), **arguments})


def test_wrong_vectors():
    with pytest.raises(ValueError, match=r"`item_vectors` must have the shape \[8, D\]"):
        TransitionDistillation(transitions())(ITEMS, tf.zeros([7, 3]))
