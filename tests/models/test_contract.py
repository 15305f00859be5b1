"""The contract of all models, found in the package."""

import numpy as np
import pytest
import tensorflow as tf

from tests.gpu_kernels import on_the_host
from tests.models.contract import (
    EVERY,
    ITEMS,
    LENGTH,
    TRAINED,
    TYPICAL,
    USERS,
    causal,
    features,
    loss_of,
    make,
    strategy,
    training_features,
)
from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.keras_versions import keras
from tfrec_attn.keras_versions.variables import variable_of
from tfrec_attn.layers import (
    EmbeddingSmoothing,
    EmbeddingTable,
    LearnedPositions,
    TransitionDistillation,
)
from tfrec_attn.losses import LOSSES
from tfrec_attn.losses.features import with_wide_ids
from tfrec_attn.losses.packing import pack
from tfrec_attn.optimizers import Adagrad, LazyAdam, gradients
from tfrec_attn.runs import weights
from tfrec_attn.training import inputs

EVERY_MODEL = pytest.mark.parametrize("name", EVERY)
TRAINED_MODEL = pytest.mark.parametrize("name", TRAINED)


@EVERY_MODEL
def test_shapes(name):
    model, batch = make(name), features()
    queries, items = model.query_vectors(batch), model.item_vectors()
    assert queries.dtype == items.dtype == tf.float32
    assert queries.shape == [8, items.shape[1]]
    assert items.shape[0] == ITEMS + 1
    np.testing.assert_allclose(
        model.item_vectors(tf.constant([5, 2])), tf.gather(items, [5, 2]), rtol=1e-6
    )
    scores = model(batch)
    assert scores.shape == [8, ITEMS + 1]
    expected, prior = queries.numpy() @ items.numpy().T, model.prior(batch)
    if prior is not None:
        rows = np.arange(8)[:, np.newaxis]
        expected[rows, prior[0]] += prior[1]
    np.testing.assert_allclose(scores[:, 1:], expected[:, 1:], rtol=1e-5, atol=1e-6)
    assert (scores.numpy()[:, 0] == np.finfo(np.float32).min).all()


@TRAINED_MODEL
def test_the_padding_row_changes_nothing(name):
    model, batch = make(name), training_features(name)
    before = model(batch).numpy()
    loss = float(model_loss(model, batch))
    for table in model.trainable_variables:
        if table.shape[0] in (USERS + 1, ITEMS + 1):
            variable_of(table).scatter_update(
                tf.IndexedSlices(tf.fill([1, *table.shape[1:]], 5.0), [0])
            )
    np.testing.assert_array_equal(model(batch), before)
    assert float(model_loss(model, batch)) == loss


@EVERY_MODEL
def test_more_left_padding_changes_nothing(name):
    model, batch = make(name), features()
    short = {**batch, "history": batch["history"][:, -2:]}
    for columns in (LENGTH - 2, LENGTH + 1):
        padded = {**batch, "history": tf.pad(short["history"], [[0, 0], [columns, 0]])}
        np.testing.assert_allclose(model(padded), model(short), rtol=1e-5, atol=1e-6)


@EVERY_MODEL
def test_only_the_latest_items_count(name):
    model, batch = make(name), features()
    longer = {**batch, "history": tf.concat([tf.fill([8, 3], 7), batch["history"]], axis=1)}
    np.testing.assert_array_equal(model(longer), model(batch))


@EVERY_MODEL
def test_empty_history_and_unknown_user_are_finite(name):
    model = make(name)
    for user in (0, 1):
        nothing = {"user": tf.constant([user]), "history": tf.zeros([1, LENGTH], tf.int32)}
        assert np.isfinite(model(nothing).numpy()[:, 1:]).all()


@TRAINED_MODEL
def test_every_variable_gets_a_gradient(name):
    model, batch = make(name), training_features(name)
    with tf.GradientTape() as tape:
        loss = model_loss(model, batch)
    for gradient, variable in zip(
        tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True
    ):
        assert gradient is not None, variable.name
        assert np.abs(tf.convert_to_tensor(gradient).numpy()).sum() > 0, variable.name


