"""The convolutions of Caser over a window of events."""

import tensorflow as tf

from tfrec_attn.layers.support import Layer, input_width, positive_integer


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class WindowConvolution(Layer):
    """Vertical and horizontal convolutions of a window, concatenated.

        vertical_kd = sum over l of V_lk x_ld + b_k
        horizontal_hf = max over t of relu(sum over l of F_hlf . x_(t+l) + c_hf)    l = 0 .. h - 1

    A vertical filter k is a weighted sum of the events. A horizontal filter of height h matches a
    pattern of h consecutive events.

    Args:
        length: L, number of events of the window.
        vertical: Number of vertical filters. Default 4.
        horizontal: Number of horizontal filters of each height. Default 16.
        max_height: Largest height, at most L; the heights are 1 .. `max_height`. None (default): L.

    Shapes:
        inputs [B, L, D] -> [B, vertical D + horizontal max_height] in the compute dtype; D must be
        known.

    Reference:
        Tang, Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence
        Embedding", WSDM 2018, section 3.2.
    """

    def __init__(self, length, vertical=4, horizontal=16, max_height=None, **kwargs):
        super().__init__(**kwargs)
        self.length = positive_integer("length", length)
        self.vertical = positive_integer("vertical", vertical)
        self.horizontal = positive_integer("horizontal", horizontal)
        self.max_height = positive_integer("max_height", max_height, "for all")
        if max_height is not None and max_height > length:
            raise ValueError(
                f"`max_height` must be at most the length of the window, {length}; "
                f"got {max_height}."
            )

    @property
    def units(self):
        """Number of outputs of all horizontal filters."""
        return self.horizontal * (self.max_height or self.length)

    def build(self, input_shape):
        width = input_width(input_shape)
        self.vertical_kernel = self.add_weight(
            name="vertical_kernel",
            shape=(self.length, self.vertical),
            initializer="glorot_uniform",
        )
        self.vertical_bias = self.add_weight(
            name="vertical_bias", shape=(self.vertical,), initializer="zeros"
        )
        self.horizontal_kernels = [
            self.add_weight(
                name=f"horizontal_kernel_{height}",
                shape=(height * width, self.horizontal),
                initializer="glorot_uniform",
            )
            for height in range(1, (self.max_height or self.length) + 1)
        ]
        # With 0, the activation would have no derivative at padding.
        self.horizontal_bias = self.add_weight(
            name="horizontal_bias",
            shape=(self.units,),
            initializer=tf.keras.initializers.Constant(0.01),
        )
        super().build(input_shape)

    def call(self, inputs):
        if inputs.shape[1] not in (None, self.length):
            raise ValueError(
                f"`inputs` must have `length` = {self.length} positions; got {inputs.shape[1]}."
            )
        x = tf.cast(inputs, self.compute_dtype)
        columns = tf.tensordot(x, self.vertical_kernel, [[1], [0]]) + self.vertical_bias
        vertical = tf.reshape(
            tf.transpose(columns, [0, 2, 1]), [-1, self.vertical * inputs.shape[-1]]
        )
        # Bias and activation do not change the order, so the maximum can come first.
        best = []
        for height, kernel in enumerate(self.horizontal_kernels, start=1):
            kernel = tf.reshape(kernel, [height, inputs.shape[-1], self.horizontal])
            found = tf.nn.conv1d(x, kernel, stride=1, padding="VALID")
            best.append(tf.reduce_max(found, axis=1))
        horizontal = tf.nn.relu(tf.concat(best, axis=1) + self.horizontal_bias)
        return tf.concat([vertical, horizontal], axis=1)
