"""Retrieves the best items for a query, among all items or with an index.

Hidden items are left out: they get the score FLOOR. So does row 0, which is padding.
"""

import numpy as np
import tensorflow as tf

from tfrec_attn.layers.item_neighbours import drop_padding
from tfrec_attn.models.base.scoring import Query, score_listed
from tfrec_attn.models.base.untrained import FLOOR


class InvertedFile(tf.Module):
    """An index for maximum inner product search.

    A query scans the `nprobe` cells whose centroids have the largest inner products with it. The
    item matrix is sorted by cell: cell c has the rows offsets[c] + 1 .. offsets[c + 1]. A batch
    needs memory for B W D' floats, where W is the largest number of items that a query scans.

    With int8 codes the scan uses the vectors scale * code. Then the best max(4 k, 64) items are
    scored again with the rows of the matrix.

    Args:
        offsets: Bounds of the cells, int [C + 1], as from `cluster`. An empty cell counts as a
            scanned one.
        centroids: Float [C, D'].
        nprobe: Number of cells that a query scans. C or more scan all cells, which makes the search
            exact unless there are int8 codes.
        quantized: (codes int8 [N + 1, D'], scales float [N + 1]) as from `quantize` of the item
            matrix. None (default): the scan uses the item matrix.
    """

    def __init__(
        self,
        offsets: np.ndarray,
        centroids: np.ndarray,
        nprobe: int,
        quantized: tuple[np.ndarray, np.ndarray] | None = None,
    ):
        super().__init__(name="inverted_file")
        self.nprobe = min(int(nprobe), len(centroids))
        self.offsets = tf.Variable(offsets, trainable=False, dtype=tf.int32, name="offsets")
        self.centroids = tf.Variable(centroids, trainable=False, dtype=tf.float32, name="centroids")
        self.codes = self.scales = None
        if quantized is not None:
            codes, scales = quantized
            self.codes = tf.Variable(codes, trainable=False, dtype=tf.int8, name="codes")
            self.scales = tf.Variable(scales, trainable=False, dtype=tf.float32, name="scales")

    def search(
        self, queries: tf.Tensor, item_vectors: tf.Tensor, k: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds the k best items in the cells of each query.

        Of equal scores the lower row is first.

        Args:
            queries: Float32 [B, D'].
            item_vectors: Tensor [N + 1, D'], sorted by cell; row 0 is padding.
            k: Scalar int.

        Returns:
            (scores float32 [B, k], rows int32 [B, k]), best first, with FLOOR and row 0 where the
            cells have fewer items.
        """
        rows = self.rows_near(queries)
        if self.codes is not None:
            codes = tf.cast(tf.gather(tf.convert_to_tensor(self.codes), rows), tf.float32)
            scores = products(queries, codes) * tf.gather(tf.convert_to_tensor(self.scales), rows)
            _, rows = top_k(_hide_padding(scores, rows), rows, tf.maximum(4 * k, 64))
            rows = tf.sort(rows, axis=1)
        scores = products(queries, tf.gather(item_vectors, rows))
        return top_k(_hide_padding(scores, rows), rows, k)

    def rows_near(self, queries: tf.Tensor) -> tf.Tensor:
        """Returns the rows in the cells of queries, ascending, then 0: [B, D'] -> int32 [B, W]."""
        products = tf.matmul(queries, self.centroids, transpose_b=True)
        cells = tf.sort(tf.math.top_k(products, self.nprobe, sorted=False).indices, axis=1)
        offsets = tf.convert_to_tensor(self.offsets)
        begin, end = tf.gather(offsets, cells), tf.gather(offsets, cells + 1)
        counts = tf.reduce_sum(end - begin, axis=1, keepdims=True)
        width = tf.maximum(tf.reduce_max(counts), 0)
        # One more range pads each query to the width.
        begin, end = tf.pad(begin, [[0, 0], [0, 1]]), tf.concat([end, width - counts], axis=1)
        ranges = tf.ragged.range(tf.reshape(begin, [-1]), tf.reshape(end, [-1])).flat_values
        rows = tf.reshape(ranges, tf.stack([tf.shape(queries)[0], width])) + 1
        return tf.where(tf.range(width) < counts, rows, 0)


def search_all(scores: tf.Tensor, hidden: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the k best of all items.

    Args:
        scores: Scores of all rows, float32 [B, N + 1].
        hidden: Rows to leave out, int32 [B, X].
        k: Scalar, at most N.

    Returns:
        (scores float32 [B, k], rows int32 [B, k]), best first; FLOOR where fewer items are left.
    """
    return tuple(tf.math.top_k(hide(scores, hidden), k))


def search_index(
    index: InvertedFile, query: Query, item_vectors: tf.Tensor, hidden: tf.Tensor, k: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the k best items among those that an index proposes and those in the query's prior.

    Args:
        index: Index of the items.
        query: A `Query` of B rows.
        item_vectors: Tensor [N + 1, D'].
        hidden: Rows to leave out, int32 [B, X].
        k: Scalar.

    Returns:
        (scores float32 [B, k], rows int32 [B, k]), best first; FLOOR where fewer items are left.
    """
    # More than k, because proposed items can be hidden, or moved down by their prior.
    count = k + tf.shape(hidden)[1]
    if query.prior is None:
        scores, rows = index.search(query.vectors, item_vectors, count)
    else:
        listed, _ = drop_padding(*query.prior)
        _, rows = index.search(query.vectors, item_vectors, count + tf.shape(listed)[1])
        rows = deduplicate(tf.concat([rows, listed], axis=1))
        scores = score_listed(query, tf.gather(item_vectors, rows), rows)
    return top_k(hide_listed(scores, rows, hidden), rows, k)


def hide(scores: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
    """Sets the scores of hidden rows, and of row 0, to FLOOR.

    Args:
        scores: Scores of all rows, float32 [B, N + 1].
        hidden: Rows to leave out, int32 [B, X].

    Returns:
        Float32 [B, N + 1].
    """
    hidden = tf.pad(hidden, [[0, 0], [1, 0]])
    shape = tf.shape(hidden)
    batch = tf.broadcast_to(tf.range(shape[0])[:, tf.newaxis], shape)
    index = tf.stack([batch, hidden], axis=-1)
    return tf.tensor_scatter_nd_update(scores, index, tf.fill(shape, FLOOR))


def hide_listed(scores: tf.Tensor, rows: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
    """Sets the scores of listed rows that are hidden, and of row 0, to FLOOR.

    Args:
        scores: Scores of the listed rows, float32 [B, C].
        rows: Listed rows, int32 [B, C].
        hidden: Rows to leave out, int32 [B, X].

    Returns:
        Float32 [B, C].
    """
    ordered = tf.sort(tf.pad(hidden, [[0, 0], [1, 0]]), axis=1)
    column = tf.minimum(tf.searchsorted(ordered, rows), tf.shape(ordered)[1] - 1)
    return tf.where(tf.gather(ordered, column, batch_dims=1) == rows, FLOOR, scores)


def top_k(scores: tf.Tensor, rows: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Selects the k best of listed items. Of equal scores the earlier column is first.

    Args:
        scores: Scores of the listed items, float32 [B, C].
        rows: Rows of the listed items, int32 [B, C].
        k: Scalar.

    Returns:
        (scores float32 [B, k], rows int32 [B, k]), best first, with FLOOR and row 0 from column C
        on.
    """
    scores = tf.pad(scores, [[0, 0], [0, k]], constant_values=FLOOR)
    scores, column = tf.math.top_k(scores, k)
    return scores, tf.gather(tf.pad(rows, [[0, 0], [0, k]]), column, batch_dims=1)


def deduplicate(rows: tf.Tensor) -> tf.Tensor:
    """Sorts rows and replaces duplicates by 0: int32 [B, C] -> int32 [B, C]."""
    rows = tf.sort(rows, axis=1)
    return tf.where(rows == tf.pad(rows, [[0, 0], [1, 0]])[:, :-1], 0, rows)


def products(queries: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
    """Returns inner products [B, W] of queries [B, D'] with W vectors each, [B, W, D']."""
    width = tf.shape(vectors)[1]

    def of_one():  # One matrix product is faster than a batch of matrix products.
        return tf.matmul(
            queries, tf.reshape(vectors, tf.stack([width, vectors.shape[2]])), transpose_b=True
        )

    def of_each():
        return tf.matmul(queries[:, tf.newaxis], vectors, transpose_b=True)[:, 0]

    return tf.cond(tf.shape(queries)[0] == 1, of_one, of_each)


def _hide_padding(scores, rows):
    return tf.where(rows > 0, scores, FLOOR)
