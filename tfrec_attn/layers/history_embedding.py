"""The input of an encoder: item vectors of the history, with positions."""

import tensorflow as tf

from tfrec_attn.layers.dropout import Dropout
from tfrec_attn.layers.layer_norm import layer_norm
from tfrec_attn.layers.learned_positions import LearnedPositions
from tfrec_attn.layers.support import Layer, real_events


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class HistoryEmbedding(Layer):
    """Item vectors plus learned positions, with dropout, 0 at padding.

        x = dropout(E[history] sqrt(D) + P)                 by default, as in SASRec
        x = dropout(E[history] + P)                         scale=False
        x = dropout(LayerNorm(E[history] + P))              scale=False, normalize=True

    Args:
        max_length: Longest history in events, the number of rows of P.
        dropout: Probability in [0, 1) of dropping a feature in training. Default 0.
        stddev: Standard deviation of the initial positions. Default 0.01.
        scale: Whether item vectors are multiplied by sqrt(D). Default True.
        normalize: Whether the sum goes through a layer normalisation. Default False.

    Shapes:
        item vectors [B, L, D], mask bool [B, L] (True: a real item) -> [B, L, D] in the compute
        dtype. A mask is passed on. If a row has several sequences, the mask numbers them, int
        [B, L] with 0 at padding, and `ages` int [B, L] counts the later items of the same sequence.

    Reference:
        Kang, McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section III.A; with
        the normalisation: Sun et al., "BERT4Rec", CIKM 2019.
    """

    def __init__(self, max_length, dropout=0.0, stddev=0.01, scale=True, normalize=False, **kwargs):
        super().__init__(**kwargs)
        self.positions = LearnedPositions(
            max_length, stddev, name="positions", dtype=self.dtype_policy
        )
        self._dropout_layer = Dropout(dropout, dtype=self.compute_dtype)
        self.norm = layer_norm(self, 1e-12, "norm") if normalize else None
        self.max_length, self.dropout, self.stddev = max_length, dropout, stddev
        self.scale, self.normalize = scale, normalize
        self.supports_masking = True

    def build(self, input_shape):
        self.positions.build((None, None, input_shape[-1]))
        if self.norm is not None:
            with tf.name_scope(self.norm.name):
                self.norm.build(input_shape)
        super().build(input_shape)

    def call(self, inputs, mask, training=None, ages=None):
        x = self.positions(inputs * inputs.shape[-1] ** 0.5 if self.scale else inputs, ages=ages)
        if self.norm is not None:
            x = tf.cast(self.norm(x), x.dtype)
        x = self._dropout_layer(x, training=training)
        return x * real_events(mask, x.dtype)
