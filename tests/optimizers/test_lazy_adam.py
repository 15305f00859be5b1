"""Lazy Adam against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.optimizers import LazyAdam

RATE, BETA_1, BETA_2, EPSILON = 0.3, 0.8, 0.9, 0.05
COUNT, WIDTH = 9, 3
STEPS = ([5, 2, 5, 7, 5, 2], [7, 7, 7, 7, 7, 7], [0, 5, 2, 1, 3, 7])


class Twin:
    """The equations, for one row at a time, in float64."""

    def __init__(self, weights):
        self.weights = np.array(weights, np.float64)
        self.m, self.v, self.t = np.zeros_like(self.weights), np.zeros_like(self.weights), 0

    def step(self, rows, values, rate=RATE):
        self.t += 1
        sums = {}
        for row, value in zip(rows, values, strict=True):
            sums[row] = sums.get(row, 0.0) + value.astype(np.float64)
        for row, g in sums.items():
            self.m[row] = BETA_1 * self.m[row] + (1 - BETA_1) * g
            self.v[row] = BETA_2 * self.v[row] + (1 - BETA_2) * g**2
            corrected = rate * np.sqrt(1 - BETA_2**self.t) / (1 - BETA_1**self.t)
            self.weights[row] -= corrected * self.m[row] / (np.sqrt(self.v[row]) + EPSILON)


def lazy_adam(**options):
    return LazyAdam(
        **{"learning_rate": RATE, "beta_1": BETA_1, "beta_2": BETA_2, "epsilon": EPSILON, **options}
    )


def sparse(rows, values, dtype=tf.int32):
    return tf.IndexedSlices(
        tf.constant(values), tf.constant(rows, dtype), tf.constant([COUNT, WIDTH])
    )


def slots(optimizer):
    """m and v of the only variable."""
    return [optimizer._momentums[0].numpy(), optimizer._velocities[0].numpy()]


@pytest.fixture
def random():
    return np.random.default_rng(11)


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
@pytest.mark.parametrize("compiled", [False, True])
def test_sparse_gradients_with_repeated_rows(random, dtype, compiled):
    weights = random.normal(size=(COUNT, WIDTH)).astype(np.float32)
    variable, twin, optimizer = tf.Variable(weights), Twin(weights), lazy_adam()
    optimizer.build([variable])

    def apply(gradient):
        optimizer.apply_gradients([(gradient, variable)])

    apply = tf.function(apply) if compiled else apply
    for rows in STEPS:
        values = random.normal(size=(6, WIDTH)).astype(np.float32)
        apply(sparse(rows, values, dtype))
        twin.step(rows, values)
    np.testing.assert_allclose(variable, twin.weights, rtol=1e-4, atol=1e-6)
    for found, expected in zip(slots(optimizer), (twin.m, twin.v), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert int(optimizer.iterations) == 3


def test_other_rows_and_their_slots_keep_their_bits(random):
    weights = random.normal(size=(COUNT, WIDTH)).astype(np.float32)
    variable, optimizer = tf.Variable(weights), lazy_adam()
    optimizer.apply_gradients([(sparse(range(COUNT), weights), variable)])
    before = [variable.numpy(), *slots(optimizer)]
    optimizer.apply_gradients(
        [(sparse([4, 1, 4], random.normal(size=(3, WIDTH)).astype(np.float32)), variable)]
    )
    others = np.setdiff1d(np.arange(COUNT), [1, 4])
    for old, new in zip(before, [variable.numpy(), *slots(optimizer)], strict=True):
        np.testing.assert_array_equal(new[others], old[others])
        assert (new[[1, 4]] != old[[1, 4]]).all()


@pytest.mark.parametrize("shape", [(), (4,), (3, 2)])
def test_dense_gradients_are_those_of_keras(random, shape):
    weights, gradients = (
        random.normal(size=shape).astype(np.float32),
        random.normal(size=(3, *shape)).astype(np.float32),
    )
    results = []
    for optimizer in (lazy_adam(), tf.keras.optimizers.Adam(RATE, BETA_1, BETA_2, EPSILON)):
        variable = tf.Variable(weights)
        for gradient in gradients:
            optimizer.apply_gradients([(tf.constant(gradient), variable)])
        results.append(variable.numpy())
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-6)
    assert np.abs(results[0] - weights).min() > 0.01


def test_where_every_row_has_a_gradient_it_is_adam(random):
    weights, gradients = (
        random.normal(size=(COUNT, WIDTH)).astype(np.float32),
        random.normal(size=(3, COUNT, WIDTH)).astype(np.float32),
    )
    results = []
    for optimizer in (lazy_adam(), tf.keras.optimizers.Adam(RATE, BETA_1, BETA_2, EPSILON)):
        variable = tf.Variable(weights)
        for gradient in gradients:
            optimizer.apply_gradients([(sparse(range(COUNT), gradient), variable)])
        results.append(variable.numpy())
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-6)


def test_no_row_at_all_changes_nothing():
    variable, optimizer = tf.Variable(tf.ones([COUNT, WIDTH])), lazy_adam()
    empty = tf.IndexedSlices(
        tf.zeros([0, WIDTH]), tf.zeros([0], tf.int64), tf.constant([COUNT, WIDTH])
    )
    optimizer.apply_gradients([(empty, variable)])
    np.testing.assert_array_equal(variable, np.ones((COUNT, WIDTH)))


def test_a_schedule_gives_each_step_its_rate(random):
    schedule = tf.keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.4, 0.1])
    weights, values = (
        random.normal(size=(COUNT, WIDTH)).astype(np.float32),
        random.normal(size=(2, WIDTH)).astype(np.float32),
    )
    variable, twin, optimizer = (
        tf.Variable(weights),
        Twin(weights),
        lazy_adam(learning_rate=schedule),
    )
    for rate in (0.4, 0.1):
        optimizer.apply_gradients([(sparse([2, 2], values), variable)])
        twin.step([2, 2], values, rate)
    np.testing.assert_allclose(variable, twin.weights, rtol=1e-4, atol=1e-6)


def test_replicas_step_by_the_rows_of_all(random, two_replicas):
    # Replica 0 has row 2, replica 1 rows 2 and 5: their sums, in both copies.
    strategy = two_replicas
    weights, values = (
        random.normal(size=(COUNT, WIDTH)).astype(np.float32),
        random.normal(size=(2, 2, WIDTH)).astype(np.float32),
    )
    with strategy.scope():
        variable, optimizer = tf.Variable(weights), lazy_adam()
        optimizer.build([variable])

    @tf.function
    def step(rows, values):
        def apply(rows, values):
            optimizer.apply_gradients(
                [(tf.IndexedSlices(values, rows, tf.constant([COUNT, WIDTH])), variable)]
            )

        strategy.run(apply, args=(rows, values))

    rows = [[2, 2], [2, 5]]
    arguments = [
        strategy.experimental_distribute_values_from_function(
            lambda replica, parts=parts: tf.constant(parts[replica.replica_id_in_sync_group])
        )
        for parts in (rows, values)
    ]
    step(*arguments)
    twin = Twin(weights)
    twin.step([2, 2, 2, 5], np.concatenate(values))
    for copy in strategy.experimental_local_results(variable):
        np.testing.assert_allclose(copy, twin.weights, rtol=1e-4, atol=1e-6)


def test_a_checkpoint_goes_on_where_it_was(random, tmp_path):
    weights, values = (
        random.normal(size=(COUNT, WIDTH)).astype(np.float32),
        random.normal(size=(3, 6, WIDTH)).astype(np.float32),
    )
    results = []
    for interrupted in (False, True):
        variable, optimizer = tf.Variable(weights), lazy_adam()
        for number, (rows, value) in enumerate(zip(STEPS, values, strict=True)):
            if interrupted and number == 2:
                path = tf.train.Checkpoint(variable=variable, optimizer=optimizer).write(
                    str(tmp_path / "state")
                )
                variable, optimizer = tf.Variable(tf.zeros_like(weights)), lazy_adam()
                optimizer.build([variable])
                tf.train.Checkpoint(variable=variable, optimizer=optimizer).read(
                    path
                ).assert_consumed()
            optimizer.apply_gradients([(sparse(rows, value), variable)])
        results.append(variable.numpy())
    np.testing.assert_array_equal(*results)


def test_configuration_round_trip():
    config = lazy_adam().get_config()
    again = LazyAdam.from_config(config)
    assert again.get_config() == config
    assert [
        config[key] for key in ("learning_rate", "beta_1", "beta_2", "epsilon")
    ] == pytest.approx([RATE, BETA_1, BETA_2, EPSILON])
    assert (
        type(tf.keras.optimizers.deserialize(tf.keras.optimizers.serialize(lazy_adam())))
        is LazyAdam
    )


@pytest.mark.parametrize("option", [{"amsgrad": True}, {"weight_decay": 0.1}])
def test_options_that_update_all_rows_are_refused(option):
    with pytest.raises(
        ValueError,
        match=r"must be left out of lazy_adam, since it updates all rows, but is .*; use adam\.$",
    ):
        LazyAdam(**option)
