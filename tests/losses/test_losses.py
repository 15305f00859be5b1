"""Pairwise losses against values worked by hand and loops, also under Keras 3."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn import losses

# Two positives with two negatives each.
POSITIVE = [[2.0, 0.5]]
NEGATIVE = [[[1.8, 0.0], [0.6, 0.4]]]


def twin(pair, positive, negative):
    """Sum of `pair(positive - negative)` over the pairs of each example, in float64; shared
    negatives have one row.
    """
    result = []
    for positives, negatives in zip(positive, negative, strict=True):
        total = 0.0
        for t, high in enumerate(positives):
            for low in negatives[t if len(negatives) > 1 else 0]:
                total += pair(float(high) - float(low))
        result.append(total)
    return result


def hinge_pair(margin):
    return lambda difference: max(0.0, margin - difference)


def bpr_pair(difference):
    return math.log1p(math.exp(-difference))


@pytest.fixture
def scores():
    random = np.random.default_rng(3)
    return random.normal(size=(4, 3)).astype(np.float32), random.normal(size=(4, 3, 2)).astype(
        np.float32
    )


def test_hinge_by_hand():
    # 0.5 - 2.0 + 1.8 = 0.3;  0.5 - 2.0 + 0.0 < 0;  0.5 - 0.5 + 0.6 = 0.6;  0.5 - 0.5 + 0.4 = 0.4;
    # together 1.3
    np.testing.assert_allclose(
        losses.hinge(tf.constant(POSITIVE), tf.constant(NEGATIVE)), [1.3], rtol=1e-6
    )


def test_hinge_margin_by_hand():
    # 1 - 0.2 = 0.8;  1 - 2 < 0;  1 + 0.1 = 1.1;  1 - 0.1 = 0.9;  together 2.8
    np.testing.assert_allclose(
        losses.hinge(tf.constant(POSITIVE), tf.constant(NEGATIVE), margin=1.0), [2.8], rtol=1e-6
    )


def test_bpr_by_hand():
    # sigmoid(0) = 1/2 and sigmoid(ln 3) = 3/4: the losses are ln 2 and ln 4/3, together ln 8/3.
    result = losses.bpr(tf.constant([[1.0, math.log(3.0)]]), tf.constant([[[1.0], [0.0]]]))
    np.testing.assert_allclose(result, [math.log(8 / 3)], rtol=1e-6)


def test_warp_by_hand():
    # Margin 1.5, 3 items. Item 3 against 1 and 2: 1.5 + 2.5625 - 0.3125 = 3.75,
    # both violate the margin, rank 3: ln 4 * 3.75. Item 1 against 2 and 3: 1.5 + 0.3125 - 0.8125
    # = 1 and below 0, rank 1.5: ln 2.5 * 1.
    scores = {1: -0.3125, 2: -0.8125, 3: -2.5625}
    positive = tf.constant([[scores[3], scores[1]], [scores[1], 0.0]])
    negative = tf.constant([[[scores[1], scores[2]], [scores[2], scores[3]]], [[-9.0] * 2] * 2])
    result = losses.warp(positive, negative, num_items=3, margin=1.5)
    np.testing.assert_allclose(result, [5.198604 + math.log(2.5), 0.0], rtol=1e-6)
    shared = losses.warp(positive, negative[:, :1], num_items=3, margin=1.5)
    # Item 1 against 1 and 2: 1.5 and 1, rank 3.
    np.testing.assert_allclose(shared, [5.198604 + 1.5 * math.log(4), 0.0], rtol=1e-6)
    mask = tf.constant([[True, False], [True, True]])
    np.testing.assert_allclose(
        losses.warp(positive, negative, mask, num_items=3, margin=1.5), [5.198604, 0.0], rtol=1e-6
    )


def test_warp_moves_the_target_and_the_best_negative_alone():
    positive, negative = tf.Variable([[1.0]]), tf.Variable([[[0.8, 0.9, -4.0]]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(losses.warp(positive, negative, num_items=30))
    up, down = tape.gradient(loss, [positive, negative])
    # Two of three negatives violate the margin: rank 20.
    np.testing.assert_allclose(up, [[-math.log(21)]], rtol=1e-6)
    np.testing.assert_allclose(down, [[[0.0, math.log(21), 0.0]]], rtol=1e-6)


@pytest.mark.parametrize("margin", [0.0, 0.5, 2.0])
def test_hinge_equals_its_twin(scores, margin):
    np.testing.assert_allclose(
        losses.hinge(*map(tf.constant, scores), margin=margin),
        twin(hinge_pair(margin), *scores),
        rtol=1e-5,
    )


def test_bpr_equals_its_twin(scores):
    np.testing.assert_allclose(
        losses.bpr(*map(tf.constant, scores)), twin(bpr_pair, *scores), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("loss", "pair"), [(losses.hinge, hinge_pair(0.5)), (losses.bpr, bpr_pair)]
)
def test_shared_negatives_count_for_every_positive(scores, loss, pair):
    positive, negative = scores[0], scores[1][:, :1]
    np.testing.assert_allclose(
        loss(tf.constant(positive), tf.constant(negative)),
        twin(pair, positive, negative),
        rtol=1e-5,
    )


PAIRWISE = {"hinge": losses.hinge, "bpr": losses.bpr}


@pytest.mark.parametrize("loss", PAIRWISE.values(), ids=PAIRWISE)
@pytest.mark.parametrize("shared", [False, True])
def test_padded_targets_have_no_pairs(scores, loss, shared):
    positive, negative = scores[0], scores[1][:, :1] if shared else scores[1]
    pair = hinge_pair(0.5) if loss is losses.hinge else bpr_pair
    mask = np.array([[True, True, True], [True, False, False], [False] * 3, [True, True, False]])
    expected = []
    for row, real in enumerate(mask):
        kept = negative[row] if shared else negative[row][real]
        expected += twin(pair, [positive[row][real]], [kept]) if real.any() else [0.0]
    np.testing.assert_allclose(
        loss(tf.constant(positive), tf.constant(negative), tf.constant(mask)), expected, rtol=1e-5
    )


@pytest.mark.parametrize("name", ["hinge", "bpr"])
def test_a_step_down_the_gradient_raises_positives_and_lowers_negatives(name):
    # The first pair is within the margin, the second (difference 4) beyond it: only bpr still moves
    # that one.
    positive, negative = tf.Variable([[0.1, 4.0]]), tf.Variable([[[0.0], [0.0]]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(PAIRWISE[name](positive, negative))
    up, down = (gradient.numpy().ravel() for gradient in tape.gradient(loss, [positive, negative]))
    assert up[0] < 0 < down[0]
    np.testing.assert_allclose(up, -down)
    assert (up[1] < 0) == (name == "bpr")


@pytest.mark.parametrize("name", ["hinge", "bpr"])
def test_scores_far_apart_stay_finite(name):
    # -ln sigmoid(-1000) = 1000 up to exp(-1000); the hinge adds its margin.
    far = PAIRWISE[name](tf.constant([[0.0]]), tf.constant([[[1000.0]]]))
    np.testing.assert_allclose(far, [1000.5 if name == "hinge" else 1000.0], rtol=1e-6)


@pytest.mark.parametrize("loss", [losses.hinge, losses.bpr])
def test_narrow_scores_give_a_float32_loss(loss):
    # 300 pairs of half-precision scores: summed in float16 (spacing 0.125 from 128 up) the result
    # would be coarse.
    positive, negative = tf.zeros([1, 1], tf.float16), tf.zeros([1, 1, 300], tf.float16)
    result = loss(positive, negative)
    assert result.dtype == tf.float32
    np.testing.assert_allclose(
        result, [300 * (0.5 if loss is losses.hinge else math.log(2.0))], rtol=1e-5
    )


def test_every_loss_of_the_table_takes_some_batches():
    assert set(losses.LOSSES) >= {"hinge", "bpr", "bce", "gbce", "softmax", "sampled_softmax"}
    for loss in losses.LOSSES.values():
        assert loss.of in ("scores", "positions") and loss.negatives in (
            "per_target",
            "shared",
            "none",
        )
        assert loss.batches and set(loss.batches) <= set(losses.BATCHES)


def test_a_function_of_scores_is_a_loss():
    def square(positive, negative, mask):
        return tf.reduce_sum(tf.where(mask, positive**2, 0.0), axis=1)

    loss = losses.as_loss(square)
    assert (loss.function, loss.of, loss.negatives) == (square, "scores", "per_target")
    assert losses.as_loss("bpr") is losses.LOSSES["bpr"]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("triplet", r"^loss must be one of hinge, bpr, .*, but is 'triplet'\.$"),
        (
            lambda positive: positive,
            r"^loss must be a function of \(positive .*takes other arguments\.$",
        ),
    ],
)
def test_what_is_no_loss(loss, message):
    with pytest.raises(ValueError, match=message):
        losses.as_loss(loss)