@pytest.mark.parametrize("name", TYPICAL)
def test_gradients_against_differences(name):
    model, batch = make(name), training_features(name)
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
        assert float(np.sum(tf.convert_to_tensor(gradient).numpy() * direction)) == pytest.approx(
            slope, rel=0.05, abs=0.05
        ), variable.name


@pytest.mark.parametrize(
    ("name", "loss"),
    sorted(
        {(name, loss_of(name)) for name in TRAINED}
        | {(name, loss) for name in TYPICAL for loss in ("hinge", "bce", "softmax")}
    ),
)
def test_padded_targets_count_nothing(name, loss, small_batches_in_groups):
    model, batch = make(name), training_features(name, loss=loss)
    model.compile("sgd", loss, reduction="sum")
    keep = np.ones(batch["targets"].shape, bool)
    keep[:, 1:] = (
        False
        if models.get(name).trains_on == "windows"
        else np.random.default_rng(2).integers(0, 2, (8, LENGTH - 1))
    )
    padded = {**batch, "targets": batch["targets"] * keep}
    parts = []
    for column in range(keep.shape[1]):
        alone = np.zeros_like(keep)
        alone[:, column] = keep[:, column]
        parts.append(float(model.compute_loss({**batch, "targets": batch["targets"] * alone})))
    np.testing.assert_allclose(model.compute_loss(padded), sum(parts), rtol=1e-5)


@TRAINED_MODEL
def test_overfits_six_sequences_and_is_traced_once(name, monkeypatch):
    batch, last = training_features(name, USERS, loss="softmax"), (np.arange(USERS) + 3) % ITEMS + 1
    targets = batch["targets"].numpy()
    targets[:, -1] = last
    targets[:, :-1] = targets[:, :-1] if causal(name) else 0
    inputs = {"user": tf.range(1, USERS + 1), "history": features(USERS)["history"]}
    if models.get(name).trains_on == "masked_items":
        mask = tf.fill([USERS, 1], ITEMS + 1)
        batch["history"] = tf.concat([inputs["history"][:, 1:], mask], axis=1)
    batch.update(user=inputs["user"], targets=tf.constant(targets, tf.int32))
    model = make(name)
    model.compile(Adagrad(0.1), "softmax")
    traced, step = [], model.train_step

    def observed(batch):
        traced.append(tf.compat.v1.get_default_graph())
        return step(batch)

    monkeypatch.setattr(model, "train_step", observed)
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(200), verbose=0)
    assert len(traced) == 1
    held_out = {"target": tf.constant(last, tf.int32), "seen": tf.zeros([USERS, 1], tf.int32)}
    ranks, held_out = model.traced_ranks(), {**inputs, **held_out}
    assert ranks(held_out).numpy().tolist() == [1] * USERS
    # Traced already, and a GPU would do all of it.
    for graph in (*traced, ranks.get_concrete_function(held_out).graph):
        assert on_the_host(graph) == []


# Each loss once, and the recommended loss of each model; the test above has the softmax loss.
MODEL_OF_LOSS = {
    loss: name
    for name in reversed(TYPICAL)
    for loss in LOSSES
    if models.get(name).trains_on in LOSSES[loss].batches
}
STEPS_OF_LOSSES = {(name, loss) for loss, name in MODEL_OF_LOSS.items()}
STEPS_OF_LOSSES |= {("sasrec", "bce"), *((name, loss_of(name)) for name in TRAINED)}


