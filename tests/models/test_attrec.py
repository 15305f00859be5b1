import math

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import strategy
from tfrec_attn import models
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.layers import TransitionDistillation
from tfrec_attn.models import AttRec
from tfrec_attn.optimizers import Adagrad


def make(**changes):
    tf.random.set_seed(1)
    return AttRec(3, 5, 3, **{"dim": 4, "stddev": 0.5, "max_norm": None, **changes})


def numpy_scores(model, user, history):
    """MODELS.md's steps 1-6 in loops, as minus a distance."""
    short, long, users = (
        table.embeddings.numpy()
        for table in (model.short_items, model.long_items, model.long_users)
    )
    kernel = model.intent.query_kernel.numpy()
    depth, length = kernel.shape[0], len(history)
    x = short[history]
    signal = [
        [
            np.sin(t / 10000 ** (c / depth))
            if c % 2 == 0
            else np.cos(t / 10000 ** ((c - 1) / depth))
            for c in range(depth)
        ]
        for t in range(length)
    ]
    q = np.maximum((x + signal) @ kernel, 0)
    affinity = np.exp(q @ q.T / np.sqrt(depth))
    affinity /= affinity.sum(axis=1, keepdims=True)
    np.fill_diagonal(affinity, 0)
    intent = (affinity @ x).mean(axis=0)
    w = model.user_weight
    return [
        -(w * sum((users[user] - long[j]) ** 2) + (1 - w) * sum((intent - short[j]) ** 2))
        for j in range(1, len(short))
    ]


def intents(model, history):
    """The short-term part of a query without the user is (2 (1 - w) m, ...), and w = 0."""
    features = {"user": tf.zeros([len(history)], tf.int32), "history": tf.constant(history)}
    return model.query_vectors(features).numpy()[:, 5:9] / 2


@pytest.mark.parametrize("aggregation", ["mean", "sum", "max", "min"])
def test_without_self_attention_the_intent_is_the_aggregate_of_the_window(aggregation):
    model = make(self_attention=False, aggregation=aggregation, user_weight=0.0)
    x = model.short_items.embeddings.numpy()
    aggregate = {"mean": np.mean, "sum": np.sum, "max": np.max, "min": np.min}[aggregation]
    expected = [aggregate(x[[1, 4, 2]], axis=0), aggregate(x[[3, 3]], axis=0), x[5], np.zeros(4)]
    history = [[1, 4, 2], [0, 3, 3], [0, 0, 5], [0, 0, 0]]
    np.testing.assert_allclose(intents(model, history), expected, rtol=1e-5, atol=1e-6)
    features = {"user": tf.zeros([4], tf.int32), "history": tf.constant(history)}
    weights = [[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]]
    if aggregation != "sum":
        weights = [[1 / 3] * 3, [0, 0.5, 0.5], [0, 0, 1], [0, 0, 0]]
    np.testing.assert_allclose(model.attention(features), weights, rtol=1e-6)
    assert model.attention_map(features) is None
    assert [one.shape for one in model.trainable_variables] == [(6, 4), (6, 4), (4, 4)]


@pytest.mark.parametrize(
    ("options", "max_wavelength"), [({"time_signal": False}, None), ({"max_wavelength": 3.0}, 3.0)]
)
def test_time_signal(options, max_wavelength):
    model = make(user_weight=0.0, **options)
    x = model.short_items.embeddings.numpy()[[1, 4, 2]]
    signal = np.zeros((3, 4))
    if max_wavelength is not None:
        angle = np.arange(3)[:, None] / np.array([1.0, math.sqrt(max_wavelength)])
        signal[:, ::2], signal[:, 1::2] = np.sin(angle), np.cos(angle)
    q = np.maximum((x + signal) @ model.intent.query_kernel.numpy(), 0)
    affinity = np.exp(q @ q.T / 2)
    affinity /= affinity.sum(axis=1, keepdims=True)
    np.fill_diagonal(affinity, 0)
    np.testing.assert_allclose(
        intents(model, [[1, 4, 2]]), [(affinity @ x).mean(axis=0)], rtol=1e-4, atol=1e-6
    )


def test_the_studies_are_parameters_of_the_configuration():
    values = {"self_attention": False, "time_signal": False, "max_wavelength": 50.0}
    assert {name: models.parameters("attrec")[name] for name in values} == {
        "self_attention": True,
        "time_signal": True,
        "max_wavelength": 10000.0,
    }
    again = AttRec.from_config(make(**values).get_config())
    assert {name: again.get_config()[name] for name in values} == values
    assert again.intent.get_config()["max_wavelength"] == 50.0


@pytest.mark.parametrize("options", [{"self_attention": False}, {"time_signal": False}])
def test_the_studies_train(options):
    model = make(**options)
    before = model.short_items.embeddings.numpy()
    model.compile(Adagrad(0.1), margin=100.0, l2=0.1, kernel_l2=0.1, clip_norm=1.0)
    one_step(model, **STEP)
    assert np.abs(model.short_items.embeddings.numpy() - before)[1:5].max(axis=1).min() > 1e-3


