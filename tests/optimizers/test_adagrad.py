"""Adagrad against its equations in NumPy and against Keras'."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn import optimizers

RATE, START, EPSILON = (
    0.3,
    0.2,
    0.5,
)  # an epsilon as large as this shows whether it stands inside the root


class Twin:
    """accumulator += g^2; w -= rate * g / (sqrt(accumulator) + epsilon), in float64."""

    def __init__(self, weights, rate=RATE, start=START, epsilon=EPSILON):
        self.weights, self.accumulator = (
            np.array(weights, np.float64),
            np.full(np.shape(weights), start, np.float64),
        )
        self.rate, self.epsilon = rate, epsilon

    def step(self, gradient, rate=None):
        for place in np.ndindex(self.weights.shape):
            self.accumulator[place] += gradient[place] ** 2
            self.weights[place] -= (
                (rate or self.rate)
                * gradient[place]
                / (self.accumulator[place] ** 0.5 + self.epsilon)
            )


def adagrad(**options):
    return optimizers.Adagrad(
        **{"learning_rate": RATE, "initial_accumulator_value": START, "epsilon": EPSILON, **options}
    )


def accumulator_of(optimizer):
    return next(
        variable for variable in optimizer.variables if "accumulator" in variable.name
    ).numpy()


def apply_eagerly(optimizer, gradient, variable):
    optimizer.apply_gradients([(gradient, variable)])


apply_in_graph = tf.function(apply_eagerly)


@pytest.fixture
def random():
    return np.random.default_rng(11)


def test_by_hand():
    # accumulator 0.2 + 0.9^2 + ... : 0.2 + 0.7^2 = 0.69; w = 1 - 0.3 * 0.7 / (sqrt(0.69) + 0.5) = 1
    # - 0.21 / 1.33066
    variable = tf.Variable([1.0])
    adagrad().apply_gradients([(tf.constant([0.7]), variable)])
    np.testing.assert_allclose(variable, [1 - 0.21 / 1.33066], rtol=1e-5)


@pytest.mark.parametrize("shape", [(), (4,), (3, 2)])
def test_dense_gradients(random, shape):
    weights = random.normal(size=shape).astype(np.float32)
    variable, twin, optimizer = tf.Variable(weights), Twin(weights), adagrad()
    for _ in range(3):
        gradient = random.normal(size=shape).astype(np.float32)
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
        twin.step(gradient)
    np.testing.assert_allclose(variable, twin.weights, rtol=1e-5)
    np.testing.assert_allclose(accumulator_of(optimizer), twin.accumulator, rtol=1e-5)


# Six indices: in 8 rows the step runs over the whole table, in 400 over the touched rows.
@pytest.mark.parametrize("count", [8, 400])
@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
@pytest.mark.parametrize("compiled", [False, True])
def test_sparse_gradients_with_repeated_rows(random, count, dtype, compiled):
    weights = random.normal(size=(count, 3)).astype(np.float32)
    variable, twin, optimizer = tf.Variable(weights), Twin(weights), adagrad()
    optimizer.build([variable])
    apply = tf.function(apply_eagerly) if compiled else apply_eagerly
    for rows in ([5, 2, 5, 7, 5, 2], [7, 7, 7, 7, 7, 7], [0, 5, 2, 1, 3, 7]):
        values = random.normal(size=(6, 3)).astype(np.float32)
        apply(
            optimizer,
            tf.IndexedSlices(
                tf.constant(values), tf.constant(rows, dtype), tf.constant([count, 3])
            ),
            variable,
        )
        dense = np.zeros((count, 3))
        for row, value in zip(rows, values, strict=True):
            dense[row] += value
        twin.step(dense)
    np.testing.assert_allclose(variable, twin.weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(accumulator_of(optimizer), twin.accumulator, rtol=1e-4)
    untouched = [row for row in range(count) if row not in (0, 1, 2, 3, 5, 7)]
    assert untouched
    np.testing.assert_array_equal(variable.numpy()[untouched], weights[untouched])
    np.testing.assert_array_equal(
        accumulator_of(optimizer)[untouched], np.full((len(untouched), 3), np.float32(START))
    )


@pytest.mark.parametrize("count", [8, 400])
def test_repeated_rows_are_summed_before_they_are_squared(count):
    # Row 5: (0.2 + 0.5)^2 = 0.49 goes into the accumulator, not 0.2^2 + 0.5^2.
    variable, twin, optimizer = (
        tf.Variable(tf.ones([count, 1])),
        Twin(np.ones((count, 1))),
        adagrad(),
    )
    gradient = tf.IndexedSlices(
        tf.constant([[0.2], [0.5]]), tf.constant([5, 5]), tf.constant([count, 1])
    )
    optimizer.apply_gradients([(gradient, variable)])
    twin.step(np.where(np.arange(count)[:, np.newaxis] == 5, 0.7, 0.0))
    np.testing.assert_allclose(variable, twin.weights, rtol=1e-6)


@pytest.mark.parametrize("count", [8, 400])
def test_no_row_at_all_changes_nothing(count):
    variable, optimizer = tf.Variable(tf.ones([count, 2])), adagrad()
    empty = tf.IndexedSlices(tf.zeros([0, 2]), tf.zeros([0], tf.int64), tf.constant([count, 2]))
    optimizer.apply_gradients([(empty, variable)])
    np.testing.assert_array_equal(variable, np.ones((count, 2)))


@pytest.mark.parametrize("count", [8, 400])
def test_the_gradient_of_a_gather(random, count):
    # d/dw of 1/2 |w[5]|^2 + 1/2 |w[5]|^2 + 1/2 |w[2]|^2 is 2 w[5] in row 5 and w[2] in row 2.
    weights = random.normal(size=(count, 2)).astype(np.float32)
    variable, twin = tf.Variable(weights), Twin(weights)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.gather(variable, [5, 2, 5]) ** 2) / 2
    gradient = tape.gradient(loss, variable)
    assert isinstance(gradient, tf.IndexedSlices)
    adagrad().apply_gradients([(gradient, variable)])
    dense = np.zeros((count, 2))
    dense[5], dense[2] = 2 * weights[5], weights[2]
    twin.step(dense)
    np.testing.assert_allclose(variable, twin.weights, rtol=1e-5)


def test_several_variables_keep_their_own_accumulators(random):
    start = [random.normal(size=shape).astype(np.float32) for shape in ((2, 2), (3,))]
    variables, twins, optimizer = (
        [tf.Variable(one) for one in start],
        [Twin(one) for one in start],
        adagrad(),
    )
    for _ in range(2):
        gradients = [random.normal(size=one.shape).astype(np.float32) for one in start]
        optimizer.apply_gradients(zip(map(tf.constant, gradients), variables, strict=True))
        for twin, gradient in zip(twins, gradients, strict=True):
            twin.step(gradient)
    for variable, twin in zip(variables, twins, strict=True):
        np.testing.assert_allclose(variable, twin.weights, rtol=1e-5)


def test_a_step_inside_a_graph_equals_an_eager_one(random):
    gradients = random.normal(size=(3, 4)).astype(np.float32)
    results = []
    for apply in (apply_eagerly, apply_in_graph):
        variable, optimizer = tf.Variable(tf.ones([4])), adagrad()
        optimizer.build([variable])
        for gradient in gradients:
            apply(optimizer, tf.constant(gradient), variable)
        results.append(variable.numpy())
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
    assert not np.allclose(results[0], 1.0)


def test_a_schedule_gives_each_step_its_rate():
    # 0.4 for the first step, 0.1 from the second on.
    schedule = tf.keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.4, 0.1])
    variable, twin, optimizer = (
        tf.Variable([1.0, -2.0]),
        Twin([1.0, -2.0]),
        adagrad(learning_rate=schedule),
    )
    for rate in (0.4, 0.1):
        gradient = np.array([0.5, -1.5], np.float32)
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
        twin.step(gradient, rate)
    np.testing.assert_allclose(variable, twin.weights, rtol=1e-5)


@pytest.mark.parametrize("sparse", [False, True])
def test_one_step_is_close_to_keras(random, sparse):
    # Epsilon (1e-7) inside or outside the root is all that differs. Keras gets a dense gradient,
    # because Keras 3 does not sum repeated rows.
    weights, values = (random.normal(size=(20, 2)).astype(np.float32) for _ in range(2))
    results = []
    for cls in (optimizers.Adagrad, tf.keras.optimizers.Adagrad):
        variable = tf.Variable(weights)
        gradient = (
            tf.IndexedSlices(tf.constant(values[:3]), tf.constant([4, 9, 4]), tf.constant([20, 2]))
            if sparse
            else tf.constant(values)
        )
        if cls is tf.keras.optimizers.Adagrad:
            gradient = tf.convert_to_tensor(gradient)
        cls(learning_rate=0.05).apply_gradients([(gradient, variable)])
        results.append(variable.numpy())
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-7)
    assert not np.array_equal(results[0], weights)


def test_configuration_round_trip():
    config = adagrad().get_config()
    again = optimizers.Adagrad.from_config(config)
    assert again.get_config() == config
    assert {
        key: pytest.approx(config[key])
        for key in ("learning_rate", "initial_accumulator_value", "epsilon")
    } == {
        "learning_rate": RATE,
        "initial_accumulator_value": START,
        "epsilon": EPSILON,
    }
    assert (
        type(tf.keras.optimizers.deserialize(tf.keras.optimizers.serialize(adagrad())))
        is optimizers.Adagrad
    )