@pytest.mark.parametrize(
    ("name", "loss"), sorted(one for one in STEPS_OF_LOSSES if one[1] != "softmax")
)
def test_a_gpu_has_a_kernel_for_each_operation_of_a_step(name, loss):
    model, batch = make(name), training_features(name, loss=loss)
    optimizer, options = Adagrad(0.1), {}
    if loss in ("bce", "bpr"):
        optimizer = LazyAdam(0.1)
    transitions = (np.array([0, 0, 2, *[2] * (ITEMS - 1)]), np.array([3, 5]), np.array([4, 1]))
    if (name, loss) == ("sasrec", "bce"):
        options = {"distillation": EmbeddingSmoothing(transitions)}
    if loss in ("hinge", "sampled_softmax"):
        options = {"distillation": TransitionDistillation(transitions), "distillation_weight": 1.0}
    model.compile(optimizer, loss, l2=0.1, kernel_l2=0.1, clip_norm=1.0, **options)
    optimizer.build(model.trainable_variables)
    step = tf.function(model.train_step, autograph=False).get_concrete_function(batch)
    assert on_the_host(step.graph) == []


@pytest.mark.parametrize("name", sorted({*EVERY} - {*TRAINED}))
def test_a_gpu_has_a_kernel_for_each_operation_of_counted_ranks(name):
    features_of_ranks = {
        **features(),
        "target": tf.ones([8], tf.int32),
        "seen": tf.zeros([8, 2], tf.int32),
    }
    assert (
        on_the_host(make(name).traced_ranks().get_concrete_function(features_of_ranks).graph) == []
    )


@TRAINED_MODEL
def test_a_later_item_changes_no_earlier_position(name):
    if not causal(name):
        pytest.skip(f"{name} trains on windows, not at every position")
    model, batch = make(name), features()
    vectors = model.sequence_vectors(batch).numpy()
    for position in range(1, LENGTH):
        other = batch["history"].numpy()
        other[:, position:] = other[:, position:] % ITEMS + 1
        changed = model.sequence_vectors({**batch, "history": tf.constant(other)}).numpy()
        real = batch["history"].numpy()[:, :position] > 0
        np.testing.assert_allclose(
            changed[:, :position][real], vectors[:, :position][real], rtol=1e-5, atol=1e-6
        )
        assert np.abs(changed[:, position] - vectors[:, position]).max() > 1e-3


@pytest.mark.parametrize("name", [one for one in TRAINED if models.get(one).packs_sequences])
def test_sequences_of_a_packed_row_do_not_meet(name):
    model, batch = make(name), with_wide_ids(training_features(name, loss="softmax"))
    packed, places = pack({"history": batch["history"]})
    assert packed["history"].shape[0] < batch["history"].shape[0]
    real = batch["history"].numpy() > 0
    found = tf.reshape(model.sequence_vectors(packed), [-1, model.item_vectors().shape[1]])
    expected = model.sequence_vectors(batch).numpy()[real]
    np.testing.assert_allclose(
        tf.gather(found, places[real]), expected, rtol=1e-5, atol=2e-6 * np.abs(expected).max()
    )


@TRAINED_MODEL
def test_the_query_is_that_of_the_latest_position(name):
    if not causal(name):
        pytest.skip(f"{name} has no vectors at every position")
    model, batch = make(name), features()
    history = tf.concat([batch["history"], tf.zeros([1, LENGTH], tf.int32)], axis=0)
    inputs = {"user": tf.fill([9], 1), "history": history}
    np.testing.assert_allclose(
        model.query_vectors(inputs), model.sequence_vectors(inputs)[:, -1], rtol=1e-5, atol=1e-6
    )


@TRAINED_MODEL
def test_training_starts_at_the_log_of_the_catalogue(name):
    if not causal(name):
        pytest.skip(f"{name} has no loss over the catalogue")
    model = make(name, stddev=1e-4)
    model.compile("sgd", "softmax", reduction="mean")
    assert float(model.compute_loss(training_features(name, loss="softmax"))) == pytest.approx(
        np.log(ITEMS), rel=1e-3
    )