@pytest.mark.parametrize("user_weight", [0.0, 0.3, 1.0])
def test_scores_are_the_papers_distances_up_to_a_term_of_the_query(user_weight):
    model = make(user_weight=user_weight)
    scores = model({"user": tf.constant([2]), "history": tf.constant([[1, 4, 2]])}).numpy()[0, 1:]
    difference = scores - numpy_scores(model, 2, [1, 4, 2])
    np.testing.assert_allclose(difference, difference[0], atol=1e-5)


def test_hinge_loss_is_that_of_the_distances():
    model = make()
    model.compile(margin=0.5)
    targets, negatives = [3, 5], [[1], [2]]
    batch = {"user": [2], "history": [[1, 4, 2]], "targets": [targets], "negatives": [negatives]}
    y = -np.array(numpy_scores(model, 2, [1, 4, 2]))
    expected = sum(
        max(0.0, y[p - 1] + 0.5 - y[n[0] - 1]) for p, n in zip(targets, negatives, strict=True)
    )
    found = model.compute_loss({key: tf.constant(value) for key, value in batch.items()})
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_unknown_user_is_scored_by_the_short_part_and_empty_history_by_the_long_part():
    model = make(user_weight=0.3)
    both = model(
        {"user": tf.constant([0, 2]), "history": tf.constant([[1, 4, 2], [0, 0, 0]])}
    ).numpy()[:, 1:]
    short_only, long_only = make(user_weight=0.0), make(user_weight=1.0)
    for other in (short_only, long_only):
        other.set_weights(model.get_weights())
    history = tf.constant([[1, 4, 2]])
    np.testing.assert_allclose(
        both[0],
        0.7 * short_only({"user": tf.constant([2]), "history": history}).numpy()[0, 1:],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        both[1],
        0.3 * long_only({"user": tf.constant([2]), "history": history}).numpy()[0, 1:],
        rtol=1e-5,
    )


def one_step(model, **batch):
    model.fit(
        tf.data.Dataset.from_tensors({key: tf.constant(value) for key, value in batch.items()}),
        verbose=0,
    )


STEP = {"user": [1], "history": [[0, 1, 2]], "targets": [[3]], "negatives": [[[4]]]}


def test_a_step_updates_only_its_rows():
    model = make(max_norm=0.1, stddev=1.0)
    before = [
        table.embeddings.numpy()
        for table in (model.short_items, model.long_items, model.long_users)
    ]
    model.compile(Adagrad(0.1), margin=100.0, l2=0.1)
    one_step(model, **STEP)
    after = [
        table.embeddings.numpy()
        for table in (model.short_items, model.long_items, model.long_users)
    ]
    changed = [
        np.flatnonzero((a != b).any(axis=1)).tolist() for a, b in zip(after, before, strict=True)
    ]
    assert changed == [[0, 1, 2, 3, 4], [3, 4], [1]]


def test_rows_stay_in_the_ball():
    model = make(max_norm=0.7, stddev=0.01)
    model.compile(Adagrad(5.0, initial_accumulator_value=1e-10), margin=100.0)
    one_step(model, **STEP)
    norms = np.linalg.norm(model.long_items.embeddings.numpy(), axis=1)
    np.testing.assert_allclose(norms[3:5], 0.7, rtol=1e-5)
    assert (norms[[0, 1, 2, 5]] < 0.1).all()


def test_distillation_which_has_a_gradient_on_all_items_keeps_all_their_rows_in_the_ball():
    model = make(max_norm=0.7, stddev=1.0)
    before = [
        np.linalg.norm(table.embeddings.numpy(), axis=1)
        for table in (model.short_items, model.long_items, model.long_users)
    ]
    transitions = (np.array([0, 0, 1, 1, 1, 1, 1]), np.array([2]), np.array([1]))
    distillation = {
        "distillation": TransitionDistillation(transitions, 0.5),
        "distillation_weight": 1e-6,
    }
    model.compile(tf.keras.optimizers.SGD(1e-6), margin=100.0, **distillation)
    one_step(model, **STEP)
    after = [
        np.linalg.norm(table.embeddings.numpy(), axis=1)
        for table in (model.short_items, model.long_items, model.long_users)
    ]
    assert all((norms > 0.7).any() for norms in before)
    for norms, initial in zip(after[:2], before[:2], strict=True):
        np.testing.assert_allclose(norms, np.minimum(initial, 0.7), rtol=1e-4)
    np.testing.assert_allclose(after[2][1], min(before[2][1], 0.7), rtol=1e-4)
    np.testing.assert_array_equal(after[2][[0, 2, 3]], before[2][[0, 2, 3]])


