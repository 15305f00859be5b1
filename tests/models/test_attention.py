"""Attention over the history, against a plain NumPy pass of each model's equations."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.models import MQSATED, AttRec, SASRec

USERS, ITEMS, LENGTH = 3, 9, 4
HISTORIES = [[2, 5, 5, 1], [0, 0, 7, 3], [0, 0, 0, 4], [0, 0, 0, 0]]


def attention_of(model, histories=HISTORIES):
    histories = tf.constant(histories, tf.int32)
    return model.attention(
        {"user": tf.ones([len(histories)], tf.int32), "history": histories}
    ).numpy()


def map_of(model, histories=HISTORIES):
    histories = tf.constant(histories, tf.int32)
    return model.attention_map(
        {"user": tf.ones([len(histories)], tf.int32), "history": histories}
    ).numpy()


def plain_map(model, block, history, window):
    """Row by row the attention of what the history was then."""
    rows = np.zeros((LENGTH, LENGTH))
    for place in range(LENGTH):
        if history[place] > 0:
            rows[place] = plain_attention(
                model, block, [*history[: place + 1], *[0] * (LENGTH - 1 - place)], window
            )
    return rows


def randomised(model):
    """The model with all weights, those of the normalisations too, drawn at random."""
    random = np.random.default_rng(4)
    model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
    return model


def normed(x, layer):
    return (x - x.mean()) / x.std() * layer.gamma.numpy() + layer.beta.numpy()


def plain_attention(model, block, history, window):
    """Attention of the latest item in the only block: heads in loops, real items only."""
    layer, real = block.attention, [place for place in range(LENGTH) if history[place] > 0]
    positions = model.embedding.positions.table.numpy()
    x = [
        model.items.rows().numpy()[history[place]] * np.sqrt(model.dim) + positions[place]
        for place in real
    ]
    query = (
        normed(np.mean(x[-window:], axis=0), layer.query_norm) @ layer.query_kernel.numpy()
        + layer.query_bias.numpy()
    )
    keys = [one @ layer.key_kernel.numpy() + layer.key_bias.numpy() for one in x]
    result, width = np.zeros(LENGTH), model.dim // model.num_heads
    for head in range(model.num_heads):
        part = slice(head * width, (head + 1) * width)
        logits = np.array([query[part] @ key[part] / np.sqrt(width) for key in keys])
        powers = np.exp(logits - logits.max())
        result[real] += powers / powers.sum() / model.num_heads
    return result


@pytest.mark.parametrize("num_heads", [1, 2])
def test_sasrec(num_heads):
    model = randomised(SASRec(USERS, ITEMS, LENGTH, dim=4, num_heads=num_heads))
    (block,) = model.encoder.blocks
    found = attention_of(model)
    for row, history in zip(found[:3], HISTORIES, strict=False):
        np.testing.assert_allclose(row, plain_attention(model, block, history, 1), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), [1, 1, 1, 0], rtol=1e-5)


def test_mqsa_mixes_both_stacks():
    model = randomised(
        MQSATED(USERS, ITEMS, LENGTH, dim=4, num_heads=2, query_window=3, alpha=0.25)
    )
    short, long = model.encoder.short.blocks[0], model.encoder.long.blocks[0]
    found = attention_of(model)
    for row, history in zip(found[:3], HISTORIES, strict=False):
        expected = 0.25 * plain_attention(model, short, history, 1) + 0.75 * plain_attention(
            model, long, history, 3
        )
        np.testing.assert_allclose(row, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), [1, 1, 1, 0], rtol=1e-5)


@pytest.mark.parametrize("num_heads", [1, 2])
def test_map_of_sasrec(num_heads):
    model = randomised(SASRec(USERS, ITEMS, LENGTH, dim=4, num_heads=num_heads))
    (block,) = model.encoder.blocks
    expected = [plain_map(model, block, history, 1) for history in HISTORIES]
    np.testing.assert_allclose(map_of(model), expected, atol=1e-5)
    np.testing.assert_allclose(map_of(model)[:, -1], attention_of(model), atol=1e-6)


def test_map_of_mqsa_mixes_both_stacks():
    model = randomised(
        MQSATED(USERS, ITEMS, LENGTH, dim=4, num_heads=2, query_window=3, alpha=0.25)
    )
    short, long = model.encoder.short.blocks[0], model.encoder.long.blocks[0]
    expected = [
        0.25 * plain_map(model, short, history, 1) + 0.75 * plain_map(model, long, history, 3)
        for history in HISTORIES
    ]
    np.testing.assert_allclose(map_of(model), expected, atol=1e-5)
    np.testing.assert_allclose(map_of(model)[:, -1], attention_of(model), atol=1e-6)


@pytest.mark.parametrize("diagonal", ["after", "before", "keep"])
def test_map_of_attrec_is_what_the_weights_are_the_mean_of(diagonal):
    model = randomised(AttRec(USERS, ITEMS, LENGTH, dim=4, diagonal=diagonal, max_norm=None))
    found, kernel = map_of(model), model.intent.query_kernel.numpy()
    angle = np.arange(LENGTH)[:, None] / np.array([1.0, 100.0])
    signal = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(LENGTH, 4)
    for weights, attention_map, history in zip(attention_of(model), found, HISTORIES, strict=True):
        real = [place for place in range(LENGTH) if history[place] > 0]
        q = np.maximum((model.short_items.embeddings.numpy()[history] + signal) @ kernel, 0)
        expected = np.zeros((LENGTH, LENGTH))
        for row in real:
            columns = [one for one in real if diagonal != "before" or one != row or len(real) == 1]
            powers = np.exp(np.array([q[row] @ q[one] / 2 for one in columns]))
            expected[row, columns] = powers / powers.sum()
            if diagonal == "after" and len(real) > 1:
                expected[row, row] = 0
        np.testing.assert_allclose(attention_map, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            weights, expected.sum(axis=0) / max(len(real), 1), rtol=1e-4, atol=1e-5
        )


def test_the_last_of_several_blocks_counts():
    model = randomised(SASRec(USERS, ITEMS, LENGTH, dim=4, num_blocks=2))
    first, second = model.encoder.blocks
    before = attention_of(model)
    first.attention.value_kernel.assign(-first.attention.value_kernel)
    assert np.abs(attention_of(model) - before).max() > 1e-3
    second.attention.query_kernel.assign(tf.zeros([4, 4]))
    second.attention.query_bias.assign(tf.zeros([4]))
    np.testing.assert_allclose(
        attention_of(model), [[0.25] * 4, [0, 0, 0.5, 0.5], [0, 0, 0, 1], [0] * 4], rtol=1e-5
    )


@pytest.mark.parametrize("diagonal", ["after", "before", "keep"])
@pytest.mark.parametrize("aggregation", ["mean", "sum"])
def test_attrec_weights_make_the_intent(aggregation, diagonal):
    model = randomised(
        AttRec(
            USERS,
            ITEMS,
            LENGTH,
            dim=4,
            aggregation=aggregation,
            diagonal=diagonal,
            user_weight=0.0,
            max_norm=None,
        )
    )
    weights = attention_of(model)
    intents = np.einsum("bl,bld->bd", weights, model.short_items.embeddings.numpy()[HISTORIES])
    queries = model.query_vectors(
        {"user": tf.ones([4], tf.int32), "history": tf.constant(HISTORIES)}
    ).numpy()
    np.testing.assert_allclose(queries[:3, 5:9] / 2, intents[:3], rtol=1e-4, atol=1e-5)
    if diagonal != "after":
        counts = {"mean": [1, 1, 1, 0], "sum": [4, 2, 1, 0]}[aggregation]
        np.testing.assert_allclose(weights.sum(axis=1), counts, rtol=1e-5)


@pytest.mark.parametrize("aggregation", ["max", "min"])
def test_attrec_with_an_extreme_has_the_weights_of_the_mean(aggregation):
    extreme, mean = (
        AttRec(USERS, ITEMS, LENGTH, dim=4, aggregation=one) for one in (aggregation, "mean")
    )
    mean.set_weights(randomised(extreme).get_weights())
    np.testing.assert_array_equal(attention_of(extreme), attention_of(mean))


def test_attrec_by_hand():
    # Wq = 0 makes all logits 0: the rows of two items are 1/2, 1/2, their diagonal then 0, so
    # columns sum to 1/2; over 2 rows that is 1/4.
    model = AttRec(USERS, ITEMS, LENGTH, dim=4)
    model.intent.query_kernel.assign(tf.zeros([4, 4]))
    np.testing.assert_allclose(
        attention_of(model)[1:], [[0, 0, 0.25, 0.25], [0, 0, 0, 1], [0, 0, 0, 0]]
    )