@TRAINED_MODEL
def test_attention_weighs_the_real_positions(name):
    model, batch = make(name), features()
    history = tf.concat([batch["history"], tf.zeros([1, LENGTH], tf.int32)], axis=0)
    inputs = {"user": tf.fill([9], 1), "history": history}
    attention = model.attention(inputs)
    if attention is None:
        pytest.skip(f"{name} has no attention")
    assert (attention.shape, attention.dtype) == ((9, LENGTH), tf.float32)
    assert (attention.numpy() >= 0).all()
    assert (attention.numpy()[history == 0] == 0).all()
    assert (attention.numpy()[:8].max(axis=1) > 0).all()
    specs = {
        "user": tf.TensorSpec([None], tf.int32),
        "history": tf.TensorSpec([None, LENGTH], tf.int32),
    }
    traced = tf.function(model.attention, input_signature=[specs])
    np.testing.assert_allclose(traced(inputs), attention, atol=1e-6)
    short, padded = (
        {**inputs, "history": one} for one in (history[:, -2:], history * [0, 0, 1, 1])
    )
    np.testing.assert_allclose(model.attention(short), model.attention(padded)[:, -2:], atol=1e-6)


@TRAINED_MODEL
def test_the_attention_map_is_of_the_real_positions(name):
    model, batch = make(name), features()
    history = tf.concat([batch["history"], tf.zeros([1, LENGTH], tf.int32)], axis=0)
    inputs = {"user": tf.fill([9], 1), "history": history}
    attention_map = model.attention_map(inputs)
    if attention_map is None:
        pytest.skip(f"{name} has no attention map")
    assert (attention_map.shape, attention_map.dtype) == ((9, LENGTH, LENGTH), tf.float32)
    real = history.numpy() > 0
    values = attention_map.numpy()
    assert (values >= 0).all() and (
        values[~(real[:, np.newaxis] & real[:, :, np.newaxis])] == 0
    ).all()
    assert (values.max(axis=2) > 0)[real].all()
    specs = {
        "user": tf.TensorSpec([None], tf.int32),
        "history": tf.TensorSpec([None, LENGTH], tf.int32),
    }
    traced = tf.function(model.attention_map, input_signature=[specs])
    np.testing.assert_allclose(traced(inputs), attention_map, atol=1e-6)
    short, padded = (
        {**inputs, "history": one} for one in (history[:, -2:], history * [0, 0, 1, 1])
    )
    np.testing.assert_allclose(
        model.attention_map(short), model.attention_map(padded)[:, -2:, -2:], atol=1e-6
    )


@TRAINED_MODEL
def test_attention_and_queries_read_shared_tables(name):
    model, batch = make(name), features()
    expected = [tf.convert_to_tensor(one) for one in outputs(model, batch) if one is not None]
    tables = [
        layer
        for layer in model.submodules
        if isinstance(layer, EmbeddingTable) and layer.of == "items"
    ]
    vectors = tf.concat([tf.fill([ITEMS + 1, 1], 7.0), *(one.embeddings for one in tables)], axis=1)
    vectors = tf.Variable(tf.concat([tf.zeros_like(vectors[:1]), vectors[1:]], axis=0))
    for number, table in enumerate(tables):
        table.share(vectors, 1 + number * table.dim)
        table.embeddings.assign(tf.zeros_like(table.embeddings))
    for found, value in zip(
        [one for one in outputs(model, batch) if one is not None], expected, strict=True
    ):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)


def outputs(model, batch):
    return model.query_vectors(batch), model.attention(batch), model.attention_map(batch)


