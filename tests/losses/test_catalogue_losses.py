"""Losses over items against TensorFlow, loops and values worked by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.gpu_kernels import on_the_host
from tfrec_attn import losses

NAMES = ["softmax", "sampled_softmax", "bce", "gbce"]


def problem(positions, items, dim=8, scale=1.0, seed=1):
    """Queries, items, targets and weights."""
    random = np.random.default_rng(seed)
    queries, rows = (
        random.normal(size=(count, dim), scale=scale).astype(np.float32)
        for count in (positions, items)
    )
    return (
        queries,
        rows,
        random.integers(0, items, positions),
        random.random(positions).astype(np.float32),
    )


def native(queries, items, targets, weights):
    """The weighted softmax loss by TensorFlow's own op."""
    logits = tf.matmul(queries, items, transpose_b=True)
    return tf.reduce_sum(
        weights * tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    )


def tensors_with_gradients(loss, queries, items, *others):
    """A loss and its gradients to queries and items, as dense tensors."""
    queries, items = tf.convert_to_tensor(queries), tf.convert_to_tensor(items)
    with tf.GradientTape() as tape:
        tape.watch([queries, items])
        value = loss(queries, items, *others)
    return [value, *map(tf.convert_to_tensor, tape.gradient(value, [queries, items]))]


def with_gradients(loss, *data, upstream=1.0):
    """`upstream * loss` and its gradients to queries and items, in float32."""
    return [
        tf.cast(x, tf.float32).numpy()
        for x in tensors_with_gradients(lambda *x: upstream * loss(*x), *data)
    ]


def assert_all_close(actual, expected, **tolerance):
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


def call(name, queries, items, targets, negatives, **arguments):
    """Any of the losses by name; negatives [P, K], of which the shared ones are the first row."""
    if name == "softmax":
        return losses.softmax(queries, items, targets, **arguments)
    if name == "sampled_softmax":
        return losses.sampled_softmax(queries, items, targets, negatives[0], **arguments)
    if name == "gbce":
        arguments["num_items"] = items.shape[0]
    return getattr(losses, name)(queries, items, targets, negatives, **arguments)


def negatives_of(positions, count, items, seed=2):
    return np.random.default_rng(seed).integers(0, items, (positions, count))


# Exact softmax

SIZES = [
    (7, 11, None),  # one tile
    (7, 11, 22),  # four tiles of two positions, the last one ragged
    (7, 11, 45),  # two tiles of four
    (7, 11, 1),  # less than one position's logits
    (40, 30, 299),
    (1, 11, None),
    (6, 1, 2),
    (1, 1, 1),
    (0, 11, None),
    (0, 11, 22),
]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("positions", "items", "tile"), SIZES)
def test_softmax_equals_tensorflows_own(positions, items, tile, compiled):
    data = problem(positions, items)
    upstream = -2.5

    def loss(*x):
        return losses.softmax(*x, tile=tile)

    if compiled:
        # The number of positions is not known when the function is traced.
        signature = [
            tf.TensorSpec([None, 8]),
            tf.TensorSpec([items, 8]),
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None]),
        ]
        loss = tf.function(loss, input_signature=signature)
    ours, theirs = (with_gradients(one, *data, upstream=upstream) for one in (loss, native))
    assert_all_close(ours, theirs, rtol=2e-6, atol=2e-6)
    alone = losses.softmax(*data, tile=tile, gradients=False)
    np.testing.assert_allclose(upstream * alone, theirs[0], rtol=2e-6, atol=2e-6)


def test_softmax_compiles_with_xla():
    data = problem(7, 11)
    step = tf.function(
        lambda *x: tensors_with_gradients(lambda *y: losses.softmax(*y, tile=22), *x),
        jit_compile=True,
    )
    assert_all_close(
        step(*map(tf.constant, data)), with_gradients(native, *data), rtol=2e-6, atol=2e-6
    )


def test_softmax_by_hand():
    # Logits ln 1, ln 2, ln 5 for query 1, and 0 for query 0: -ln 5/8 and ln 3.
    items = np.log([[1.0], [2.0], [5.0]]).astype(np.float32)
    loss = losses.softmax(
        np.float32([[1.0], [0.0]]), items, np.array([2, 0]), weights=np.float32([1.0, 10.0])
    )
    np.testing.assert_allclose(loss, math.log(8 / 5) + 10 * math.log(3.0), rtol=1e-6)


