"""The factorisation and metric models: scores worked by hand, and arguments that they refuse."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import training_features
from tfrec_attn import models

USER = [[0.5, -0.25]]
ITEMS = [[1, 0], [0, 0.5], [-0.5, 1]]
BIASES = [[0.1], [-0.2], [0.3]]
PREVIOUS = [[0.3, 0.1], [-0.4, 0.2], [0.5, 0.5]]
FOLLOWING = [[0.2, 0.4], [-0.1, 0.3], [0.6, -0.2]]
SEQUENTIAL = [[0.2, 0.1], [-0.3, 0.4], [0.1, -0.2]]


def make(name, tables, max_length=2, **parameters):
    """A model of 1 user and 3 items whose tables have these rows from 1 on."""
    model = models.get(name)(1, 3, max_length, dim=2, **parameters)
    for table, rows in tables.items():
        variable = getattr(model, table).embeddings
        variable.assign(np.concatenate([np.full((1, variable.shape[1]), 7.0), rows]))
    return model


def scores(model, history=(0, 2), user=1):
    features = {"user": tf.constant([user]), "history": tf.constant([history])}
    return model(features)[0, 1:]


def near(found, expected):
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_bpr_mf():
    tables = {"users": USER, "items": ITEMS}
    near(scores(make("bpr_mf", {**tables, "biases": BIASES})), [0.6, -0.325, -0.2])
    near(scores(make("bpr_mf", tables, bias=False)), [0.5, -0.125, -0.5])


def test_the_bpr_loss_of_bpr_mf():
    model = make("bpr_mf", {"users": USER, "items": ITEMS, "biases": BIASES})
    model.compile("sgd", "bpr")
    batch = {"user": [1], "history": [[0, 2]], "targets": [[1]], "negatives": [[[3]]]}
    loss = model.compute_loss({name: tf.constant(value) for name, value in batch.items()})
    assert float(loss) == pytest.approx(0.371101, abs=1e-6)


def test_cml():
    model = make("cml", {"users": USER, "items": ITEMS})
    near(scores(model), [0, -0.5, -2.25])
    near(scores(model, user=0), [0, 0, 0])


def test_fmc():
    tables = {"previous": PREVIOUS, "following": FOLLOWING}
    model = make("fmc", tables)
    near(scores(model), [0, 0.1, -0.28])
    near(scores(model, [1, 2]), [0.05, 0.05, -0.06])
    near(scores(model, [0, 0]), [0, 0, 0])
    near(scores(make("fmc", {**tables, "biases": BIASES}, bias=True)), [0.1, -0.1, 0.02])


def test_fpmc():
    tables = {"users": USER, "items": ITEMS, "previous": PREVIOUS, "following": FOLLOWING}
    model = make("fpmc", tables)
    near(scores(model), [0.5, -0.025, -0.78])
    near(scores(model, [1, 2]), [0.55, -0.075, -0.56])
    near(scores(model, user=0), [0, 0.1, -0.28])
    near(scores(model, [0, 0]), [0.5, -0.125, -0.5])
    near(scores(make("fpmc", {**tables, "biases": BIASES}, bias=True)), [0.6, -0.225, -0.48])


def test_prme():
    tables = {"users": USER, "preferred": ITEMS, "sequential": SEQUENTIAL}
    model = make("prme", tables)
    near(scores(model), [-0.072, 0.1, -0.666])
    near(scores(make("prme", tables, user_weight=1.0)), [0, -0.5, -2.25])
    # 0.8 (|S_2|^2 - |S_2 - S_j|^2), and 0.2 of the user alone.
    near(scores(model, user=0), [-0.072, 0.2, -0.216])
    near(scores(model, [0, 0]), [0, -0.1, -0.45])


def test_prme_after_a_long_gap():
    tables = {"users": USER, "preferred": ITEMS, "sequential": SEQUENTIAL}
    model = make("prme", tables, max_gap=6.0)
    features = {"user": tf.constant([1, 1, 0]), "history": tf.fill([3, 1], 2)}
    with_gap = model({**features, "gap": tf.constant([6.0, 6.5, 6.5])})[:, 1:]
    # Recent; long ago: the user alone; long ago without a user: the item is all there is.
    near(with_gap, [[-0.072, 0.1, -0.666], [0, -0.5, -2.25], [-0.072, 0.2, -0.216]])
    near(model(features)[1, 1:], [-0.072, 0.1, -0.666])
    near(make("prme", tables)({**features, "gap": tf.fill([3], 9.0)})[1, 1:], with_gap[0])


@pytest.mark.parametrize(
    ("item_pooling", "user_pooling", "expected"),
    [
        ("max", "max", [1, 0.25, 0]),
        ("max", "mean", [0.75, 0.0625, -0.25]),
        ("mean", "max", [0.5, 0.125, 0]),
        ("mean", "mean", [0.5, 0, -0.25]),
    ],
)
def test_hrm(item_pooling, user_pooling, expected):
    poolings = {"item_pooling": item_pooling, "user_pooling": user_pooling}
    model = make("hrm", {"users": USER, "items": ITEMS}, **poolings)
    near(scores(model, [1, 2]), expected)
    # What is not there does not take part: [-.5, 1] alone, and the user alone.
    near(scores(model, [0, 3], user=0), [-0.5, 0.5, 1.25])
    near(scores(model, [0, 0]), [0.5, -0.125, -0.5])
    near(scores(model, [0, 0], user=0), [0, 0, 0])


def test_transrec():
    tables = {"users": [[-0.05, 0.1]], "items": ITEMS, "biases": BIASES}
    model = make("transrec", tables)
    model.translation.assign([0.1, 0.2])
    near(scores(model), [-0.8, 0.35, 0.6])
    # Without a user: from [.1, .7].
    near(scores(model, user=0), [0.1 - 0.8, -0.2 + 0.45, 0.3 + 0.05])
    near(scores(model, [0, 0]), [0.1, -0.2, 0.3])


def test_a_new_user_of_transrec_is_translated_as_all_are():
    model = models.get("transrec")(2, 3, 1, dim=4)
    near(scores(model, [2], user=1), scores(model, [2], user=0))


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("prme", {"max_gap": 0}, "max_gap must be greater than 0 or None, but is 0."),
        ("prme", {"user_weight": 1.5}, "user_weight must be in [0, 1], but is 1.5: "),
        ("hrm", {"item_pooling": "sum"}, "item_pooling must be one of max, mean, but is 'sum'."),
        ("hrm", {"user_pooling": "min"}, "user_pooling must be one of max, mean, but is 'min'."),
        ("lightgcn", {"num_layers": -1}, "num_layers must be 0 or greater, but is -1."),
    ],
)
def test_arguments_that_are_refused(name, arguments, sentence):
    with pytest.raises(ValueError) as raised:
        models.get(name)(2, 3, **arguments)
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    "name", ["bpr_mf", "cml", "fmc", "fpmc", "hrm", "lightgcn", "prme", "transrec"]
)
def test_the_recommended_loss_falls(name):
    recommended = models.recommended(name)
    model = models.get(name)(6, 12, 4, dim=8)
    model.compile(tf.keras.optimizers.Adagrad(0.3), recommended["train.loss"], reduction="mean")
    batch = training_features(name, 6, loss=recommended["train.loss"])
    before = float(model.compute_loss(batch))
    for _ in range(40):
        model.train_step(batch)
    assert float(model.compute_loss(batch)) < 0.7 * before
