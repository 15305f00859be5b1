"""Caser's convolutions, against loops."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.layers import WindowConvolution

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=[3, 4, 2]).astype("float32")


@pytest.mark.parametrize("max_height", [None, 2])
def test_by_loops(max_height):
    layer = WindowConvolution(4, 3, 5, max_height)
    layer.build(X.shape)
    layer.set_weights([RANDOM.normal(size=one.shape) for one in layer.get_weights()])
    found = layer(X).numpy()
    assert found.shape == (3, 3 * 2 + layer.units) and layer.units == 5 * (max_height or 4)
    columns, bias = layer.vertical_kernel.numpy(), layer.vertical_bias.numpy()
    for row, window in enumerate(X):
        expected = [window[:, d] @ columns[:, k] + bias[k] for k in range(3) for d in range(2)]
        for kernel in [one.numpy().reshape(-1, 2, 5) for one in layer.horizontal_kernels]:
            for f in range(5):
                offset = layer.horizontal_bias.numpy()[len(expected) - 6]
                places = range(4 - len(kernel) + 1)
                values = [(window[t : t + len(kernel)] * kernel[:, :, f]).sum() for t in places]
                expected.append(max(0, *(value + offset for value in values)))
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_arguments_and_configuration():
    config = WindowConvolution(4, 3, 5, 2).get_config()
    assert WindowConvolution.from_config(config).get_config() == config
    for name in ("length", "vertical", "horizontal", "max_height"):
        with pytest.raises(ValueError, match=f"`{name}` must be an integer of at least 1"):
            WindowConvolution(**{"length": 4, name: 0})
    with pytest.raises(ValueError, match="at most the length of the window, 4; got 5"):
        WindowConvolution(4, max_height=5)
    with pytest.raises(ValueError, match="`inputs` must have `length` = 4 positions; got 3"):
        WindowConvolution(4)(tf.zeros([1, 3, 2]))