def test_equal_logits_cost_the_logarithm_of_their_number():
    for items in (1, 7, 5000):
        np.testing.assert_allclose(
            losses.softmax(
                np.zeros([3, 2], np.float32), np.ones([items, 2], np.float32), np.zeros(3, int)
            ),
            math.log(items),
        )


@pytest.mark.parametrize("target", [0, 1, 2])
def test_logits_ten_thousand_apart_stay_finite(target):
    # Logits 1e4, -1e4, 0: the loss is how far the target lies below the highest, and all
    # probability is there.
    queries, items = np.float32([[100.0]]), np.float32([[100.0], [-100.0], [0.0]])
    loss, to_queries, to_items = with_gradients(losses.softmax, queries, items, np.array([target]))
    np.testing.assert_allclose(loss, [0.0, 2e4, 1e4][target])
    np.testing.assert_allclose(to_queries, [100.0 - items[target]])
    expected = np.float32([[100.0], [0.0], [0.0]])
    expected[target] -= 100.0
    np.testing.assert_allclose(to_items, expected)


def in_float64(queries, items, targets, weights):
    """The weighted softmax loss and its gradients to queries and items, from float64 logits."""
    queries, items = queries.astype(np.float64), items.astype(np.float64)
    logits, rows = queries @ items.T, np.arange(len(queries))
    others = np.where(np.arange(len(items)) == targets[:, np.newaxis], -np.inf, logits)
    log_sum = np.logaddexp.reduce(others, axis=1)
    gap = log_sum - logits[rows, targets]
    slopes = np.exp(others - np.logaddexp(log_sum, logits[rows, targets])[:, np.newaxis])
    slopes[rows, targets] = -np.exp(-np.logaddexp(0.0, -gap))
    slopes *= weights[:, np.newaxis]
    return np.sum(weights * np.logaddexp(0.0, gap)), slopes @ items, slopes.T @ queries


@pytest.mark.parametrize("gap", [0, 4, 8, 16, 24, 32, 60])
def test_small_softmax_losses_are_right(gap):
    # A target that is far ahead: a probability of 1 - 1e-10 is 1 in float32.
    others = np.random.default_rng(3).normal(size=(50, 1)).astype(np.float32)
    data = np.float32([[1.0]]), np.concatenate([others, [[np.float32(gap)]]]), np.array([50])
    found = losses.softmax(*data, gradients=False)
    np.testing.assert_allclose(found, in_float64(*data, np.ones(1))[0], rtol=1e-4)


@pytest.mark.parametrize("scale", [0.1, 2.0, 5.0, 10.0, 100.0])
@pytest.mark.parametrize("tile", [None, 60])
def test_softmax_against_float64_at_any_spread(scale, tile):
    # Logits of scale 10 are hundreds apart, where probabilities are 0 in float32.
    data = problem(40, 30, scale=scale)
    found = with_gradients(lambda *x: losses.softmax(*x, tile=tile), *data)
    for one, value in zip(found, in_float64(*data), strict=True):
        np.testing.assert_allclose(one, value, rtol=1e-4, atol=2e-6 * np.abs(value).max())


@pytest.mark.parametrize("scale", [0.3, 1.0])
@pytest.mark.parametrize("tile", [None, 500])
def test_bfloat16_products_lose_only_their_rounding(scale, tile):
    queries, rows, targets, weights = problem(50, 200, scale=scale)

    def loss(*x):
        return losses.softmax(*x, tile=tile, products="bfloat16")

    found = with_gradients(loss, queries, rows, targets, weights)
    # The same from inputs that are rounded already; logits are rounded once more.
    queries, rows = (tf.cast(tf.cast(x, tf.bfloat16), tf.float32).numpy() for x in (queries, rows))
    expected = in_float64(queries, rows, targets, weights)
    for one, value in zip(found, expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, value, rtol=0.02, atol=0.02 * np.abs(value).max())


