"""The item matrix in int8 or bfloat16, with operations of stock TensorFlow."""

import numpy as np
import tensorflow as tf

from tfrec_attn.layers.embedding_table import take

FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"
# Elements of a part that is converted to float32 at once: 512 KB, which fit in a core's cache.
_PART = 1 << 17


class CompactMatrix(tf.Module):
    """Item vectors in int8 with a scale for each item, or in bfloat16.

    The matrix is never converted to float32 as a whole. `products` converts one part after the
    other and multiplies it in float32.

    Args:
        vectors: Item vectors, float [N + 1, D'].
        kind: `INT8` or `BFLOAT16`.

    Attributes:
        shape: (N + 1, D').
    """

    def __init__(self, vectors: np.ndarray, kind: str):
        super().__init__(name="item_vectors")
        self.shape = tuple(vectors.shape)
        self._rows = max(1, min(_PART // self.shape[1], self.shape[0]))
        padding = -self.shape[0] % self._rows
        vectors = np.pad(np.asarray(vectors, np.float32), ((0, padding), (0, 0)))
        self.scales = None
        if kind == INT8:
            vectors, scales = quantize(vectors)
            self.scales = tf.Variable(scales, trainable=False, name="scales")
        self.codes = tf.Variable(
            tf.cast(vectors, kind), trainable=False, dtype=tf.as_dtype(kind), name="codes"
        )

    def rows(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns rows: int [...] -> float32 [..., D']."""
        rows = tf.cast(tf.gather(tf.convert_to_tensor(self.codes), ids), tf.float32)
        if self.scales is None:
            return rows
        return rows * tf.gather(tf.convert_to_tensor(self.scales), ids)[..., tf.newaxis]

    def products(self, queries: tf.Tensor) -> tf.Tensor:
        """Returns the inner products with all rows: float32 [B, D'] -> float32 [B, N + 1]."""
        shape = [-1, self._rows, self.shape[1]]
        codes = tf.reshape(tf.convert_to_tensor(self.codes), shape)
        if self.scales is not None:
            scales = tf.reshape(tf.convert_to_tensor(self.scales), shape[:2])
        parts = self.codes.shape[0] // self._rows

        def add_part(part, found):
            scores = tf.matmul(queries, tf.cast(codes[part], tf.float32), transpose_b=True)
            scores = scores if self.scales is None else scores * scales[part]
            return part + 1, found.write(part, scores)

        found = tf.TensorArray(tf.float32, parts, element_shape=[None, self._rows])
        _, found = tf.while_loop(lambda part, _: part < parts, add_part, (0, found))
        scores = tf.transpose(found.stack(), [1, 0, 2])
        return tf.reshape(scores, [-1, parts * self._rows])[:, : self.shape[0]]


def quantize(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantizes each row to int8 with a scale of its own.

    Each number of a row differs from scale * code by at most half a scale, apart from rounding.

    Args:
        vectors: Float [N, D'].

    Returns:
        (codes int8 [N, D'], scales float32 [N]).
    """
    vectors = np.asarray(vectors, np.float32)
    scales = np.abs(vectors).max(axis=1, initial=0.0) / np.float32(127)
    steps = vectors / np.where(scales > 0, scales, np.float32(1))[:, np.newaxis]
    return np.rint(steps).astype(np.int8), scales


def rows_of(matrix: tf.Variable | CompactMatrix, ids: tf.Tensor) -> tf.Tensor:
    """Returns rows of an item matrix: int [...] -> float32 [..., D']."""
    if isinstance(matrix, CompactMatrix):
        return matrix.rows(ids)
    return take(matrix, ids)


def products_of(queries: tf.Tensor, matrix: tf.Variable | CompactMatrix) -> tf.Tensor:
    """Returns the inner products with all rows: float32 [B, D'] -> float32 [B, N + 1]."""
    if isinstance(matrix, CompactMatrix):
        return matrix.products(queries)
    return tf.matmul(queries, tf.convert_to_tensor(matrix), transpose_b=True)
