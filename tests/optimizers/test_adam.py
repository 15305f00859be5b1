"""Adam by the fused kernel against Keras and the equations."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn import config as configuration
from tfrec_attn.optimizers import Adam, make_optimizer

OPTIONS = {"learning_rate": 0.3, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 0.05}


def trained(optimizer, weights, gradients):
    """The variable after steps with these gradients."""
    variable = tf.Variable(weights)
    apply = tf.function(lambda gradient: optimizer.apply_gradients([(gradient, variable)]))
    optimizer.build([variable])
    for gradient in gradients:
        apply(gradient)
    return variable.numpy()


def test_dense_gradients_by_the_equations():
    random = np.random.default_rng(1)
    weights = random.normal(size=(3, 2)).astype(np.float32)
    gradients = random.normal(size=(4, 3, 2)).astype(np.float32)
    w, m, v = weights.astype(float), 0.0, 0.0
    for t, g in enumerate(gradients.astype(float), 1):
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
        w = w - 0.3 * np.sqrt(1 - 0.9**t) / (1 - 0.8**t) * m / (np.sqrt(v) + 0.05)
    found = trained(Adam(**OPTIONS), weights, map(tf.constant, gradients))
    np.testing.assert_allclose(found, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"amsgrad": True}, {"weight_decay": 0.1}, {}])
@pytest.mark.parametrize("sparse", [True, False])
def test_every_gradient_and_option_as_keras(sparse, options):
    random = np.random.default_rng(2)
    weights = random.normal(size=(5, 2)).astype(np.float32)
    gradients = [tf.constant(random.normal(size=(5, 2)), tf.float32) for _ in range(3)]
    if sparse:
        rows, shape = tf.constant([1, 3, 4, 0, 2]), tf.constant([5, 2])
        gradients = [tf.IndexedSlices(one, rows, shape) for one in gradients]
    found, expected = (
        trained(kind(**OPTIONS, **options), weights, gradients)
        for kind in (Adam, tf.keras.optimizers.Adam)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_configuration_names_it():
    config = configuration.from_dict({"train": {"optimizer": "adam", "learning_rate": 0.1}})
    assert type(make_optimizer(config, 1)) is Adam