@pytest.mark.parametrize("tile", [None, 500])
def test_bfloat16_products_keep_the_gradients_of_confident_positions(tile):
    _, rows, targets, weights = problem(50, 200, dim=32)
    # Half of the targets have a probability above 0.9998, which bfloat16 rounds to 1.
    data = 0.6 * rows[targets], rows, targets, weights
    found = with_gradients(lambda *x: losses.softmax(*x, tile=tile, products="bfloat16"), *data)
    for one, value in zip(found[1:], in_float64(*data)[1:], strict=True):
        assert np.linalg.norm(one - value) < 0.1 * np.linalg.norm(value)


def test_a_gpu_computes_bfloat16_products_without_the_host():
    specs = [tf.TensorSpec([None, 8]), tf.TensorSpec([90, 8]), tf.TensorSpec([None], tf.int64)]

    @tf.function(input_signature=specs, autograph=False)
    def gradients(queries, rows, targets):
        return tensors_with_gradients(
            lambda *x: losses.softmax(*x, targets, products="bfloat16"), queries, rows
        )

    assert on_the_host(gradients.get_concrete_function().graph) == []


def test_a_catalogue_of_one_item_has_no_gradient_in_bfloat16():
    queries, rows, _, weights = problem(3, 1)
    targets = np.zeros(3, int)
    loss, *gradients = with_gradients(
        lambda *x: losses.softmax(*x, products="bfloat16"), queries, rows, targets, weights
    )
    assert loss == 0.0
    assert not any(gradient.any() for gradient in gradients)


def test_another_type_of_products():
    with pytest.raises(
        ValueError, match=r"^products must be float32 or bfloat16, but is 'float16'\.$"
    ):
        losses.softmax(*problem(4, 9)[:3], products="float16")


def test_gradient_to_the_weights_is_the_loss_of_each_position():
    queries, items, targets, weights = problem(5, 9)
    weights = tf.constant(weights)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = 3.0 * losses.softmax(queries, items, targets, weights, tile=18)
    expected = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=targets, logits=queries @ items.T
    )
    np.testing.assert_allclose(tape.gradient(loss, weights), 3.0 * expected, rtol=1e-5)


def test_without_gradients_there_are_none():
    queries, items, targets, _ = problem(5, 9)
    queries = tf.constant(queries)
    with tf.GradientTape() as tape:
        tape.watch(queries)
        loss = losses.softmax(queries, items, targets, gradients=False)
    assert tape.gradient(loss, queries) is None


def test_a_variable_gets_the_gradient_too():
    queries, rows, targets, weights = problem(5, 9)
    items = tf.Variable(rows)
    with tf.GradientTape() as tape:
        loss = losses.softmax(queries, items, targets, weights)
    np.testing.assert_allclose(
        tape.gradient(loss, items),
        with_gradients(native, queries, rows, targets, weights)[2],
        rtol=1e-5,
        atol=1e-6,
    )


def shapes_of(loss, positions, items, dim):
    """The shapes of all tensors in the graph of a loss and its gradients, those inside of loops
    among them.
    """

    @tf.function
    def step(queries, items, targets):
        return tensors_with_gradients(loss, queries, items, targets)

    specs = (
        tf.TensorSpec([positions, dim]),
        tf.TensorSpec([items, dim]),
        tf.TensorSpec([positions], tf.int32),
    )
    definition = step.get_concrete_function(*specs).graph.as_graph_def(add_shapes=True)
    nodes = [
        *definition.node,
        *(node for function in definition.library.function for node in function.node_def),
    ]
    return {
        tuple(axis.size for axis in shape.dim)
        for node in nodes
        for shape in node.attr["_output_shapes"].list.shape
    }


def test_logits_never_exceed_a_tile():
    positions, items, dim, tile = 50_000, 40_000, 16, 2**22

    def mean(*data):
        return native(*data, tf.fill([positions], 1.0 / positions))

    assert (positions, items) in shapes_of(mean, positions, items, dim)
    # 104 positions fit a tile: 481 tiles of 104, the last one ragged.
    shapes = shapes_of(lambda *data: losses.softmax(*data, tile=tile), positions, items, dim)
    assert (104, items) in shapes
    assert max(map(math.prod, shapes)) <= tile


