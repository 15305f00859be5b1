"""Maximum inner product search over a part of a catalogue: items in cells, of which those that suit
a query are scanned.
"""

import numpy as np
import tensorflow as tf

from .selection import FLOOR, best

_SAMPLES_PER_CELL = 64
_SCORES_PER_BLOCK = 1 << 21


class InvertedFile(tf.Module):
    """The best items by inner product among those of the `nprobe` cells whose centroids have the
    largest product with the query.

    The items of a cell are neighbours in the matrix: cell c is its rows offsets[c] + 1 .. offsets[c
    + 1]. A query gathers W rows, those of its cells, so that a batch takes memory for B W D'
    floats, W that of the widest query. With int8 codes the scan is over scale * code, and the best
    max(4 k, 64) items are scored again with the rows themselves.

    Args:
      offsets: int [C + 1], as from `cluster`. An empty cell costs a probe.
      centroids: float [C, D'].
      nprobe: cells that a query scans; all from C on, which makes the search exact.
      quantised: (codes int8 [N + 1, D'], scales float [N + 1]), as from `quantise` of the item
          matrix; or None: no codes.

    Errors: ValueError when nprobe is below 1.
    """

    def __init__(self, offsets, centroids, nprobe, quantised=None):
        super().__init__(name="inverted_file")
        if nprobe < 1:
            raise ValueError(f"nprobe must be at least 1, but is {nprobe}.")
        self.nprobe = min(int(nprobe), len(centroids))
        self.offsets = tf.Variable(offsets, trainable=False, dtype=tf.int32, name="offsets")
        self.centroids = tf.Variable(centroids, trainable=False, dtype=tf.float32, name="centroids")
        self.codes = self.scales = None
        if quantised is not None:
            self.codes = tf.Variable(quantised[0], trainable=False, dtype=tf.int8, name="codes")
            self.scales = tf.Variable(
                quantised[1], trainable=False, dtype=tf.float32, name="scales"
            )

    def top(self, queries, item_vectors, k):
        """The best k of each query's cells, the lower row first among equals.

        Args:
          queries: float32 [B, D'].
          item_vectors: tensor [N + 1, D'], row 0 for padding, the items by cell.
          k: scalar int.

        Returns: (scores float32 [B, k], rows int32 [B, k]); where the cells hold fewer items the
        lowest float and row 0.
        """
        rows = self._rows(queries)
        if self.codes is not None:
            codes = tf.cast(tf.gather(tf.convert_to_tensor(self.codes), rows), tf.float32)
            scores = _products(queries, codes) * tf.gather(tf.convert_to_tensor(self.scales), rows)
            rows = tf.sort(best(_floored(scores, rows), rows, tf.maximum(4 * k, 64))[1], axis=1)
        return best(_floored(_products(queries, tf.gather(item_vectors, rows)), rows), rows, k)

    def _rows(self, queries):
        """Rows of the items in each query's cells, ascending, with 0 after the last: int32 [B, W]."""
        products = tf.matmul(queries, self.centroids, transpose_b=True)
        cells = tf.sort(tf.math.top_k(products, self.nprobe, sorted=False).indices, axis=1)
        offsets = tf.convert_to_tensor(self.offsets)
        begin, end = tf.gather(offsets, cells), tf.gather(offsets, cells + 1)
        counts = tf.reduce_sum(end - begin, axis=1, keepdims=True)
        width = tf.maximum(tf.reduce_max(counts), 0)
        # One more range fills each query's rows up to the widest.
        begin, end = tf.pad(begin, [[0, 0], [0, 1]]), tf.concat([end, width - counts], axis=1)
        ranges = tf.ragged.range(tf.reshape(begin, [-1]), tf.reshape(end, [-1])).flat_values
        rows = tf.reshape(ranges, tf.stack([tf.shape(queries)[0], width])) + 1
        return tf.where(tf.range(width) < counts, rows, 0)


