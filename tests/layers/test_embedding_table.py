"""Embedding lookups and their gradients, under Keras 2 and Keras 3."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.keras_versions.variables import variable_of
from tfrec_attn.layers import EmbeddingTable
from tfrec_attn.layers.embedding_table import reading_in_place
from tfrec_attn.layers.whole_tables import WholeTables


def table(values=((9.0, 9.0), (1.0, 2.0), (3.0, 4.0), (5.0, 6.0)), **options):
    layer = EmbeddingTable(len(values) - 1, len(values[0]), name="items", **options)
    layer.embeddings.assign(np.array(values, np.float32))
    return layer


def slopes(layer, function):
    """The gradient of a function of the layer to its rows, dense, and whether it came as slices."""
    with tf.GradientTape() as tape:
        loss = function(layer)
    gradient = tape.gradient(loss, layer.trainable_weights[0])
    return tf.convert_to_tensor(gradient).numpy(), isinstance(gradient, tf.IndexedSlices)


def test_rows_of_ids_and_zeros_at_padding():
    found = table()(tf.constant([[0, 3], [1, 1]]))
    np.testing.assert_array_equal(found, [[[0, 0], [5, 6]], [[1, 2], [1, 2]]])


@pytest.mark.parametrize("dense", [False, True])
def test_gradients_sum_over_repeated_ids_and_leave_padding_alone(dense):
    layer = table()
    layer.dense_gradients = dense
    weights = tf.constant([[10.0, 1.0], [2.0, 3.0]])
    # Row 1 is named by the weights 2 and 3, row 3 by 1; that of padding by 10.
    gradient, sparse = slopes(
        layer,
        lambda one: tf.reduce_sum(one(tf.constant([[0, 3], [1, 1]])) * weights[..., tf.newaxis]),
    )
    np.testing.assert_array_equal(gradient, [[0, 0], [5, 5], [0, 0], [1, 1]])
    assert sparse != dense


def test_a_sparse_gradient_names_each_row_once():
    layer = table()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.constant([2, 2, 2, 1])))
    indices = tape.gradient(loss, layer.trainable_weights[0]).indices.numpy()
    assert sorted(indices) == [1, 2]


def test_all_rows_and_some():
    layer = table()
    np.testing.assert_array_equal(layer.rows(), layer.embeddings)
    np.testing.assert_array_equal(layer.rows(tf.constant([2, 1])), [[3, 4], [1, 2]])


def test_all_rows_are_not_copied_after_lookups_and_sparse_updates():
    layer = table()
    variable = variable_of(layer.embeddings)
    for touch in (layer, lambda ids: variable.scatter_nd_add(ids[:, tf.newaxis], tf.ones([1, 2]))):
        touch(tf.constant([1]))
        once, again = (np.asarray(memoryview(layer.rows())) for _ in range(2))
        assert np.shares_memory(once, again)


def test_all_rows_are_read_by_operations_that_xla_compiles():
    layer, ids = table(), tf.constant([3, 1])
    layer(ids)
    compiled = tf.function(lambda: (layer.rows()[1:], layer(ids)), jit_compile=True)
    rows, found = compiled()
    np.testing.assert_array_equal(rows, [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(found, [[5, 6], [1, 2]])


def test_rows_that_a_step_has_read_are_those_before_its_updates():
    layer = table()
    variable = variable_of(layer.embeddings)

    @tf.function(autograph=False)
    def step():
        with reading_in_place():
            layer(tf.constant([1]))
            before = layer.rows()
            variable.scatter_nd_add([[1]], [[10.0, 10.0]])
            between = layer.rows()
            variable.assign_add(tf.ones([4, 2]))
            return before[1], between[1], layer.rows()[1]

    np.testing.assert_array_equal(tf.stack(step()), [[1, 2], [11, 12], [12, 13]])
    np.testing.assert_array_equal(tf.stack(step()), [[12, 13], [22, 23], [23, 24]])


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_unique_rows(shape):
    layer, ids = table(), tf.reshape(tf.constant([3, 1, 3, 2]), shape)
    rows, index = layer.unique_rows(ids)
    assert rows.shape[0] == 3
    np.testing.assert_array_equal(
        tf.gather(rows, index), layer.rows(tf.reshape(ids, [-1])).numpy().reshape(*shape, 2)
    )


def test_rows_that_are_read_in_a_matrix():
    layer = table()
    matrix = tf.Variable(np.pad(layer.embeddings.numpy()[1:], [(1, 0), (1, 2)]))
    layer.share(matrix, 1)
    layer.embeddings.assign(tf.zeros([4, 2]))
    np.testing.assert_array_equal(
        layer(tf.constant([[3], [0], [1]])), [[[5, 6]], [[0, 0]], [[1, 2]]]
    )


def test_the_largest_norm_of_rows():
    layer = table(max_norm=1.0)
    np.testing.assert_allclose(layer.constraint(tf.constant([[3.0, 4.0]])), [[0.6, 0.8]])
    assert table().constraint is None


def test_config_round_trip():
    layer = EmbeddingTable(7, 3, of="users", stddev=0.5, max_norm=2.0, name="people")
    again = EmbeddingTable.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.embeddings.shape == (8, 3)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 3), {}, "count of people must be at least 1, but is 0"),
        ((3, 0), {}, "dim of people must be at least 1, but is 0"),
        ((3, 3), {"of": "things"}, "of must be one of items, users, other, but is 'things'"),
        ((3, 3), {"stddev": -1}, "stddev must be at least 0, but is -1"),
    ],
)
def test_wrong_arguments(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingTable(*arguments, name="people", **options)


def test_a_table_that_is_read_whole_counts_its_lookups():
    layer = EmbeddingTable(4, 3, stddev=1.0)
    history, candidates = tf.constant([[0, 2], [2, 4]], tf.int64), tf.constant([[1, 2]], tf.int64)
    with WholeTables([layer]).reading() as read, tf.GradientTape() as tape:
        rows, index = layer.unique_rows(history)
        with read.only(candidates):
            whole = layer.rows()
        loss = tf.reduce_sum(tf.gather(rows, index)) + tf.reduce_sum(layer(history))
    np.testing.assert_array_equal(whole, variable_of(layer.embeddings))
    # The history is looked up twice, once without repetitions: 0, 2, 4 and 0, 2, 2, 4.
    np.testing.assert_array_equal(read.times(layer), [2, 1, 4, 0, 2])
    gradient = tape.gradient(loss, variable_of(layer.embeddings))
    assert not isinstance(gradient, tf.IndexedSlices)
    np.testing.assert_array_equal(gradient[:, 0], [1, 0, 4, 0, 2])


def test_all_rows_of_a_table_that_is_read_whole_are_used():
    layer, other = EmbeddingTable(4, 3), EmbeddingTable(4, 3)
    with WholeTables([layer, other]).reading() as read:
        layer.rows(tf.constant([1], tf.int64))
        layer.rows()
    assert read.times(layer) is None
    assert read.times(other) is None