@pytest.mark.parametrize(
    ("positions", "items", "rows"),
    [(50_000, 40_000, 104), (1000, 40_000, 100), (1024, 200_000, 32), (10, 200_000, 10)],
)
def test_default_tile(positions, items, rows):
    # 2**22 logits are 104 positions x 40,000 items; with 1,000 positions, 10 tiles of 100. Of
    # 200,000 items there are D = 32 positions. The gradient of the items is [D, N] at first.
    shapes = shapes_of(losses.softmax, positions, items, 32)
    assert {shape[0] for shape in shapes if shape[1:] == (items,)} == {rows, 32}


# Sampled softmax


def log_softmax(x):
    return x - np.logaddexp.reduce(x)


def sampled_twin(queries, items, targets, negatives, log_q, weights, correct_targets):
    """The sampled loss in float64, position by position."""
    total, expected = 0.0, np.log(len(negatives)) + log_q
    for query, target, weight in zip(queries.astype(float), targets, weights, strict=True):
        scores = items.astype(float) @ query
        true = scores[target] - (expected[target] if correct_targets else 0.0)
        logits = [true] + [scores[j] - expected[j] for j in negatives if j != target]
        total += weight * (np.logaddexp.reduce(logits) - true)
    return total


def differences(function, x, step=1e-5):
    """Gradient of a function of one float64 array by central differences."""
    gradient = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        high, low = x.astype(float), x.astype(float)
        high[index] += step
        low[index] -= step
        gradient[index] = (function(high) - function(low)) / (2 * step)
    return gradient


@pytest.mark.parametrize("correct_targets", [True, False])
@pytest.mark.parametrize("uniform", [True, False])
def test_sampled_softmax_equals_its_twin(uniform, correct_targets):
    queries, items, targets, weights = problem(6, 9, dim=3)
    negatives = np.array([0, 3, 3, 8, 5])
    log_q = log_softmax(np.zeros(9) if uniform else np.linspace(-3, 1, 9))
    given = None if uniform else log_q.astype(np.float32)

    def twin(queries, items):
        return sampled_twin(queries, items, targets, negatives, log_q, weights, correct_targets)

    loss, *gradients = with_gradients(
        lambda *x: losses.sampled_softmax(
            *x, targets, negatives, given, weights, correct_targets=correct_targets
        ),
        queries,
        items,
    )
    np.testing.assert_allclose(loss, twin(queries, items), rtol=1e-5)
    expected = (
        differences(lambda x: twin(x, items), queries),
        differences(lambda x: twin(queries, x), items),
    )
    assert_all_close(gradients, expected, rtol=1e-4, atol=1e-5)


