"""A gated recurrent unit over the history."""

import tensorflow as tf

from tfrec_attn.layers.support import Layer, input_width, positive_integer, project


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class GRU(Layer):
    """A gated recurrent unit that applies the reset gate before the recurrent product.

        z = s(x_t Wz + h Uz + bz)                   update;   s(a) = 1 / (1 + exp(-a))
        r = s(x_t Wr + h Ur + br)                   reset
        c = tanh(x_t Wh + (r * h) Uh + bh)
        h_t = (1 - z) h + z c                       h = h_(t-1), h_0 = 0

    h does not change at padding. On all devices, the recurrence uses stock operations without
    cuDNN. The weights are `kernel` = [Wz, Wr, Wh], `gates_recurrent_kernel` = [Uz, Ur],
    `recurrent_kernel` = Uh and `bias` = [bz, br, bh], side by side.

    Args:
        units: Width of h; None (default) takes the width D of the input.

    Shapes:
        inputs [B, L, D], mask bool [B, L] (True: a real event) -> h [B, L, units] in the compute
        dtype; D must be known.

    Reference:
        Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical
        Machine Translation", EMNLP 2014; Hidasi et al., ICLR 2016 (arXiv 1511.06939).
    """

    def __init__(self, units=None, **kwargs):
        super().__init__(**kwargs)
        self.units = positive_integer("units", units, "for the input's width")
        self.supports_masking = True

    def build(self, input_shape):
        width = input_width(input_shape)
        units = self.units or width
        for name, sizes, initializer in (
            ("kernel", (width, 3 * units), "glorot_uniform"),
            ("gates_recurrent_kernel", (units, 2 * units), "glorot_uniform"),
            ("recurrent_kernel", (units, units), "glorot_uniform"),
            ("bias", (3 * units,), "zeros"),
        ):
            setattr(self, name, self.add_weight(name=name, shape=sizes, initializer=initializer))
        super().build(input_shape)

    def call(self, inputs, mask=None):
        x = tf.cast(inputs, self.compute_dtype)
        # The products with the inputs are computed for all events at once.
        projected = project(x, self.kernel, self.bias)
        units = projected.shape[-1] // 3
        update, others = projected[:, :, :units], projected[:, :, units:]
        if mask is not None:
            # s(-1e4) = 0 keeps h at padding. LiteRT returns NaN for much lower numbers.
            update = tf.where(tf.cast(mask, tf.bool)[:, :, tf.newaxis], update, -1e4)
        events = tf.transpose(tf.concat([update, others], axis=2), [1, 0, 2])
        of_gates = tf.convert_to_tensor(self.gates_recurrent_kernel)
        of_candidate = tf.convert_to_tensor(self.recurrent_kernel)

        def step(state, event):
            gates = tf.sigmoid(event[:, : 2 * units] + tf.matmul(state, of_gates))
            update, reset = gates[:, :units], gates[:, units:]
            candidate = tf.tanh(event[:, 2 * units :] + tf.matmul(reset * state, of_candidate))
            return state + update * (candidate - state)

        states = tf.scan(step, events, tf.zeros([tf.shape(x)[0], units], x.dtype))
        return tf.transpose(states, [1, 0, 2])
