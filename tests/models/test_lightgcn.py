"""LightGCN with a graph: scores, steps, copies and a run."""

import numpy as np
import pytest
import tensorflow as tf

from export.model_copy import with_item_matrix
from tests.commands import assert_refused, run_command
from tests.models.contract import strategy
from tfrec_attn import models, train
from tfrec_attn.data.sequences.transitions import training_pairs
from tfrec_attn.models import LightGCN
from tfrec_attn.runs.run import load_model

# User 1 with the items 1 and 2, user 2 with 2 and 3; the last event comes twice.
EVENTS = [1, 1, 2, 2, 2], [1, 2, 2, 3, 3]
USERS, ITEMS = [[0.5, -0.25], [0.2, 0.4]], [[1.0, 0], [0, 0.5], [-0.5, 1]]
FEATURES = {"user": tf.constant([1, 2, 0]), "history": tf.constant([[0], [3], [1]])}


def make(graph=True):
    model = LightGCN(2, 3, dim=2, num_layers=2)
    for table, rows in ((model.users, USERS), (model.items, ITEMS)):
        table.embeddings.assign(np.concatenate([np.zeros((1, 2)), rows]))
    if graph:
        model.set_training_events(*EVENTS)
    return model


def batch(rows=2):
    values = {"user": [1, 2], "targets": [[1], [3]], "negatives": [[[3]], [[1]]]}
    values = {name: tf.constant(value * (rows // 2)) for name, value in values.items()}
    return {**values, "history": tf.zeros([rows, 1], tf.int32)}


def spread(users, items):
    """Users and items after two layers, by loops."""
    pairs = sorted(set(zip(*EVENTS, strict=True)))
    degree_u, degree_i = ([one for one, _ in pairs], [one for _, one in pairs])
    layers = [(np.array(users, float), np.array(items, float))]
    for _ in range(2):
        u, v = layers[-1]
        new_u, new_v = np.zeros_like(u), np.zeros_like(v)
        for user, item in pairs:
            weight = 1 / np.sqrt(degree_u.count(user) * degree_i.count(item))
            new_u[user] += weight * v[item]
            new_v[item] += weight * u[user]
        layers.append((new_u, new_v))
    return [sum(one) / 3 for one in zip(*layers, strict=True)]


def test_scores_by_hand():
    scores = make()(FEATURES).numpy()[:, 1:]
    np.testing.assert_allclose(scores[0], [0.336133, 0.084070, -0.129415], atol=2e-6)
    np.testing.assert_allclose(scores[2], [0, 0, 0])
    # Without a graph: U V.
    np.testing.assert_allclose(
        make(graph=False)(FEATURES).numpy()[0, 1:], [0.5, -0.125, -0.5], atol=2e-6
    )


@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_the_gradient_is_that_of_the_spread_rows(loss):
    model = make()
    model.compile("sgd", loss)
    with tf.GradientTape() as tape:
        value = model.compute_loss(batch())
    slopes = tape.gradient(value, model.trainable_variables)
    random = np.random.default_rng(0)
    for variable, slope in zip(model.trainable_variables, slopes, strict=True):
        direction, start, values = random.normal(size=variable.shape), variable.numpy(), []
        direction[0] = 0
        for sign in (1, -1):
            variable.assign(start + sign * 1e-2 * direction)
            model.after_step()
            values.append(float(model.compute_loss(batch())))
        variable.assign(start)
        model.after_step()
        found = np.sum(tf.convert_to_tensor(slope) * direction)
        assert found == pytest.approx((values[0] - values[1]) / 2e-2, rel=1e-2)
        assert np.abs(slope).min(axis=1)[1:].max() > 0


@pytest.fixture(scope="module")
def trained():
    """A model after three steps, on one replica and on two."""
    found = []
    for replicas in (1, 2):
        with strategy(replicas).scope():
            model = make()
            model.compile(tf.keras.optimizers.Adam(0.1), "bpr", reduction="mean", l2=0.01)
        model.fit(tf.data.Dataset.from_tensor_slices(batch(4)).batch(4).repeat(3), verbose=0)
        found.append(model)
    return found


def test_steps_keep_what_the_graph_adds(trained):
    model = trained[0]
    tables = model.users.embeddings.numpy(), model.items.embeddings.numpy()
    assert np.abs(tables[0][1:] - USERS).min() > 0.01
    users, items = spread(*tables)
    np.testing.assert_allclose(
        model(FEATURES).numpy()[:2, 1:], (users @ items.T)[1:, 1:], atol=1e-5
    )


def test_two_replicas_train_as_one(trained):
    for one, two in zip(*(model.get_weights() for model in trained), strict=True):
        np.testing.assert_allclose(two, one, atol=1e-5)


def test_a_saved_model_needs_no_graph(trained, tmp_path):
    trained[0].save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(FEATURES), trained[0](FEATURES))


def test_an_export_has_two_tables(trained):
    copy, matrix = with_item_matrix(trained[0])
    assert [variable.shape for variable in copy.trainable_weights] == [[3, 2], [4, 2]]
    found = copy.query_vectors(FEATURES).numpy() @ matrix.numpy().T
    np.testing.assert_allclose(found[:, 1:], trained[0](FEATURES)[:, 1:], rtol=1e-6, atol=1e-7)


def test_training_pairs(make_leave_one_out):
    users, items = training_pairs(make_leave_one_out([[1, 2, 3, 4], [2, 2, 5], [3, 1]], 5))
    assert list(zip(users.tolist(), items.tolist(), strict=True)) == [
        (1, 1), (1, 2), (2, 2), (3, 3), (3, 1),
    ]  # fmt: skip


def test_a_run_trains_with_its_graph(tmp_path):
    keys = ["data.events=1500", "train.epochs=2", "model.dim=8", "train.batch_size=256"]
    keys += ["evaluate.bootstrap=0", f"run_dir={tmp_path / 'run'}"]
    code, _, error = run_command(train.main, "model.name=lightgcn", *keys)
    assert code == 0, error
    model = load_model(tmp_path / "run")
    assert np.abs(model.added_to_items.embeddings.numpy()).max() > 0.01
    assert models.get("lightgcn").uses_training_events


def test_a_catalogue_of_one_item(tmp_path):
    lines = [f"u{user},i,{time}" for user in range(6) for time in range(6)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]))
    keys = ["data.source=file", f"data.path={tmp_path / 'log.csv'}", f"run_dir={tmp_path / 'run'}"]
    result = run_command(train.main, "model.name=lightgcn", *keys)
    assert_refused(result, 2, "num_items must be at least 2 for a graph, but is 1; train on a log")
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