@TRAINED_MODEL
def test_the_training_score_is_the_ranking_score(name):
    model, batch = make(name), training_features(name, loss="bce")
    model.compile("sgd", "bce", reduction="sum")
    targets, history = batch["targets"].numpy(), batch["history"].numpy()
    place = 0 if models.get(name).trains_on == "windows" else -1
    batch["targets"] = tf.constant(
        np.where(np.arange(targets.shape[1]) == place % targets.shape[1], targets, 0)
    )
    if models.get(name).trains_on == "masked_items":
        # The mask stands for the next item, which is not there when it is asked for.
        history = np.pad(history, [[0, 0], [1, 0]])[:, :-1]
    scores = (
        model({"user": batch["user"], "history": tf.constant(history)}).numpy().astype(np.float64)
    )
    rows = np.arange(len(scores))
    expected = np.log1p(np.exp(-scores[rows, targets[:, place]])).sum()
    expected += np.log1p(
        np.exp(scores[rows[:, np.newaxis], batch["negatives"].numpy()[:, place]])
    ).sum()
    np.testing.assert_allclose(model.compute_loss(batch), expected, rtol=1e-5)


@TRAINED_MODEL
def test_every_regulariser_moves_its_variables(name):
    start = [
        np.random.default_rng(4).normal(size=one.shape).astype(np.float32)
        for one in make(name).trainable_variables
    ]
    changes = {"max_norm": None} if "max_norm" in models.parameters(name) else {}
    trained = []
    for weight in (0.0, 0.5):
        model = make(name, **changes)
        for variable, value in zip(model.trainable_variables, start, strict=True):
            variable.assign(value)
        model.compile(
            tf.keras.optimizers.SGD(0.1),
            loss_of(name),
            reduction="mean",
            l2=weight,
            kernel_l2=weight / 2,
            run_eagerly=True,
        )
        batch = training_features(name, loss=loss_of(name))
        model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
        trained.append([variable.numpy() for variable in model.trainable_variables])
    tables = [id(table) for of in ("users", "items") for table in model.tables(of)]
    for variable, free, held, value in zip(model.trainable_variables, *trained, start, strict=True):
        of_table = id(variable) in tables
        # Of a table those rows alone that the batch touches.
        rows = (
            np.abs(free - held).reshape(len(value), -1).max(axis=1) > 1e-3
            if of_table
            else np.full(len(value), True)
        )
        assert rows.sum() >= 2, variable.name
        expected = 0.1 * (0.5 if of_table else 0.25) * value
        np.testing.assert_allclose(
            (free - held)[rows], expected[rows], rtol=1e-3, atol=1e-5, err_msg=variable.name
        )


@TRAINED_MODEL
def test_a_step_keeps_rows_in_the_ball_that_is_promised(name):
    if "max_norm" not in models.parameters(name):
        pytest.skip(f"{name} promises no bound")
    model, batch = make(name, max_norm=0.5), training_features(name, loss=loss_of(name))
    layers = [one for one in model.submodules if isinstance(one, EmbeddingTable) and one.max_norm]
    before = {id(layer.embeddings): layer.embeddings.numpy() for layer in layers}
    model.compile(tf.keras.optimizers.SGD(10.0), loss_of(name), run_eagerly=True)
    model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    assert layers
    for table in (layer.embeddings for layer in layers):
        moved = np.any(table.numpy() != before[id(table)], axis=1)
        assert moved.any(), table.name
        assert np.linalg.norm(table.numpy()[moved], axis=1).max() <= 0.5 + 1e-6, table.name


@TRAINED_MODEL
def test_every_learned_position_gets_a_gradient(name):
    model, batch = make(name), training_features(name)
    layers = [layer for layer in model.submodules if isinstance(layer, LearnedPositions)]
    if not layers:
        pytest.skip(f"{name} learns no positions")
    with tf.GradientTape() as tape:
        loss = model_loss(model, batch)
    for gradient in tape.gradient(loss, [layer.table for layer in layers]):
        assert (np.abs(tf.convert_to_tensor(gradient).numpy()).max(axis=1) > 0).all()


