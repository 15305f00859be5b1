"""Tests of models with permuted items: they give the same answers by raw id."""

import numpy as np
import pytest
import tensorflow as tf

from export.model_copy import permute_items, with_item_matrix
from tests.models.contract import TYPICAL, count_randomly
from tfrec_attn import models
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.layers.transition_prior import TransitionPrior

USERS, ITEMS, LENGTH = 4, 12, 4
ORDER = np.random.default_rng(2).permutation(ITEMS)
HISTORIES = [["i3", "i7"], ["i9"], ["i1", "i2", "i3", "i11", "i12"], ["i5", "unknown"]]


def make(name):
    parameters = {
        key: value
        for key, value in {"dim": 8, "stddev": 0.5}.items()
        if key in models.parameters(name)
    }
    model = models.get(name)(USERS, ITEMS, LENGTH, **parameters)
    if model.trains_on == models.COUNTS:
        count_randomly(model)
    model.user_vocabulary = Vocabulary([f"u{user}" for user in range(1, USERS + 1)])
    model.item_vocabulary = Vocabulary([f"i{item}" for item in range(1, ITEMS + 1)])
    return model


@pytest.mark.parametrize("name", TYPICAL)
def test_answers_by_raw_id_do_not_change(name):
    model = make(name)
    # Without popularities all items are equally good for a user of whom nothing is known.
    users = ["u2", "u4", "nobody" if model.uses_history else "u3", "u1"]
    items, scores = model.recommend(HISTORIES, k=ITEMS, users=users)
    # A compiled model counts the states of its metrics among its weights.
    model.compile()
    other = permute_items(model, ORDER)
    other_items, other_scores = other.recommend(HISTORIES, k=ITEMS, users=users)
    assert other_items == items
    for found, expected in zip(other_scores, scores, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert model.recommend(HISTORIES, k=ITEMS, users=users)[0] == items


@pytest.mark.parametrize("name", TYPICAL)
def test_item_i_is_item_order_i(name):
    model = make(name)
    other = permute_items(model, ORDER)
    assert other.item_vocabulary.ids() == [f"i{one + 1}" for one in ORDER]
    assert other.user_vocabulary == model.user_vocabulary
    vectors, before = other.item_vectors().numpy(), model.item_vectors().numpy()
    np.testing.assert_array_equal(vectors[1:], before[1:][ORDER])
    np.testing.assert_array_equal(vectors[0], before[0])
    back = permute_items(other, np.argsort(ORDER))
    for one, two in zip(back.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_weights_are_not_shared():
    model = make("sasrec")
    other = permute_items(model, ORDER)
    before = model.items.embeddings.numpy()
    other.items.embeddings.assign(tf.zeros_like(other.items.embeddings))
    np.testing.assert_array_equal(model.items.embeddings, before)


def test_a_model_without_vocabularies():
    model = models.SASRec(USERS, ITEMS, LENGTH, dim=8)
    assert permute_items(model, ORDER).item_vocabulary is None


@pytest.mark.parametrize(
    "order", [[0] * ITEMS, range(1, ITEMS + 1), range(ITEMS - 1), range(ITEMS + 1)]
)
def test_order_that_is_no_permutation(order):
    with pytest.raises(ValueError, match=r"order must hold each of 0\.\.11 once, but is"):
        permute_items(make("sasrec"), list(order))


def test_a_served_lightgcn_keeps_its_prior():
    model = make("lightgcn")
    layer = model.transition_prior = TransitionPrior(ITEMS, 2, name="transition_prior")
    layer.rows.set_rows(np.tile([5, 2], (ITEMS + 1, 1)), np.tile([3.0, 1.0], (ITEMS + 1, 1)))
    layer.weight.assign(2.0)
    features = {"user": tf.constant([0, 1]), "history": tf.constant([[0, 0, 1, 2], [0, 0, 0, 3]])}
    copy, _ = with_item_matrix(model)
    np.testing.assert_allclose(copy.scores(features), model.scores(features), rtol=1e-5, atol=1e-6)
    # 2 ln((1 + 3/4) / 1), where the query of an unknown user is 0.
    np.testing.assert_allclose(copy.scores(features)[0, 4], 2 * np.log(1.75), rtol=1e-5)