def test_sampled_softmax_equals_tensorflows_own():
    queries, items, targets, weights = problem(20, 30)
    negatives, log_q = np.arange(0, 30, 3), log_softmax(np.linspace(-2, 2, 30)).astype(np.float32)
    count = len(negatives) * np.exp(log_q)

    def native_sampled(queries, items):
        sampled = (
            tf.constant(negatives),
            tf.constant(count[targets][:, np.newaxis]),
            tf.constant(count[negatives]),
        )
        loss = tf.nn.sampled_softmax_loss(
            items,
            tf.zeros(30),
            targets[:, np.newaxis],
            queries,
            len(negatives),
            30,
            sampled_values=sampled,
            remove_accidental_hits=True,
        )
        return tf.reduce_sum(weights * loss)

    ours = with_gradients(
        lambda *x: losses.sampled_softmax(*x, targets, negatives, log_q, weights), queries, items
    )
    assert_all_close(ours, with_gradients(native_sampled, queries, items), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("correct_targets", [True, False])
def test_every_item_once_as_a_negative_is_the_full_softmax(correct_targets):
    # K Q_j = N / N = 1: no correction; and the target's own copy is left out.
    queries, items, targets, weights = problem(12, 15)
    sampled = with_gradients(
        lambda *x: losses.sampled_softmax(
            *x, targets, np.arange(15), None, weights, correct_targets=correct_targets
        ),
        queries,
        items,
    )
    assert_all_close(
        sampled, with_gradients(native, queries, items, targets, weights), rtol=1e-5, atol=1e-6
    )


def test_accidental_hits_by_hand():
    # Uniform, so that only exp(logit) counts: items 1, 2, 5. Position 0 (target 2) keeps negatives
    # 0 and 1: -ln 5/8; position 1 (target 0) keeps 1 and both 2: -ln 1/13.
    items = np.log([[1.0], [2.0], [5.0]]).astype(np.float32)
    loss = losses.sampled_softmax(
        np.ones([2, 1], np.float32), items, [2, 0], [0, 1, 2, 2], weights=[1.0, 10.0]
    )
    np.testing.assert_allclose(loss, math.log(8 / 5) + 10 * math.log(13.0), rtol=1e-6)


def test_only_hits_cost_nothing():
    loss, *gradients = with_gradients(losses.sampled_softmax, *problem(1, 4)[:2], [3], [3, 3])
    assert loss == 0.0
    assert not any(gradient.any() for gradient in gradients)


def mean_over_draws(loss, queries, items, log_q, count, draws=150):
    """Loss and gradients averaged over negatives drawn from Q; `loss` takes queries, items and
    negatives.
    """
    random = np.random.default_rng(7)
    step = tf.function(lambda negatives: tensors_with_gradients(loss, queries, items, negatives))
    results = [
        step(tf.constant(random.choice(len(log_q), count, p=np.exp(log_q)))) for _ in range(draws)
    ]
    return [np.mean([result[part] for result in results], axis=0) for part in range(3)]


def distance(actual, expected):
    """The largest relative distance of loss and gradients."""
    return max(
        np.linalg.norm(one - other) / np.linalg.norm(other)
        for one, other in zip(actual, expected, strict=True)
    )


@pytest.mark.parametrize("uniform", [True, False])
def test_many_negatives_tend_to_the_full_softmax(uniform):
    queries, items, targets, weights = problem(10, 40, scale=0.5)
    log_q = log_softmax(np.zeros(40) if uniform else -np.log(np.arange(1.0, 41.0)))
    full = with_gradients(native, queries, items, targets, weights)

    def sampled(*x):
        given = None if uniform else log_q.astype(np.float32)
        return losses.sampled_softmax(*x[:2], targets, x[2], given, weights, correct_targets=False)

    few, many = (
        distance(mean_over_draws(sampled, queries, items, log_q, count, draws=100), full)
        for count in (10, 1000)
    )
    assert many < 0.01 < few < 0.3


@pytest.mark.parametrize("correct_targets", [True, False])
def test_correction_has_the_right_sign(correct_targets):
    """Where the model has drawn the targets the full gradient is 0; that of popular negatives is
    nearer to 0 when they are corrected.
    """
    items = problem(1, 80, scale=0.5, seed=3)[1]
    queries = np.repeat(problem(1, 1, seed=4)[0], 80, axis=0)
    # Each item is once the target, with the probability that the model gives it.
    targets, weights = (
        np.arange(80),
        np.exp(log_softmax(items.astype(float) @ queries[0].astype(float))).astype(np.float32),
    )
    assert (
        np.linalg.norm(np.sum(with_gradients(native, queries, items, targets, weights)[1], axis=0))
        < 1e-6
    )
    log_q = log_softmax(-np.log(np.arange(1.0, 81.0)))

    def norm(given):
        def sampled(queries, items, negatives):
            return losses.sampled_softmax(
                queries, items, targets, negatives, given, weights, correct_targets
            )

        return np.linalg.norm(
            np.sum(mean_over_draws(sampled, queries, items, log_q, 40)[1], axis=0)
        )

    assert norm(log_q.astype(np.float32)) < 0.5 * norm(None)


# Binary cross entropy


def binary_twin(queries, items, targets, negatives, weights, beta=1.0):
    """The binary losses in float64, pair by pair."""
    total = 0.0
    for query, target, others, weight in zip(queries, targets, negatives, weights, strict=True):
        weight = float(weight)
        total -= weight * beta * math.log(1 / (1 + math.exp(-float(query @ items[target]))))
        for other in others:
            total -= weight * math.log(1 - 1 / (1 + math.exp(-float(query @ items[other]))))
    return total


def test_bce_by_hand():
    # Logits ln 3 (target), 0 and ln 3: -ln 3/4 - ln 1/2 - ln 1/4 = ln 32/3.
    items = np.float32([[math.log(3.0)], [0.0]])
    loss = losses.bce(np.ones([1, 1], np.float32), items, np.array([0]), np.array([[1, 0]]))
    np.testing.assert_allclose(loss, math.log(32 / 3), rtol=1e-6)


def test_gbce_by_hand():
    # K = 2 of 9 items: alpha 1/4; t 0.5: beta = 1/4 (1/2 (1 - 4) + 4) = 5/8. The target's share is
    # 5/8 of ln 4/3.
    items = np.float32([[math.log(3.0)], [0.0]])
    loss = losses.gbce(
        np.ones([1, 1], np.float32), items, np.array([0]), np.array([[1, 0]]), num_items=9, t=0.5
    )
    np.testing.assert_allclose(loss, 5 / 8 * math.log(4 / 3) + math.log(8.0), rtol=1e-6)


@pytest.mark.parametrize("t", [None, 0.0, 0.75, 1.0])
def test_binary_losses_equal_their_twin(t):
    queries, items, targets, weights = problem(5, 9, dim=3)
    negatives = negatives_of(5, 4, 9)
    alpha = 4 / 8
    beta = 1.0 if t is None else alpha * (t * (1 - 1 / alpha) + 1 / alpha)

    def ours(*x):
        if t is None:
            return losses.bce(*x, targets, negatives, weights)
        return losses.gbce(*x, targets, negatives, 9, t, weights)

    def twin(queries, items):
        return binary_twin(
            queries.astype(float), items.astype(float), targets, negatives, weights, beta
        )

    loss, *gradients = with_gradients(ours, queries, items)
    np.testing.assert_allclose(loss, twin(queries, items), rtol=1e-5)
    expected = (
        differences(lambda x: twin(x, items), queries),
        differences(lambda x: twin(queries, x), items),
    )
    assert_all_close(gradients, expected, rtol=1e-4, atol=1e-5)


def test_gbce_without_calibration_is_bce():
    queries, items, targets, weights = problem(5, 9)
    negatives = negatives_of(5, 3, 9)
    gbce = with_gradients(
        lambda *x: losses.gbce(*x, targets, negatives, 9, 0.0, weights), queries, items
    )
    assert_all_close(
        gbce, with_gradients(lambda *x: losses.bce(*x, targets, negatives, weights), queries, items)
    )


def test_binary_losses_of_scores_far_apart_stay_finite():
    # -ln s(-1e4) = 1e4 for the target, and as much for a negative at 1e4.
    queries, items = np.float32([[100.0]]), np.float32([[-100.0], [100.0]])
    loss, *gradients = with_gradients(losses.bce, queries, items, np.array([0]), np.array([[1]]))
    np.testing.assert_allclose(loss, 2e4)
    assert_all_close(gradients, [[[200.0]], [[-100.0], [100.0]]])


# All of them


@pytest.mark.parametrize("name", NAMES)
def test_default_weights_give_the_mean(name):
    queries, items, targets, _ = problem(6, 9)
    negatives = negatives_of(6, 3, 9)
    weighted = call(name, queries, items, targets, negatives, weights=np.full(6, 1 / 6, np.float32))
    np.testing.assert_allclose(call(name, queries, items, targets, negatives), weighted, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16])
