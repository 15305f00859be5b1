"""What every model of the package keeps, whichever it is: models are found, not listed."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn import models, objectives
from tfrec_attn.config import Runtime
from tfrec_attn.distribution import make_strategy
from tfrec_attn.layers import TransitionDistillation
from tfrec_attn.optimizers import Adagrad, gradients

USERS, ITEMS, LENGTH = 6, 12, 4
SMALL = {"dim": 8, "stddev": 0.5, "dropout": 0.0}


def strategy(replicas):
    return make_strategy(Runtime(strategy="mirrored", devices=[f"CPU:{index}" for index in range(replicas)]))


def make(name, **changes):
    tf.random.set_seed(3)
    parameters = {key: value for key, value in SMALL.items() if key in models.parameters(name)}
    return models.get(name)(USERS, ITEMS, LENGTH, **{**parameters, **changes})


def causal(name):
    return models.get(name).trains_at_every_position()


def compiled(name, optimizer="sgd", **changes):
    model = make(name)
    model.compile(optimizer, "softmax" if causal(name) else "hinge", **changes)
    return model


def training_features(name, rows=8, seed=0):
    """What the training stream of the model gives."""
    batch = features(rows, seed)
    if causal(name):
        following = np.random.default_rng(seed + 1).integers(1, ITEMS + 1, (rows, LENGTH))
        batch["targets"] = tf.constant(following * (batch["history"].numpy() > 0), tf.int32)
        batch["weight"] = tf.fill([rows], np.float32(1.0 / np.count_nonzero(batch["targets"])))
    return batch


def features(rows=8, seed=0):
    random = np.random.default_rng(seed)
    history = random.integers(1, ITEMS + 1, (rows, LENGTH))
    for row in range(rows):
        history[row, : row % LENGTH] = 0
    return {
        "user": tf.constant(random.integers(1, USERS + 1, rows), tf.int32),
        "history": tf.constant(history, tf.int32),
        "targets": tf.constant(random.integers(1, ITEMS + 1, (rows, 2)), tf.int32),
        "negatives": tf.constant(random.integers(1, ITEMS + 1, (rows, 2, 3)), tf.int32),
    }


pytestmark = pytest.mark.parametrize("name", models.names())


def test_shapes(name):
    model, batch = make(name), features()
    queries, items = model.query_vectors(batch["user"], batch["history"]), model.item_vectors()
    assert queries.dtype == items.dtype == tf.float32
    assert queries.shape == [8, items.shape[1]]
    assert items.shape[0] == ITEMS + 1
    np.testing.assert_allclose(model.item_vectors(tf.constant([5, 2])), tf.gather(items, [5, 2]), rtol=1e-6)
    scores = model(batch)
    assert scores.shape == [8, ITEMS + 1]
    np.testing.assert_allclose(scores[:, 1:], queries.numpy() @ items.numpy()[1:].T, rtol=1e-5, atol=1e-6)
    assert (scores.numpy()[:, 0] == np.finfo(np.float32).min).all()


def test_the_padding_row_changes_nothing(name):
    model, batch = make(name), features()
    before = model(batch).numpy()
    loss = float(model_loss(model, batch))
    for table in model.trainable_variables:
        if table.shape[0] in (USERS + 1, ITEMS + 1):
            table.scatter_update(tf.IndexedSlices(tf.fill([1, *table.shape[1:]], 5.0), [0]))
    np.testing.assert_array_equal(model(batch), before)
    assert float(model_loss(model, batch)) == loss


def test_more_left_padding_changes_nothing(name):
    model, batch = make(name), features()
    short = {**batch, "history": batch["history"][:, -2:]}
    for columns in (LENGTH - 2, LENGTH + 1):
        padded = {**batch, "history": tf.pad(short["history"], [[0, 0], [columns, 0]])}
        np.testing.assert_allclose(model(padded), model(short), rtol=1e-5, atol=1e-6)


def test_only_the_latest_items_count(name):
    model, batch = make(name), features()
    longer = {**batch, "history": tf.concat([tf.fill([8, 3], 7), batch["history"]], axis=1)}
    np.testing.assert_array_equal(model(longer), model(batch))


def test_empty_history_and_unknown_user_are_finite(name):
    model = make(name)
    for user in (0, 1):
        nothing = {"user": tf.constant([user]), "history": tf.zeros([1, LENGTH], tf.int32)}
        assert np.isfinite(model(nothing).numpy()[:, 1:]).all()


def test_every_variable_gets_a_gradient(name):
    model, batch = make(name), features()
    with tf.GradientTape() as tape:
        loss = model_loss(model, batch)
    for gradient, variable in zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True):
        assert gradient is not None, variable.name
        assert np.abs(tf.convert_to_tensor(gradient).numpy()).sum() > 0, variable.name


def test_gradients_against_differences(name):
    model, batch = make(name), features()
    random = np.random.default_rng(1)
    with tf.GradientTape() as tape:
        loss = model_loss(model, batch)
    slopes = tape.gradient(loss, model.trainable_variables)
    for gradient, variable in zip(slopes, model.trainable_variables, strict=True):
        direction = random.normal(size=variable.shape).astype(np.float32)
        start, values = variable.numpy(), []
        for sign in (1, -1):
            variable.assign(start + sign * 1e-3 * direction)
            values.append(float(model_loss(model, batch)))
        variable.assign(start)
        slope = (values[0] - values[1]) / 2e-3
        assert float(np.sum(tf.convert_to_tensor(gradient).numpy() * direction)) == pytest.approx(slope, rel=0.05, abs=0.05), variable.name


def test_padded_targets_count_nothing(name):
    model, batch = make(name), features()
    padded = {**batch, "targets": tf.concat([batch["targets"][:, :1], tf.zeros([8, 1], tf.int32)], axis=1)}
    first = {**batch, "targets": batch["targets"][:, :1], "negatives": batch["negatives"][:, :1]}
    np.testing.assert_allclose(model_loss(model, padded), model_loss(model, first), rtol=1e-5)


def test_overfits_eight_sequences(name):
    batch = training_features(name)
    last = (np.arange(8) + 3) % ITEMS + 1
    negatives = [[[n for n in range(1, ITEMS + 1) if n != item]] for item in last]
    targets = np.stack([last, last], axis=1)
    if causal(name):
        targets = batch["targets"].numpy()
        targets[:, -1] = last
    batch.update(
        user=tf.constant([1, 2, 3, 4, 5, 6, 1, 2]), targets=tf.constant(targets, tf.int32), negatives=tf.constant(negatives, tf.int32)
    )
    model = compiled(name, Adagrad(0.2), margin=0.3)
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(200), verbose=0)
    ranks = model.ranks({**batch, "target": tf.constant(last, tf.int32), "seen": tf.zeros([8, 1], tf.int32)})
    assert ranks.numpy().tolist() == [1] * 8


def test_a_later_item_changes_no_earlier_position(name):
    if not causal(name):
        pytest.skip(f"{name} trains on windows, not at every position")
    model, batch = make(name), features()
    vectors = model.sequence_vectors(batch["user"], batch["history"]).numpy()
    for position in range(1, LENGTH):
        other = batch["history"].numpy()
        other[:, position:] = other[:, position:] % ITEMS + 1
        changed = model.sequence_vectors(batch["user"], tf.constant(other)).numpy()
        real = batch["history"].numpy()[:, :position] > 0
        np.testing.assert_allclose(changed[:, :position][real], vectors[:, :position][real], rtol=1e-5, atol=1e-6)
        assert np.abs(changed[:, position] - vectors[:, position]).max() > 1e-3


def test_the_query_is_that_of_the_latest_position(name):
    if not causal(name):
        pytest.skip(f"{name} has no vectors at every position")
    model, batch = make(name), features()
    history = tf.concat([batch["history"], tf.zeros([1, LENGTH], tf.int32)], axis=0)
    user = tf.fill([9], 1)
    np.testing.assert_allclose(model.query_vectors(user, history), model.sequence_vectors(user, history)[:, -1], rtol=1e-5, atol=1e-6)


def test_training_starts_at_the_log_of_the_catalogue(name):
    if not causal(name):
        pytest.skip(f"{name} has no loss over the catalogue")
    model = make(name, stddev=1e-4)
    model.compile("sgd", "softmax", reduction="mean")
    assert float(model.compute_loss(training_features(name))) == pytest.approx(np.log(ITEMS), rel=1e-3)


def test_attention_weighs_the_real_positions(name):
    model, batch = make(name), features()
    history = tf.concat([batch["history"], tf.zeros([1, LENGTH], tf.int32)], axis=0)
    user = tf.fill([9], 1)
    attention = model.attention(user, history)
    if attention is None:
        pytest.skip(f"{name} has no attention")
    assert (attention.shape, attention.dtype) == ((9, LENGTH), tf.float32)
    assert (attention.numpy() >= 0).all()
    assert (attention.numpy()[history == 0] == 0).all()
    assert (attention.numpy()[:8].max(axis=1) > 0).all()
    traced = tf.function(model.attention, input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, LENGTH], tf.int32)])
    np.testing.assert_allclose(traced(user, history), attention, atol=1e-6)
    np.testing.assert_allclose(model.attention(user, history[:, -2:]), model.attention(user, history * [0, 0, 1, 1])[:, -2:], atol=1e-6)


def test_attention_and_queries_read_shared_tables(name):
    model, batch = make(name), features()
    expected = [tf.convert_to_tensor(one) for one in outputs(model, batch) if one is not None]
    tables = model.tables("items")
    vectors = tf.Variable(tf.concat([tf.fill([ITEMS + 1, 1], 7.0), *tables], axis=1))
    for number, table in enumerate(tables):
        model.share_table(table, vectors, 1 + number * table.shape[1])
        table.assign(tf.zeros_like(table))
    for found, value in zip([one for one in outputs(model, batch) if one is not None], expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)


def outputs(model, batch):
    return model.query_vectors(batch["user"], batch["history"]), model.attention(batch["user"], batch["history"])


def test_config_round_trip(name):
    model = make(name)
    assert type(model).from_config(model.get_config()).get_config() == model.get_config()
    assert set(models.parameters(name)) < set(model.get_config())


def test_saved_weights_give_the_same_model(name, tmp_path):
    model, batch = make(name), features()
    model.save_weights(tmp_path / "weights")
    loaded = type(model).from_config(model.get_config())
    loaded.load_weights(tmp_path / "weights").assert_consumed()
    np.testing.assert_array_equal(loaded(batch), model(batch))


def test_saved_model_gives_the_same_scores(name, tmp_path):
    model, batch = make(name), features()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, LENGTH], tf.int32)])
    def scores(user, history):
        return model({"user": user, "history": history})

    module = tf.Module()
    module.model, module.scores = model, scores
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(loaded.scores(batch["user"], batch["history"]), model(batch), rtol=1e-6)


def test_sampled_softmax_of_every_item_is_the_softmax(name):
    if not causal(name):
        pytest.skip(f"{name} has no loss over the catalogue")
    batch = training_features(name, rows=6)
    batch["negatives"] = tf.reshape(tf.range(1, ITEMS + 1), [6, 2])
    start, found = make(name).get_weights(), []
    for loss in ("softmax", "sampled_softmax"):
        model = make(name)
        model.set_weights(start)
        model.compile("sgd", loss, reduction="mean")
        with tf.GradientTape() as tape:
            value = model.compute_loss(batch)
        slopes = tape.gradient(value, model.trainable_variables)
        found.append([float(value), *(tf.convert_to_tensor(gradient).numpy() for gradient in slopes)])
    for full, sampled in zip(*found, strict=True):
        np.testing.assert_allclose(sampled, full, rtol=1e-4, atol=1e-6)


def test_a_sum_is_the_mean_times_its_examples_distillation_too(name):
    batch, start, values = training_features(name), make(name).get_weights(), {}
    transitions = (np.array([0, 0, 2, *[2] * (ITEMS - 1)]), np.array([3, 5]), np.array([4, 1]))
    for reduction in ("sum", "mean"):
        model = make(name)
        model.set_weights(start)
        options = {"distillation": TransitionDistillation(transitions, 0.5), "distillation_weight": 0.7, "reduction": reduction}
        model.compile("sgd", "softmax" if causal(name) else "hinge", **options)
        values[reduction] = float(model.compute_loss(batch))
    examples = np.count_nonzero(batch["targets"]) if causal(name) else 8
    assert values["sum"] == pytest.approx(examples * values["mean"], rel=1e-4)


@pytest.mark.parametrize("loss", ["bce", "gbce"])
def test_binary_losses_against_loops(name, loss, monkeypatch):
    # As shipped.
    monkeypatch.setattr(objectives, "_LENGTH_QUANTILES", (0.5, 0.75, 0.9))
    if not causal(name):
        pytest.skip(f"{name} is not trained at every position")
    batch = training_features(name)
    batch["negatives"] = tf.constant(np.random.default_rng(7).integers(1, ITEMS + 1, (8, LENGTH, 3)), tf.int32)
    model = make(name)
    model.compile("sgd", loss, reduction="sum", calibration=0.5)
    vectors, items = model.sequence_vectors(batch["user"], batch["history"]).numpy(), model.item_vectors().numpy()
    beta = 1.0 if loss == "bce" else 1 - 0.5 * (1 - 3 / (ITEMS - 1))
    expected = 0.0
    for b, t in zip(*np.nonzero(batch["history"].numpy()), strict=True):
        expected += beta * np.log1p(np.exp(-vectors[b, t] @ items[batch["targets"][b, t]]))
        expected += sum(np.log1p(np.exp(vectors[b, t] @ items[n])) for n in batch["negatives"][b, t])
    np.testing.assert_allclose(model.compute_loss(batch), expected, rtol=1e-4)


def batch_for(name, loss, seed):
    """A batch with negatives, those of a softmax shared by all of it."""
    own = (ROWS, LENGTH, 2)
    shape = {"sampled_softmax": (ROWS, 1), "bce": own, "gbce": own}.get(loss)
    if shape is None:
        return features(ROWS, seed) if loss in PAIRWISE else training_features(name, ROWS, seed)
    negatives = np.random.default_rng(seed + 2).integers(1, ITEMS + 1, shape)
    return {**training_features(name, ROWS, seed), "negatives": tf.constant(negatives, tf.int32)}


def with_importance(batch, loss, seed):
    """A batch in which each target, or each window, counts as much as comes by chance."""
    shape = [ROWS] if loss in PAIRWISE else [ROWS, LENGTH]
    importance = np.random.default_rng(seed).uniform(0.25, 3, shape).astype(np.float32)
    importance *= 1 if loss in PAIRWISE else batch["history"].numpy() > 0
    return {**batch, "importance": tf.constant(importance), "weight": tf.fill([ROWS], np.float32(1 / importance.sum()))}


def in_parts(batches, replicas, whole):
    """What `fit` takes: of each batch the equal parts of the replicas, one after the other; the features named in `whole` go with each."""

    def parts(key):
        values = np.stack([batch[key] for batch in batches])
        if key in whole:
            return np.repeat(values, replicas, axis=0)
        return values.reshape([len(batches) * replicas, -1, *values.shape[2:]])

    elements = {key: parts(key) for key in batches[0]}
    return tf.keras.utils.experimental.DatasetCreator(lambda pipeline: tf.data.Dataset.from_tensor_slices(elements))


PAIRWISE = ("hinge", "bpr")
STEPS = 20
ROWS = 6  # of a batch, which two and three replicas can share
OTHERWISE = [
    (3, "hinge", {"reduction": "sum", "distilled": True}),
    (3, "bpr", {"reduction": "mean", "distilled": True, "weighted": True}),
    (3, "softmax", {"reduction": "mean", "distilled": True}),
    (3, "sampled_softmax", {"reduction": "mean", "distilled": True, "clip_norm": 5.0}),
    (3, "bce", {"reduction": "mean", "distilled": True, "weighted": True}),
    (3, "gbce", {"reduction": "sum", "distilled": True}),
    # Without distillation the gradients are of some rows.
    (2, "bpr", {"reduction": "mean", "clip_norm": 0.1, "weighted": True, "rows_alone": True}),
    (2, "sampled_softmax", {"reduction": "sum", "clip_norm": 5.0, "rows_alone": True}),
]


@pytest.mark.parametrize(("replicas", "loss", "options"), OTHERWISE)
def test_several_replicas_train_as_one(name, replicas, loss, options, monkeypatch):
    if loss not in PAIRWISE and not causal(name):
        pytest.skip(f"{name} is not trained at every position")
    changes = {"max_norm": 0.9} if "max_norm" in models.parameters(name) else {}
    batches = [batch_for(name, loss, seed) for seed in range(STEPS)]
    start, trained, losses = make(name).get_weights(), [], []
    transitions = (np.array([0, 0, 2, *[2] * (ITEMS - 1)]), np.array([3, 5]), np.array([4, 1]))
    options = dict(options)
    if options.pop("rows_alone", False):
        monkeypatch.setattr(gradients, "_WHOLE_UP_TO", 0)
    if options.pop("weighted", False):
        batches = [with_importance(batch, loss, seed) for seed, batch in enumerate(batches)]
    if options.pop("distilled", False):
        options.update(distillation=TransitionDistillation(transitions, 0.5), distillation_weight=0.7)
    for count in (1, replicas):
        with strategy(count).scope():
            model = make(name, **changes)
            model.set_weights(start)
            model.compile(Adagrad(0.05), loss, l2=0.03, kernel_l2=0.05, **options)
        whole = ["negatives"] if loss == "sampled_softmax" else []
        history = model.fit(in_parts(batches, count, whole), steps_per_epoch=STEPS, verbose=0)
        losses.append(history.history["loss"][0])
        trained.append([variable.numpy() for variable in model.trainable_variables])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    # L2 falls on the row of padding, which nothing reads, where a replica's part has some.
    tables = [id(table) for of in ("users", "items") for table in model.tables(of)]
    rows = [slice(id(variable) in tables, None) for variable in model.trainable_variables]
    for one, several, initial, real in zip(*trained, start, rows, strict=True):
        np.testing.assert_allclose(several[real], one[real], atol=1e-6)
        assert np.abs(one - initial).max() > 0.001 or np.abs(initial).max() == 0


def test_a_step_is_traced_once(name, monkeypatch):
    traced = []
    model = compiled(name, Adagrad(0.05))
    step = model.train_step
    monkeypatch.setattr(model, "train_step", lambda batch: traced.append(True) or step(batch))
    model.fit(tf.data.Dataset.from_tensors(training_features(name)).repeat(2), verbose=0)
    assert len(traced) == 1


@pytest.mark.parametrize("count", [11, 1])
def test_evaluation_is_the_same_on_several_replicas_with_an_uneven_last_batch(name, count):
    random = np.random.default_rng(5)
    target, nothing = tf.constant(random.integers(1, ITEMS + 1, count), tf.int32), tf.zeros([count, 2], tf.int32)
    blocks = {**features(count), "target": target, "seen": nothing}
    start, results = make(name).get_weights(), []
    for replicas in (1, 2, 3):
        with strategy(replicas).scope():
            model = make(name)
            model.set_weights(start)
            model.compile(k=(1, 5))
        results.append(model.evaluate(tf.data.Dataset.from_tensor_slices(blocks).batch(4), return_dict=True, verbose=0))
    ranks = model.ranks(blocks).numpy()
    expected = {"HR@1": np.mean(ranks <= 1), "HR@5": np.mean(ranks <= 5), "MRR": np.mean(1 / ranks)}
    for result in results:
        assert {key: result[key] for key in expected} == pytest.approx(expected, abs=1e-7)
        assert result == pytest.approx(results[0], abs=1e-7)


def model_loss(model, batch):
    if not hasattr(model, "_objective"):
        model.compile("sgd", margin=3.0)
    return model.compute_loss(batch)