def test_l2_of_a_step_is_that_of_its_unique_rows():
    # With margin 0 and equal positive and negative the hinge has no gradient: only L2 moves
    # weights. SGD: row <- row (1 - rate * l2).
    model = make()
    before = {id(table): table.numpy() for table in model.trainable_variables}
    model.compile(tf.keras.optimizers.SGD(0.1), margin=0.0, l2=0.5, kernel_l2=0.2)
    one_step(model, user=[1, 1], history=[[1, 2, 2]] * 2, targets=[[3]] * 2, negatives=[[[3]]] * 2)
    np.testing.assert_allclose(
        model.long_items.embeddings.numpy()[3],
        0.95 * before[id(model.long_items.embeddings)][3],
        rtol=1e-5,
    )
    np.testing.assert_array_equal(
        model.long_items.embeddings.numpy()[1], before[id(model.long_items.embeddings)][1]
    )
    np.testing.assert_allclose(
        model.short_items.embeddings.numpy()[2],
        0.95 * before[id(model.short_items.embeddings)][2],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        model.long_users.embeddings.numpy()[1],
        0.95 * before[id(model.long_users.embeddings)][1],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        model.intent.query_kernel.numpy(), 0.98 * before[id(model.intent.query_kernel)], rtol=1e-5
    )


def with_names(model):
    model.user_vocabulary, model.item_vocabulary = (
        Vocabulary(["ann", "bob", "eve"]),
        Vocabulary(["a", "b", "c", "d", "e"]),
    )
    return model


def test_recommend_gives_raw_ids_in_order_of_score_without_seen_items():
    model = with_names(make())
    scores = model({"user": tf.constant([2]), "history": tf.constant([[0, 1, 4]])}).numpy()[0]
    expected = sorted((j for j in range(1, 6) if j not in (1, 4)), key=lambda j: -scores[j])
    items, values = model.recommend([["a", "d"]], k=3, users=["bob"])
    assert items == [["abcde"[j - 1] for j in expected]]
    np.testing.assert_allclose(values[0], [scores[j] for j in expected], rtol=1e-6)
    assert model.recommend([["a", "d"]], k=2, users=["bob"])[0] == [items[0][:2]]


def test_recommend_survives_unknown_ids_empty_and_long_histories_and_large_k():
    model = with_names(make())
    histories = [[], ["nothing", "a"], ["a"], ["e", "a", "b", "c", "d"]]
    items, scores = model.recommend(histories, k=50, users=["nobody"] * 4)
    assert items[1] == items[2]
    assert sorted(items[0]) == ["a", "b", "c", "d", "e"]
    assert items[3] == []
    assert np.isfinite(np.concatenate(scores)).all()


def test_recommend_keeps_seen_items_when_asked():
    items, _ = with_names(make()).recommend([["a", "b"]], k=5, exclude_seen=False)
    assert sorted(items[0]) == ["a", "b", "c", "d", "e"]


def test_recommend_without_vocabularies_takes_numbers():
    items, _ = make().recommend([[1, 4]], k=3)
    assert sorted(items[0]) == [2, 3, 5]


def test_recommend_wants_a_user_for_each_history():
    with pytest.raises(
        ValueError, match="users must name one user for each history, but has 1 for 2 histories"
    ):
        make().recommend([[1], [2]], users=[1])


def test_wrong_choices():
    with pytest.raises(ValueError, match="reduction must be one of sum, mean, but is 'max'"):
        make().compile(reduction="max")
    with pytest.raises(ValueError, match=r"loss must be one of hinge, bpr, .* but is 'square'"):
        make().compile(loss="square")
    with pytest.raises(
        ValueError,
        match="sampled_softmax takes next_items and masked_items, but AttRec trains on windows",
    ):
        make().compile(loss="sampled_softmax")
    with pytest.raises(ValueError, match="aggregation must be one of"):
        make(aggregation="median")
    with pytest.raises(ValueError, match=r"`self_attention` must be True or False; got .no."):
        make(self_attention="no")
    with pytest.raises(ValueError, match="`time_signal` must be True or False; got None"):
        make(time_signal=None)
    with pytest.raises(ValueError, match="`max_wavelength` must be a finite number above 0; got 0"):
        make(max_wavelength=0)
    with pytest.raises(ValueError, match="dim of short_items must be at least 1, but is 0"):
        make(dim=0)
    with pytest.raises(ValueError, match="stddev must be at least 0, but is -1"):
        make(stddev=-1)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_replica_without_an_example_changes_nothing(reduction):
    random, start, trained = np.random.default_rng(5), make().get_weights(), []
    batches = {
        "user": random.integers(1, 4, 5),
        "history": random.integers(1, 6, (5, 3)),
        "targets": random.integers(1, 6, (5, 2)),
        "negatives": random.integers(1, 6, (5, 2, 2)),
        "sample_weight": np.ones(5, np.float32),
        # Batches of 4 and of 1.
        "normalizer": np.float32([0.25] * 4 + [1.0]),
    }
    for replicas in (1, 2):
        with strategy(replicas).scope():
            model = make()
            model.set_weights(start)
            model.compile(tf.keras.optimizers.SGD(0.1), "hinge", reduction=reduction)
        model.fit(tf.data.Dataset.from_tensor_slices(batches).batch(4), verbose=0)
        trained.append([one.numpy() for one in model.trainable_variables])
    for one, two in zip(*trained, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-7)