def test_narrow_types_lose_only_their_own_rounding(name, dtype):
    queries, items, targets, weights = problem(50, 200)
    negatives = negatives_of(50, 20, 200)
    narrow = tf.cast(queries, dtype), tf.cast(items, dtype)
    wide = [tf.cast(x, tf.float32) for x in narrow]

    def loss(*x):
        return call(name, *x, targets, negatives, weights=weights)

    assert loss(*narrow).dtype == tf.float32
    actual, expected = with_gradients(loss, *narrow), with_gradients(loss, *wide)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-6)
    spacing = {tf.bfloat16: 2**-8, tf.float16: 2**-11}[dtype]
    # One rounding of the gradient to queries; rows of items are summed over positions, in the
    # narrow type where they are sparse.
    np.testing.assert_allclose(actual[1], expected[1], rtol=spacing, atol=1e-6)
    np.testing.assert_allclose(actual[2], expected[2], rtol=spacing, atol=16 * spacing)


@pytest.mark.parametrize("name", NAMES)
def test_no_positions_cost_nothing(name):
    queries, items, targets, weights = problem(0, 9)
    negatives = np.zeros([1 if name == "sampled_softmax" else 0, 3], int)
    for given in ({}, {"weights": weights}):
        result = with_gradients(
            lambda *x, given=given: call(name, *x, targets, negatives, **given), queries, items
        )
        assert result[0] == 0.0
        assert not result[2].any()
        assert result[1].shape == (0, 8)


