"""A gated recurrent unit over the history."""

import tensorflow as tf

from tfrec_attn.layers.support import positive_integer, project, without_autograph


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class GRU(tf.keras.layers.Layer):
    """A gated recurrent unit whose reset gate comes before the recurrent product.

        z = s(x_t Wz + h Uz + bz)                   update;   s(a) = 1 / (1 + exp(-a))
        r = s(x_t Wr + h Ur + br)                   reset
        c = tanh(x_t Wh + (r * h) Uh + bh)
        h_t = (1 - z) h + z c                       h = h_(t-1), h_0 = 0

    Padding leaves h as it is. The recurrence is made of stock operations on any device, without
    cuDNN.

    Args:
        units: Width of h; None (default) takes the width D of the input.

    Shapes:
        inputs [B, L, D], mask bool [B, L] (True: a real event) -> h [B, L, units] in the compute
        dtype; D must be known. The kernel has the columns Wz, Wr, Wh, and so the others.

    Reference:
        Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical
        Machine Translation", EMNLP 2014; Hidasi et al., ICLR 2016 (arXiv 1511.06939).
    """

    def __init__(self, units=None, **kwargs):
        super().__init__(**kwargs)
        if units is not None:
            units = positive_integer("units", units, ", or None for the input's width")
        self.units = units
        self.supports_masking = True

    def build(self, input_shape):
        shape = tf.TensorShape(input_shape)
        if shape.rank != 3 or shape[-1] is None:
            raise ValueError(f"`inputs` must have the shape [B, L, D] with a known D; got {shape}.")
        width = shape[-1]
        units = self.units or width
        for name, sizes, initializer in (
            ("kernel", (width, 3 * units), "glorot_uniform"),
            ("gates_recurrent_kernel", (units, 2 * units), "glorot_uniform"),
            ("recurrent_kernel", (units, units), "glorot_uniform"),
            ("bias", (3 * units,), "zeros"),
        ):
            setattr(self, name, self.add_weight(name=name, shape=sizes, initializer=initializer))
        super().build(input_shape)

    @without_autograph
    def call(self, inputs, mask=None):
        x = tf.cast(inputs, self.compute_dtype)
        # The products of all events at once; those of the states one event after the other.
        projected = project(x, self.kernel, self.bias)
        units = projected.shape[-1] // 3
        update, others = projected[:, :, :units], projected[:, :, units:]
        if mask is not None:
            # The gate is shut exactly.
            update = tf.where(tf.cast(mask, tf.bool)[:, :, tf.newaxis], update, x.dtype.min / 2)
        events = tf.transpose(tf.concat([update, others], axis=2), [1, 0, 2])
        kernels = map(tf.convert_to_tensor, (self.gates_recurrent_kernel, self.recurrent_kernel))
        return tf.transpose(_states(events, *kernels), [1, 0, 2])

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@tf.custom_gradient
def _states(events, of_gates, of_candidate):
    """Returns all states, [L, B, U].

    The gradient of a loop would keep and add up values in each step. This one computes the gates of
    all steps at once again, and so the gradients of the kernels; only states need a loop.

    Args:
        events: Inputs of the update gate, the reset gate and the candidate, [L, B, 3 U].
        of_gates: Kernel from the state to the two gates, [U, 2 U].
        of_candidate: Kernel from the state to the candidate, [U, U].
    """
    units = of_candidate.shape[0]
    start = tf.zeros([tf.shape(events)[1], units], events.dtype)

    def step(state, event):
        gates = tf.sigmoid(event[:, : 2 * units] + tf.matmul(state, of_gates))
        reset = gates[:, units:] * state
        candidate = tf.tanh(event[:, 2 * units :] + tf.matmul(reset, of_candidate))
        return state + gates[:, :units] * (candidate - state)

    states = tf.scan(step, events, start)

    def gradient(upstream):
        before = tf.concat([start[tf.newaxis], states[:-1]], axis=0)
        gates = tf.sigmoid(events[:, :, : 2 * units] + tf.tensordot(before, of_gates, 1))
        update, reset = gates[:, :, :units], gates[:, :, units:]
        candidate = events[:, :, 2 * units :] + tf.tensordot(reset * before, of_candidate, 1)
        candidate = tf.tanh(candidate)
        slopes = (
            (candidate - before) * update * (1 - update),
            before * reset * (1 - reset),
            update * (1 - candidate**2),
            1 - update,
            reset,
        )

        def step_back(carried, step):
            later, to_update, to_reset, to_candidate, keep, reset = step
            later += carried[0]
            candidate = later * to_candidate
            product = tf.matmul(candidate, of_candidate, transpose_b=True)
            gates = tf.concat([later * to_update, product * to_reset], axis=1)
            earlier = later * keep + product * reset + tf.matmul(gates, of_gates, transpose_b=True)
            return earlier, tf.concat([gates, candidate], axis=1)

        initial = start, tf.zeros_like(events[0])
        _, to_events = tf.scan(step_back, (upstream, *slopes), initial, reverse=True)
        gates, candidate = to_events[:, :, : 2 * units], to_events[:, :, 2 * units :]
        sums = [[0, 1], [0, 1]]
        return (
            to_events,
            tf.tensordot(before, gates, sums),
            tf.tensordot(reset * before, candidate, sums),
        )

    return states, gradient
