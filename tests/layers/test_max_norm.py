import math

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.config import Runtime
from tfrec_attn.layers import MaxNorm
from tfrec_attn.runtime.distribution import make_strategy


def plain_projection(table, max_norm=1.0):
    projected = np.array(table, "float64")
    for row in projected:
        norm = math.sqrt(sum(cell * cell for cell in row))
        if norm > max_norm:
            row *= max_norm / norm
    return projected


def random_table(rows=40, width=5):
    return (
        np.random.default_rng(1).normal(size=[rows, width]) * np.linspace(0.0, 1.5, rows)[:, None]
    ).astype("float32")


def test_values_worked_by_hand():
    # |(3, 4)| = 5, so the first row shrinks to (3/5, 4/5); the others are in the ball, the third
    # one on its surface.
    table = tf.constant([[3.0, 4.0], [0.0, 0.0], [0.0, -1.0], [0.1, 0.2]])
    np.testing.assert_allclose(
        MaxNorm()(table), [[0.6, 0.8], [0.0, 0.0], [0.0, -1.0], [0.1, 0.2]], rtol=1e-6
    )


@pytest.mark.parametrize("max_norm", [0.5, 1.0, 2])
def test_equals_the_loop_and_leaves_rows_inside_as_they_are(max_norm):
    table = random_table()
    projected = MaxNorm(max_norm)(table)
    np.testing.assert_allclose(projected, plain_projection(table, max_norm), atol=1e-6)
    inside = np.linalg.norm(table, axis=1) < max_norm
    assert 0 < inside.sum() < len(table)
    np.testing.assert_array_equal(np.asarray(projected)[inside], table[inside])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_precisions(dtype):
    # A float16 norm of (300, 400) would overflow: its squares add up to 250,000.
    projected = MaxNorm()(tf.constant([[300.0, 400.0], [0.0, 0.0]], dtype))
    assert projected.dtype == dtype
    np.testing.assert_allclose(tf.cast(projected, tf.float32), [[0.6, 0.8], [0.0, 0.0]], atol=5e-3)


def test_no_gradient_flows_through():
    table = tf.Variable([[3.0, 4.0], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(MaxNorm()(table))
    assert tape.gradient(loss, table) is None


def test_as_the_constraint_of_a_keras_layer():
    embedding = tf.keras.layers.Embedding(
        4,
        3,
        embeddings_initializer=tf.keras.initializers.Constant(2.0),
        embeddings_constraint=MaxNorm(),
    )
    model = tf.keras.Sequential([embedding])
    model.compile(optimizer=tf.keras.optimizers.SGD(0.01), loss="mse")
    model.fit(np.array([[0], [1]]), np.zeros([2, 1, 3]), epochs=1, verbose=0)
    np.testing.assert_allclose(
        np.linalg.norm(embedding.get_weights()[0], axis=1), np.ones(4), atol=1e-6
    )


def variables_of(table):
    """The same table as a tf.Variable and as the weight of a Keras layer (under Keras 3 a variable
    of its own class).
    """
    layer = tf.keras.layers.Embedding(*table.shape)
    layer.build([None])
    layer.set_weights([table])
    return [tf.Variable(table), layer.weights[0]]


@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("kind", [0, 1], ids=["tf.Variable", "keras weight"])
def test_project_rows_changes_only_the_given_rows(in_graph, kind):
    table = 3.0 * random_table()
    variable = variables_of(table)[kind]
    rows = np.array([39, 0, 7, 25, 1])
    project = MaxNorm().project_rows
    if in_graph:
        tf.function(
            lambda rows: project(variable, rows), input_signature=[tf.TensorSpec([None], tf.int64)]
        )(tf.constant(rows))
    else:
        project(variable, rows)
    after = np.asarray(tf.convert_to_tensor(variable))
    np.testing.assert_allclose(after[rows], plain_projection(table[rows]), atol=1e-6)
    others = np.setdiff1d(np.arange(40), rows)
    assert np.linalg.norm(table[others], axis=1).max() > 1.0
    np.testing.assert_array_equal(after[others], table[others])


def test_project_rows_bears_none_and_repeated_rows():
    table = 3.0 * random_table()
    variable = tf.Variable(table)
    MaxNorm().project_rows(variable, [])
    np.testing.assert_array_equal(variable, table)
    MaxNorm().project_rows(variable, [39, 39])
    np.testing.assert_allclose(np.linalg.norm(variable[39]), 1.0, atol=1e-6)


def test_project_rows_reads_only_these_rows():
    graph = (
        tf.function(MaxNorm().project_rows)
        .get_concrete_function(tf.Variable(tf.zeros([40, 5])), tf.TensorSpec([3], tf.int64))
        .graph
    )
    assert [
        operation.type for operation in graph.get_operations() if operation.type == "ReadVariableOp"
    ] == []
    assert all(
        output.shape[:1] != [40]
        for operation in graph.get_operations()
        for output in operation.outputs
        if output.shape.rank
    )


def test_project_table_changes_only_masked_rows():
    table = random_table()
    variable, mask = tf.Variable(table), np.arange(len(table)) % 3 == 0
    MaxNorm().project_table(variable, tf.constant(mask))
    expected = np.where(mask[:, None], plain_projection(table), table)
    np.testing.assert_allclose(variable, expected, rtol=1e-6)
    inside = ~mask | (np.linalg.norm(table, axis=1) < 1)
    np.testing.assert_array_equal(variable.numpy()[inside], table[inside])


def test_replicas_project_the_rows_of_all_and_stay_equal():
    strategy = make_strategy(Runtime(strategy="mirrored", devices=["CPU:0", "CPU:1"]))
    table = 3.0 * random_table()
    with strategy.scope():
        layer = tf.keras.layers.Embedding(*table.shape)
        layer.build([None])
        layer.set_weights([table])
    weight = layer.weights[0]

    @tf.function
    def step(rows):
        strategy.run(lambda rows: MaxNorm().project_rows(weight, rows), args=(rows,))

    step(
        strategy.experimental_distribute_values_from_function(
            lambda replica: tf.constant([[38, 39], [37]][replica.replica_id_in_sync_group])
        )
    )
    expected = np.concatenate([table[:37], plain_projection(table[37:])])
    copies = strategy.experimental_local_results(
        weight if isinstance(weight, tf.Variable) else weight.value
    )
    assert len(copies) == 2
    for copy in copies:
        np.testing.assert_allclose(copy, expected, atol=1e-6)


def test_config_round_trip():
    constraint = MaxNorm(0.5)
    assert MaxNorm.from_config(constraint.get_config()).max_norm == 0.5
    again = tf.keras.constraints.deserialize(tf.keras.constraints.serialize(constraint))
    assert isinstance(again, MaxNorm)
    assert again.max_norm == 0.5


@pytest.mark.parametrize("max_norm", [0, -1.0, math.inf, math.nan, None, True, "1"])
def test_wrong_arguments(max_norm):
    with pytest.raises(
        ValueError, match=f"`max_norm` must be a finite number above 0; got {max_norm!r}"
    ):
        MaxNorm(max_norm)