@pytest.mark.parametrize("name", {models.get(name).trains_on: name for name in TRAINED}.values())
@pytest.mark.parametrize("loss", ["bce", "softmax"])
def test_training_batches_hold_no_held_out_item_and_no_negative_of_the_user(
    name, loss, make_leave_one_out
):
    # Items 1..6 are trained on, by each user half of them; 7..12 are each held out of one user, for
    # validation or for testing.
    histories = [[1, 2, 3, 2, 7, 8], [4, 5, 6, 5, 9, 10], [1, 5, 3, 1, 11, 12]]
    split = make_leave_one_out(histories, ITEMS)
    keys = [
        f"model.name={name}",
        f"train.loss={loss}",
        "data.max_length=4",
        "data.targets=2",
        "train.batch_size=3",
        "train.negatives=5",
    ]
    stream = inputs.training_stream(configuration.load(None, keys), split)
    own = models.get(name).trains_on == "windows" or loss == "bce"
    trained, drawn = set(), set()
    for batch in stream.dataset().take(20):
        mask = ITEMS + 1 if models.get(name).trains_on == "masked_items" else 0
        trained |= {*np.ravel(batch["history"]), *np.ravel(batch["targets"])} - {0, mask}
        if own:
            for user, negatives in zip(
                batch["user"].numpy(), batch["negatives"].numpy(), strict=True
            ):
                drawn |= {*np.ravel(negatives)}
                assert not {*np.ravel(negatives)} & {*histories[user - 1][:-2]}
    assert trained == {1, 2, 3, 4, 5, 6}
    assert drawn == (set(range(1, ITEMS + 1)) if own else set())


@EVERY_MODEL
def test_config_round_trip(name):
    model = make(name)
    assert type(model).from_config(model.get_config()).get_config() == model.get_config()
    assert set(models.parameters(name)) < set(model.get_config())


@EVERY_MODEL
def test_saved_weights_give_the_same_model(name, tmp_path):
    model, batch = make(name), features()
    weights.write(tmp_path / "weights", model)
    loaded = type(model).from_config(model.get_config())
    weights.read(tmp_path / "weights", loaded)
    np.testing.assert_array_equal(loaded(batch), model(batch))


@EVERY_MODEL
def test_saved_model_gives_the_same_scores(name, tmp_path):
    model, batch = make(name), features()

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, LENGTH], tf.int32)]
    )
    def scores(user, history):
        return model({"user": user, "history": history})

    # Of a model itself, Keras also saves the calls of every layer.
    module = tf.Module()
    module.kept, module.scores = [variable_of(one) for one in model.variables], scores
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(tmp_path / "saved"), options=options)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(
        loaded.scores(batch["user"], batch["history"]), model(batch), rtol=1e-5, atol=1e-6
    )


