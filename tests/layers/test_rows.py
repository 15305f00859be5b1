import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers.rows import (
    add_to_each,
    gather_dot,
    gather_rows,
    gram,
    weighted_sum,
    without_padding,
)


def twin_gradient(function, value, step=1e-3):
    """Central differences, one element at a time, in float64 sums."""
    gradient = np.zeros(value.shape)
    for index in np.ndindex(*value.shape):
        high, low = value.copy(), value.copy()
        high[index] += step
        low[index] -= step
        gradient[index] = (function(high) - function(low)) / (2 * step)
    return gradient


@pytest.mark.parametrize("shape", [(7,), (2, 3)])
def test_gather_rows_gradient_sums_repeated_rows_and_leaves_others_zero(shape):
    rows = tf.constant(np.random.default_rng(0).normal(size=(5, 3)), tf.float32)
    indices = np.random.default_rng(1).integers(0, 4, size=shape)
    upstream = np.random.default_rng(2).normal(size=(*shape, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        out = gather_rows(rows, tf.constant(indices))
        loss = tf.reduce_sum(out * upstream)
    expected = np.zeros((5, 3))
    for where, row in zip(np.ndindex(*shape), indices.ravel(), strict=True):
        expected[row] += upstream[where]
    np.testing.assert_array_equal(out, rows.numpy()[indices])
    np.testing.assert_allclose(tape.gradient(loss, rows), expected, rtol=1e-5, atol=1e-6)


def test_without_padding_leaves_out_the_first_row_and_gives_it_no_gradient():
    rows = tf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2))
    with tf.GradientTape() as tape:
        out = without_padding(tf.convert_to_tensor(rows))
        loss = tf.reduce_sum(out * tf.constant([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(out, [[2.0, 3.0], [4.0, 5.0]])
    np.testing.assert_array_equal(tape.gradient(loss, rows), [[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])


def test_gather_dot_against_loops():
    random = np.random.default_rng(3)
    queries, rows = random.normal(size=(4, 3)), random.normal(size=(6, 3))
    indices = random.integers(0, 5, size=(4, 7))
    expected = [
        [float(np.dot(queries[b], rows[indices[b, c]])) for c in range(7)] for b in range(4)
    ]
    np.testing.assert_allclose(
        gather_dot(tf.constant(queries), tf.constant(rows), tf.constant(indices, tf.int32)),
        expected,
    )


@pytest.mark.parametrize("rows", [0, 6])
def test_gather_dot_without_queries(rows):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3]),
            tf.TensorSpec([None, 3]),
            tf.TensorSpec([None, 2], tf.int64),
        ]
    )
    def gradients(queries, rows, indices):
        with tf.GradientTape() as tape:
            tape.watch([queries, rows])
            scores = gather_dot(queries, rows, indices)
        return tape.gradient(scores, [queries, rows])

    nothing = tf.zeros([0, 3]), tf.ones([rows, 3]), tf.zeros([0, 2], tf.int64)
    to_queries, to_rows = gradients(*nothing)
    assert to_queries.shape == [0, 3]
    np.testing.assert_array_equal(to_rows, np.zeros([rows, 3]))


@pytest.mark.parametrize("zeros", ["none", "some", "all"])
def test_gather_dot_gradient_against_loops(zeros):
    random = np.random.default_rng(4)
    queries, rows = random.normal(size=(4, 3)), random.normal(size=(6, 3))
    indices = random.integers(0, 5, size=(4, 7))
    upstream = (
        random.normal(size=(4, 7))
        * {"none": 1.0, "some": random.integers(0, 2, (4, 7)), "all": 0.0}[zeros]
    )
    variables = [tf.Variable(queries), tf.Variable(rows)]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(gather_dot(*variables, tf.constant(indices, tf.int32)) * upstream)
    to_queries, to_rows = tape.gradient(loss, variables)
    expected_queries, expected_rows = np.zeros((4, 3)), np.zeros((6, 3))
    for b in range(4):
        for c in range(7):
            expected_queries[b] += upstream[b, c] * rows[indices[b, c]]
            expected_rows[indices[b, c]] += upstream[b, c] * queries[b]
    np.testing.assert_allclose(to_queries, expected_queries, atol=1e-12)
    np.testing.assert_allclose(to_rows, expected_rows, atol=1e-12)


def test_weighted_sum_value_and_gradient_by_differences():
    random = np.random.default_rng(5)
    weights, x, upstream = (
        random.normal(size=(2, 3)),
        random.normal(size=(2, 3, 4)),
        random.normal(size=(2, 4)),
    )

    def plain(w, v):
        return sum(
            upstream[b, d] * w[b, i] * v[b, i, d]
            for b in range(2)
            for i in range(3)
            for d in range(4)
        )

    variables = [tf.Variable(weights), tf.Variable(x)]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(weighted_sum(*variables) * upstream)
    to_weights, to_x = tape.gradient(loss, variables)
    assert float(loss) == pytest.approx(plain(weights, x))
    np.testing.assert_allclose(to_weights, twin_gradient(lambda w: plain(w, x), weights), atol=1e-8)
    np.testing.assert_allclose(to_x, twin_gradient(lambda v: plain(weights, v), x), atol=1e-8)


def test_gram_value_and_gradient_by_differences():
    random = np.random.default_rng(6)
    x, upstream = random.normal(size=(2, 3, 4)), random.normal(size=(2, 3, 3))

    def plain(v):
        return sum(
            upstream[b, i, j] * np.dot(v[b, i], v[b, j])
            for b in range(2)
            for i in range(3)
            for j in range(3)
        )

    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(gram(variable) * upstream)
    assert float(loss) == pytest.approx(plain(x))
    np.testing.assert_allclose(tape.gradient(loss, variable), twin_gradient(plain, x), atol=1e-7)


def test_the_same_values_are_added_to_each_example():
    random = np.random.default_rng(2)
    x, values = (random.normal(size=shape).astype("f4") for shape in [(4, 3, 2), (3, 2)])
    variables, upstream = [tf.Variable(x), tf.Variable(values)], random.normal(size=x.shape)
    with tf.GradientTape() as tape:
        out = add_to_each(*variables)
        loss = tf.reduce_sum(out * upstream.astype("f4"))
    np.testing.assert_allclose(out, x + values, rtol=1e-6)
    to_x, to_values = tape.gradient(loss, variables)
    np.testing.assert_allclose(to_x, upstream, rtol=1e-6)
    np.testing.assert_allclose(to_values, upstream.sum(axis=0), rtol=1e-5, atol=1e-6)
