"""The part that attention layers with several heads share."""

import tensorflow as tf

from tfrec_attn.layers.self_attention import masked_softmax
from tfrec_attn.layers.support import Layer, merge_heads, project, split_heads


class HeadAttention(Layer):
    """Base of attention layers with several heads.

    A subclass sets `num_heads` and `_dropout_layer`, and builds `key_kernel`, `key_bias`,
    `value_kernel` and `value_bias`.
    """

    def attend(self, query, x, visible, training):
        """Applies attention with the query of each position.

        Args:
            query: Scaled queries of the positions, [B, L, D].
            x: Inputs of the projections to keys and values, [B, L, D].
            visible: Which keys a query attends to, bool, broadcastable to [B, H, L, L]; None: all.
            training: Whether to apply dropout.

        Returns:
            (attended [B, L, D], scores [B, H, L, L] before dropout).
        """
        key = split_heads(project(x, self.key_kernel, self.key_bias), self.num_heads)
        value = split_heads(project(x, self.value_kernel, self.value_bias), self.num_heads)
        logits = tf.matmul(split_heads(query, self.num_heads), key, transpose_b=True)
        scores = masked_softmax(logits, visible)
        weights = self._dropout_layer(tf.cast(scores, x.dtype), training=training)
        return merge_heads(tf.matmul(weights, value)), scores

    def attend_latest(self, query, x, visible, training):
        """Applies attention with the query of the latest position, without keys and values.

            q . (x_t Wk + bk) = (q Wkᵀ) . x_t + q . bk          the last term is equal for all t
            sum_t w_t (x_t Wv + bv) = (sum_t w_t x_t) Wv + (sum_t w_t) bv

        The projections cost D^2 for each history instead of D^2 for each event.

        Args:
            query: Scaled query of the latest position, [B, 1, D].
            x: Inputs of the projections to keys and values, [B, L, D].
            visible: As for `attend`, broadcastable to [B, H, 1, L].
            training: Whether to apply dropout.

        Returns:
            (attended [B, 1, D], scores [B, H, 1, L] before dropout).
        """
        heads, width = self.num_heads, x.shape[-1]
        # With one head, the kernels keep their shape.
        key, value = (
            one if heads == 1 else tf.reshape(one, [width, heads, -1])
            for one in (self.key_kernel, self.value_kernel)
        )
        if heads == 1:
            at_inputs = tf.matmul(query, key, transpose_b=True)
        else:
            at_inputs = tf.einsum("bhd,chd->bhc", tf.reshape(query, [-1, *key.shape[1:]]), key)
        logits = tf.matmul(at_inputs, x, transpose_b=True)
        scores = masked_softmax(logits[:, :, tf.newaxis], visible)
        weights = self._dropout_layer(tf.cast(scores, x.dtype), training=training)[:, :, 0]
        mean = tf.matmul(weights, x)
        if heads == 1:
            attended = tf.matmul(mean, value)
        else:
            attended = tf.einsum("bhc,chd->bhd", mean, value)
        share = tf.reduce_sum(weights, axis=2, keepdims=True)
        attended += share * tf.reshape(self.value_bias, [heads, -1])
        return tf.reshape(attended, [-1, 1, width]), scores