@TRAINED_MODEL
def test_sampled_softmax_of_every_item_is_the_softmax(name):
    if not causal(name):
        pytest.skip(f"{name} has no loss over the catalogue")
    batch = training_features(name, rows=6, loss="softmax")
    batch["negatives"] = tf.reshape(tf.range(1, ITEMS + 1), [6, 2])
    start, found = make(name).get_weights(), []
    for loss in ("softmax", "sampled_softmax"):
        model = make(name)
        model.set_weights(start)
        model.compile("sgd", loss, reduction="mean")
        with tf.GradientTape() as tape:
            value = model.compute_loss(batch)
        slopes = tape.gradient(value, model.trainable_variables)
        found.append(
            [float(value), *(tf.convert_to_tensor(gradient).numpy() for gradient in slopes)]
        )
    for full, sampled in zip(*found, strict=True):
        np.testing.assert_allclose(sampled, full, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", TYPICAL)
def test_a_sum_is_the_mean_times_its_examples_distillation_too(name):
    positions = models.get(name).trains_on != "windows"
    loss = "softmax" if positions else "hinge"
    batch, start, values = training_features(name, loss=loss), make(name).get_weights(), {}
    transitions = (np.array([0, 0, 2, *[2] * (ITEMS - 1)]), np.array([3, 5]), np.array([4, 1]))
    for reduction in ("sum", "mean"):
        model = make(name)
        model.set_weights(start)
        options = {
            "distillation": TransitionDistillation(transitions, 0.5),
            "distillation_weight": 0.7,
            "reduction": reduction,
        }
        model.compile("sgd", loss, **options)
        values[reduction] = float(model.compute_loss(batch))
    examples = np.count_nonzero(batch["targets"]) if positions else 8
    assert values["sum"] == pytest.approx(examples * values["mean"], rel=1e-4)


@pytest.mark.parametrize("name", TYPICAL)
@pytest.mark.parametrize("loss", ["bce", "gbce"])
def test_binary_losses_against_loops(name, loss, small_batches_in_groups):
    model, batch = make(name), training_features(name, loss=loss)
    model.compile("sgd", loss, reduction="sum", calibration=0.5)
    targets, items = batch["targets"].numpy(), model.item_vectors().numpy()
    if models.get(name).trains_on == "windows":
        # The first window has one target.
        targets[0, 1] = 0
        batch["targets"] = tf.constant(targets)
        vectors = np.repeat(
            model.query_vectors(batch).numpy()[:, np.newaxis], targets.shape[1], axis=1
        )
    else:
        vectors = model.sequence_vectors(batch).numpy()
    beta = 1.0 if loss == "bce" else 1 - 0.5 * (1 - 3 / (ITEMS - 1))
    expected = 0.0
    for b, t in zip(*np.nonzero(targets), strict=True):
        expected += beta * np.log1p(np.exp(-vectors[b, t] @ items[targets[b, t]]))
        expected += sum(
            np.log1p(np.exp(vectors[b, t] @ items[n])) for n in batch["negatives"][b, t]
        )
    np.testing.assert_allclose(model.compute_loss(batch), expected, rtol=1e-4)


def with_importance(name, batch, seed):
    """A batch in which each target, or each window, counts as much as comes by chance."""
    windows = models.get(name).trains_on == "windows"
    sample_weight = (
        np.random.default_rng(seed)
        .uniform(0.25, 3, [ROWS] if windows else [ROWS, LENGTH])
        .astype(np.float32)
    )
    sample_weight *= 1 if windows else batch["targets"].numpy() > 0
    return {
        **batch,
        "sample_weight": tf.constant(sample_weight),
        "normalizer": tf.fill([ROWS], np.float32(1 / sample_weight.sum())),
    }


def in_parts(batches, replicas, whole):
    """What `fit` takes: of each batch the equal parts of the replicas, one after the other; the
    features named in `whole` go with each.
    """

    def parts(key):
        values = np.stack([batch[key] for batch in batches])
        if key in whole:
            return np.repeat(values, replicas, axis=0)
        return values.reshape([len(batches) * replicas, -1, *values.shape[2:]])

    elements = {key: parts(key) for key in batches[0]}
    return keras.distributed_input(
        strategy(replicas), lambda pipeline: tf.data.Dataset.from_tensor_slices(elements)
    )


STEPS = 5
ROWS = 6  # of a batch, which two and three replicas can share
# Losses and options of the model that shows them; each other model has its recommended loss.
OTHERWISE = [
    ("attrec", 3, "hinge", {"reduction": "sum", "distilled": True}),
    ("attrec", 2, "gbce", {"reduction": "sum", "distilled": True, "run_eagerly": True}),
    # Without distillation the gradients are of some rows.
    (
        "attrec",
        2,
        "bpr",
        {
            "reduction": "mean",
            "clip_norm": 0.1,
            "weighted": True,
            "rows_alone": True,
            "run_eagerly": True,
        },
    ),
    ("sasrec", 2, "softmax", {"reduction": "mean", "distilled": True, "run_eagerly": True}),
    ("sasrec", 2, "sampled_softmax", {"reduction": "sum", "clip_norm": 5.0, "rows_alone": True}),
    (
        "sasrec",
        2,
        "bce",
        {"reduction": "mean", "distilled": True, "weighted": True, "run_eagerly": True},
    ),
    ("sasrec", 2, "softmax", {"reduction": "mean", "smoothed": True}),
]
OTHERWISE += [
    (name, 2, loss_of(name), {"reduction": "mean", "run_eagerly": True})
    for name in TRAINED
    if name not in {case[0] for case in OTHERWISE}
]


@pytest.mark.parametrize(("name", "replicas", "loss", "options"), OTHERWISE)
def test_several_replicas_train_as_one(name, replicas, loss, options, monkeypatch, request):
    if (name, loss) == ("sasrec", "softmax"):
        request.getfixturevalue("small_batches_in_groups")
    changes = {"max_norm": 0.9} if "max_norm" in models.parameters(name) else {}
    steps = 2 if "run_eagerly" in options else STEPS
    batches = [training_features(name, ROWS, seed, loss) for seed in range(steps)]
    start, trained, losses = make(name).get_weights(), [], []
    transitions = (np.array([0, 0, 2, *[2] * (ITEMS - 1)]), np.array([3, 5]), np.array([4, 1]))
    options = dict(options)
    if options.pop("rows_alone", False):
        monkeypatch.setattr(gradients, "_ROWS_PER_LOOKUP", 0)
    if options.pop("weighted", False):
        batches = [with_importance(name, batch, seed) for seed, batch in enumerate(batches)]
    if options.pop("distilled", False):
        options.update(
            distillation=TransitionDistillation(transitions, 0.5), distillation_weight=0.7
        )
    if options.pop("smoothed", False):
        options.update(distillation=EmbeddingSmoothing(transitions, 0.5))
    for count in (1, replicas):
        with strategy(count).scope():
            model = make(name, **changes)
            model.set_weights(start)
            model.compile(Adagrad(0.05), loss, l2=0.03, kernel_l2=0.05, **options)
        whole = ["negatives"] if loss == "sampled_softmax" else []
        history = model.fit(in_parts(batches, count, whole), steps_per_epoch=steps, verbose=0)
        losses.append(history.history["loss"][0])
        trained.append([variable.numpy() for variable in model.trainable_variables])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    # L2 falls on the row of padding, which nothing reads, where a replica's part has some.
    tables = [id(table) for of in ("users", "items") for table in model.tables(of)]
    rows = [slice(id(variable) in tables, None) for variable in model.trainable_variables]
    initials = make(name).trainable_variables
    for one, several, initial, real in zip(*trained, initials, rows, strict=True):
        np.testing.assert_allclose(several[real], one[real], atol=1e-6)
        assert np.abs(one - initial.numpy()).max() > 0.001 or not initial.numpy().any()


@pytest.mark.parametrize("name", TYPICAL)
def test_evaluation_is_the_same_on_two_replicas_of_which_one_has_no_last_batch(name):
    random, count = np.random.default_rng(5), 9
    target, nothing = (
        tf.constant(random.integers(1, ITEMS + 1, count), tf.int32),
        tf.zeros([count, 2], tf.int32),
    )
    blocks = {**features(count), "target": target, "seen": nothing}
    start, results = make(name).get_weights(), []
    for replicas in (1, 2):
        with strategy(replicas).scope():
            model = make(name)
            model.set_weights(start)
            model.compile(k=(1, 5))
        results.append(
            model.evaluate(
                tf.data.Dataset.from_tensor_slices(blocks).batch(4), return_dict=True, verbose=0
            )
        )
    ranks = model.ranks(blocks).numpy()
    expected = {"HR@1": np.mean(ranks <= 1), "HR@5": np.mean(ranks <= 5), "MRR": np.mean(1 / ranks)}
    for result in results:
        assert {key: result[key] for key in expected} == pytest.approx(expected, abs=1e-7)
        assert result == pytest.approx(results[0], abs=1e-7)


def model_loss(model, batch):
    if not hasattr(model, "_objective"):
        model.compile("sgd", "bpr")
    return model.compute_loss(batch)