def cluster(vectors, cells, seed=0, iterations=10):
    """k-means cells of item vectors, for maximum inner product search.

    Vectors are clustered by their distances after a column has been added that makes all norms
    equal,

        v' = [v, sqrt(max |v|^2 - |v|^2)],

    in which the nearest to [q, 0] is the one of the largest q . v. The centroids are trained on a
    sample of 64 vectors a cell.

    Args:
      vectors: float [N, D'].
      cells: C, at least 1; as many as vectors at most are made.
      seed: of the sample and the first centroids. Default 0.
      iterations: of Lloyd's algorithm. Default 10.

    Returns: (order int64 [N]: vectors by cell; offsets int64 [C + 1]: cell c has order[offsets[c] :
    offsets[c + 1]]; centroids float32 [C, D'], the mean of each cell's vectors). Cells without
    vectors are left out.

    Errors: ValueError when cells is below 1.

    Reference: Bachrach et al., Speeding Up the Xbox Recommender System Using a Euclidean
    Transformation for Inner-Product Spaces, RecSys 2014.
    """
    if cells < 1:
        raise ValueError(f"cells must be at least 1, but is {cells}.")
    vectors = np.asarray(vectors, np.float32)
    points = _with_equal_norms(vectors)
    random = np.random.default_rng(seed)
    cells = min(cells, len(points))
    sample = points[random.permutation(len(points))[: cells * _SAMPLES_PER_CELL]]
    centroids = sample[:cells]
    for _ in range(iterations):
        cell, distance = _assign(sample, centroids)
        sums, counts = _sums(sample, cell, cells)
        empty = np.flatnonzero(counts == 0)
        centroids = _means(sums, counts)
        centroids[empty] = sample[np.argsort(-distance, kind="stable")[: len(empty)]]
    cell, _ = _assign(points, centroids)
    sums, counts = _sums(vectors, cell, cells)
    filled = counts > 0
    offsets = np.concatenate([[0], np.cumsum(counts[filled])]).astype(np.int64)
    return np.argsort(cell, kind="stable"), offsets, _means(sums, counts)[filled]


def quantise(vectors):
    """Rows as int8 with a scale each: float [N, D'] -> (int8 [N, D'], float32 [N]), row = scale *
    int8 to half a scale.
    """
    vectors = np.asarray(vectors, np.float32)
    scales = np.abs(vectors).max(axis=1, initial=0.0) / np.float32(127)
    steps = vectors / np.where(scales > 0, scales, np.float32(1))[:, np.newaxis]
    return np.rint(steps).astype(np.int8), scales


def _products(queries, vectors):
    """Queries [B, D'] with vectors of their own [B, W, D'] -> [B, W]."""
    width = tf.shape(vectors)[1]

    def of_one():  # A product of matrices, which is quicker than a batch of such products.
        return tf.matmul(
            queries, tf.reshape(vectors, tf.stack([width, vectors.shape[2]])), transpose_b=True
        )

    def of_each():
        return tf.matmul(queries[:, tf.newaxis], vectors, transpose_b=True)[:, 0]

    return tf.cond(tf.shape(queries)[0] == 1, of_one, of_each)


def _floored(scores, rows):
    return tf.where(rows > 0, scores, FLOOR)


def _with_equal_norms(vectors):
    """[v, sqrt(max |v|^2 - |v|^2)], moved so that the mean is 0, which changes no distance and
    keeps digits.
    """
    squares = np.einsum("nd,nd->n", vectors, vectors)
    points = np.concatenate([vectors, np.sqrt(squares.max() - squares)[:, np.newaxis]], axis=1)
    return points - points.mean(axis=0, dtype=np.float64).astype(np.float32)


def _assign(points, centroids):
    """(nearest centroid int32 [N], squared distance to it [N])."""
    # |p - c|^2 = |p|^2 - 2 (p . c - |c|^2 / 2): one product finds the nearest.
    biased = tf.constant(np.concatenate([centroids, -0.5 * _squares(centroids)], axis=1))
    nearest, score = np.empty(len(points), np.int32), np.empty(len(points), np.float32)
    size = max(1, _SCORES_PER_BLOCK // len(centroids))
    for begin in range(0, len(points), size):
        part = slice(begin, begin + size)
        scores = tf.matmul(
            np.pad(points[part], ((0, 0), (0, 1)), constant_values=1), biased, transpose_b=True
        ).numpy()
        nearest[part] = scores.argmax(axis=1)
        score[part] = scores[np.arange(len(scores)), nearest[part]]
    return nearest, _squares(points)[:, 0] - 2 * score


def _squares(x):
    return np.einsum("nd,nd->n", x, x)[:, np.newaxis]


def _sums(points, cell, cells):
    """(sum of each cell's points [C, D'], how many they are [C])."""
    return tf.math.unsorted_segment_sum(points, cell, cells).numpy(), np.bincount(
        cell, minlength=cells
    )


def _means(sums, counts):
    return sums / np.maximum(counts, 1).astype(np.float32)[:, np.newaxis]