@pytest.mark.parametrize("name", ["sampled_softmax", "bce", "gbce"])
def test_sampled_losses_give_a_variable_a_sparse_gradient(name):
    queries, rows, targets, _ = problem(4, 1000)
    items = tf.Variable(rows)
    with tf.GradientTape() as tape:
        loss = call(name, queries, items, targets, negatives_of(4, 3, 1000))
    gradient = tape.gradient(loss, items)
    assert isinstance(gradient, tf.IndexedSlices)
    assert gradient.values.shape[0] == 4 + (3 if name == "sampled_softmax" else 12)


# Errors


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("argument", "shape", "message"),
    [
        ("queries", [4, 2, 8], r"^queries must have the shape \[P, D\], but has \(4, 2, 8\)\.$"),
        ("items", [9], r"^items must have the shape \[N, D\], but has \(9,\)\.$"),
        ("items", [9, 7], r"^queries and items must have the same width, but have 8 and 7\.$"),
        ("targets", [4, 1], r"^targets must have the shape \[P\], but has \(4, 1\)\.$"),
        ("weights", [4, 1], r"^weights must have the shape \[P\], but has \(4, 1\)\.$"),
    ],
)
def test_wrong_shapes(name, argument, shape, message):
    arguments = {
        "queries": [4, 8],
        "items": [9, 8],
        "targets": [4],
        "negatives": [4, 3],
        "weights": [4],
        argument: shape,
    }
    arguments = {
        key: np.zeros(value, np.int64 if key in ("targets", "negatives") else np.float32)
        for key, value in arguments.items()
    }
    with pytest.raises(ValueError, match=message):
        call(name, **arguments)


@pytest.mark.parametrize(
    ("name", "axes"), [("sampled_softmax", "K"), ("bce", "P, K"), ("gbce", "P, K")]
)
def test_wrong_shape_of_negatives(name, axes):
    negatives = (
        np.zeros([1, 4, 3, 1], int) if name == "sampled_softmax" else np.zeros([4, 3, 1], int)
    )
    with pytest.raises(
        ValueError, match=rf"^negatives must have the shape \[{axes}\], but has \(4, 3, 1\)\.$"
    ):
        call(name, *problem(4, 9)[:3], negatives)


def test_log_q_has_one_value_an_item():
    with pytest.raises(ValueError, match=r"^log_q must have the shape \[N\], but has \(9, 1\)\.$"):
        losses.sampled_softmax(
            *problem(4, 9)[:3], np.array([1]), log_q=np.zeros([9, 1], np.float32)
        )


@pytest.mark.parametrize("tile", [0, -1])
def test_tile_below_one(tile):
    with pytest.raises(ValueError, match=rf"^tile must be at least 1, but is {tile}\.$"):
        losses.softmax(*problem(4, 9)[:3], tile=tile)


def test_no_items():
    with pytest.raises(ValueError, match=r"^items must have at least one row, but has none\.$"):
        losses.softmax(np.zeros([4, 8], np.float32), np.zeros([0, 8], np.float32), np.zeros(4, int))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_items": 1}, r"^num_items must be at least 2, but is 1\.$"),
        ({"num_items": 9, "t": 1.5}, r"^t must be from 0 to 1, but is 1\.5\.$"),
        ({"num_items": 9, "t": -0.5}, r"^t must be from 0 to 1, but is -0\.5\.$"),
    ],
)
def test_gbce_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        losses.gbce(*problem(4, 9)[:3], negatives_of(4, 3, 9), **arguments)
