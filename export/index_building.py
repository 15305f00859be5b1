"""Builds an inverted file for a trained model. A query scans as few cells as the recall allows."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import tensorflow as tf

from tfrec_attn.models.base import SequenceModel
from tfrec_attn.models.base.scoring import score_all
from tfrec_attn.models.base.untrained import UNTRAINED
from tfrec_attn.replay.event_blocks import padded
from tfrec_attn.replay.event_ranking import recommend
from tfrec_attn.runtime.runner import Runner

from .compact_matrix import quantize
from .model_copy import permute_items
from .retrieval import InvertedFile, search_all, search_index

K = 10
RECALL = 0.96
_BATCH = 32
_SAMPLES_PER_CELL = 64
_SCORES_PER_BLOCK = 1 << 21
_UNTIMED = 20


def build_index(
    model: SequenceModel,
    events: pl.DataFrame,
    *,
    cells: int,
    nprobe: int | None = None,
    int8: bool = False,
) -> tuple[SequenceModel, np.ndarray, InvertedFile, dict]:
    """Clusters the trained items of a model into cells.

    Args:
        model: A `SequenceModel` with vocabularies.
        events: Held-out events as from `read_events`. They decide `nprobe` if it is None.
        cells: C, in 1..N. Empty cells are left out.
        nprobe: Number of cells that a query scans. None (default) takes the smallest of 1, 2, 3, 4,
            6, 8, 12, ... that finds 0.96 of the best ten items.
        int8: Whether the index finds candidates with int8 vectors (default: False).

    Returns:
        (model, order, index, description): a copy of the model with its items sorted by cell, the
        former index of each item int [N], an `InvertedFile`, and its description for the model
        card.
    """
    trained = np.ones(model.num_items, bool) if model.trained_items is None else model.trained_items
    touched = np.flatnonzero(trained)
    order, offsets, centroids = cluster(model.item_vectors().numpy()[1:][touched], cells)
    # Untrained items come after the last cell, where no query finds them.
    order = np.concatenate([touched[order], np.flatnonzero(~trained)])
    model = permute_items(model, order)
    matrix = model.item_vectors().numpy()
    matrix[0] = 0.0
    quantized, count = quantize(matrix) if int8 else None, len(centroids)

    def index_of(nprobe):
        return InvertedFile(offsets, centroids, nprobe, quantized)

    if nprobe:
        index = index_of(nprobe)
    else:
        index = _cheapest(map(index_of, _steps(count)), model, events, tf.constant(matrix))
    description = {"kind": "ivf", "cells": count, "nprobe": index.nprobe, "int8": int8}
    return model, order, index, description


def cluster(
    vectors: np.ndarray, cells: int, seed: int = 0, iterations: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clusters item vectors with k-means, for maximum inner product search.

    Distances are measured after adding a column that makes all norms equal:

        v' = [v, sqrt(max |v|^2 - |v|^2)].

    Then the nearest vector to [q, 0] is the one with the largest q . v. The centroids are trained
    on a sample of 64 vectors a cell.

    Args:
        vectors: Float [N, D'].
        cells: C, at least 1. There are at most N cells.
        seed: Seed of the sample and of the first centroids (default: 0).
        iterations: Iterations of Lloyd's algorithm (default: 10).

    Returns:
        (order, offsets, centroids): the vectors sorted by cell, int64 [N]; the bounds of the cells,
        int64 [C + 1], where cell c holds order[offsets[c] : offsets[c + 1]]; and the means of the
        vectors of each cell, float32 [C, D']. Empty cells are left out.

    Reference:
        Bachrach et al., Speeding Up the Xbox Recommender System Using a Euclidean Transformation
        for Inner-Product Spaces, RecSys 2014.
    """
    vectors = np.asarray(vectors, np.float32)
    points = _with_equal_norms(vectors)
    random = np.random.default_rng(seed)
    cells = min(cells, len(points))
    sample = points[random.permutation(len(points))[: cells * _SAMPLES_PER_CELL]]
    centroids = sample[:cells]
    for _ in range(iterations):
        cell, distance = _assign(sample, centroids)
        centroids, counts = _means(sample, cell, cells)
        empty = np.flatnonzero(counts == 0)
        centroids[empty] = sample[np.argsort(-distance, kind="stable")[: len(empty)]]
    cell, _ = _assign(points, centroids)
    centroids, counts = _means(vectors, cell, cells)
    filled = counts > 0
    offsets = np.concatenate([[0], np.cumsum(counts[filled])]).astype(np.int64)
    return np.argsort(cell, kind="stable"), offsets, centroids[filled]


def measure_index(exact: Path, indexed: Path, events: pl.DataFrame, k: int) -> dict[str, float]:
    """Measures recall and latency of an approximate servable, with one request at a time.

    Args:
        exact: SavedModel that scores all items in float32.
        indexed: SavedModel of the same model with an index or a compact item matrix.
        events: Held-out events as from `read_events`.
        k: Number of items in a list.

    Returns:
        "recall@k", the share of the exact lists that `indexed` finds, and the median latencies
        "p50_ms" and "exact_p50_ms" in milliseconds.
    """
    found, milliseconds = _recommend(indexed, events, k)
    best, exact_milliseconds = _recommend(exact, events, k)
    return {
        f"recall@{k}": round(_recall(best, found), 4),
        "p50_ms": round(milliseconds, 3),
        "exact_p50_ms": round(exact_milliseconds, 3),
    }


def _recommend(folder, events, k):
    """(items of each response as a set, median milliseconds)."""
    requests = [
        {"user_id": np.array([user], object), "history": padded([history], len(history) + 1)}
        for user, history, _ in events.rows()
    ]
    responses, times = [], []
    with Runner(folder) as runner:
        for request in requests[:_UNTIMED]:
            recommend(runner.run, request, k)
        for request in requests:
            begin = time.perf_counter()
            (items,), _, _ = recommend(runner.run, request, k)
            times.append(1000 * (time.perf_counter() - begin))
            responses.append(set(items))
    return responses, float(np.median(times))


def _recall(best: list[set], found: Iterable[set]) -> float:
    """Share of the best items that were found: mean over the queries that have best items."""
    shares = [len(one & other) / len(one) for one, other in zip(best, found, strict=True) if one]
    return float(np.mean(shares or [1.0]))


def _cheapest(indices, model, events, matrix):
    """The first index that reaches `RECALL`, or the last."""
    queries, k = list(_queries(model, events)), min(K, model.num_items)
    best = []
    for query, hidden in queries:
        scores = score_all(query, matrix)
        scores = tf.concat([scores[:, :1], model.untrained_last(scores[:, 1:])], axis=1)
        best += _trained_items(search_all(scores, hidden, k))
    for index in indices:
        if _recall(best, _search(index, queries, matrix, k)) >= RECALL:
            break
    return index


def _search(index, queries, matrix, k) -> Iterator[set]:
    """The items that an index finds for each query."""

    @tf.function(autograph=False, reduce_retracing=True)
    def search(query, hidden):
        return search_index(index, query, matrix, hidden, k)

    for query, hidden in queries:
        # One query at a time: the memory of a search grows with its queries.
        for row in range(len(hidden)):
            yield from _trained_items(search(query.rows([row]), hidden[row : row + 1]))


def _trained_items(found) -> list[set]:
    """Rows of the trained items that a search found, a set for each query."""
    scores, rows = (part.numpy() for part in found)
    return [set(row[own > UNTRAINED].tolist()) for own, row in zip(scores, rows, strict=True)]


def _steps(count):
    """1, 2, 3, 4, 6, 8, 12, ... below `count`, and `count`."""
    steps = {step for power in range(count.bit_length()) for step in (1 << power, 3 << power)}
    return [*(step for step in sorted(steps) if step < count), count]


def _queries(model, events):
    """Yields batches of B events: (their `Query`, the rows of their histories int32 [B, X])."""
    for begin in range(0, len(events), _BATCH):
        part = events.slice(begin, _BATCH)
        rows = [model.item_vocabulary.lookup(history) for history in part["history"].to_list()]
        columns = max(model.max_length, *map(len, rows))
        history = tf.constant(
            np.array([np.pad(one, (columns - len(one), 0)) for one in rows], np.int32)
        )
        user = tf.constant(model.user_vocabulary.lookup(part["user_id"].to_list()))
        yield model.query({"user": user, "history": history}), history


def _with_equal_norms(vectors):
    """[v, sqrt(max |v|^2 - |v|^2)], centred: distances stay, and rounding errors are smaller."""
    squares = _squares(vectors)
    points = np.concatenate([vectors, np.sqrt(squares.max() - squares)[:, np.newaxis]], axis=1)
    return points - points.mean(axis=0, dtype=np.float64).astype(np.float32)


def _assign(points, centroids):
    """(nearest centroid int32 [N], squared distance to it [N])."""
    # |p - c|^2 = |p|^2 - 2 (p . c - |c|^2 / 2): one matrix product finds the nearest centroids.
    biased = np.concatenate([centroids, -0.5 * _squares(centroids)[:, np.newaxis]], axis=1)
    nearest, score = np.empty(len(points), np.int32), np.empty(len(points), np.float32)
    size = max(1, _SCORES_PER_BLOCK // len(centroids))
    for begin in range(0, len(points), size):
        part = slice(begin, begin + size)
        ones = np.pad(points[part], ((0, 0), (0, 1)), constant_values=1)
        scores = tf.matmul(ones, biased, transpose_b=True).numpy()
        nearest[part] = scores.argmax(axis=1)
        score[part] = scores[np.arange(len(scores)), nearest[part]]
    return nearest, _squares(points) - 2 * score


def _squares(vectors):
    return np.einsum("nd,nd->n", vectors, vectors)


def _means(points, cell, cells):
    """(mean of the points of each cell [C, D'], 0 for an empty cell; number of its points [C])."""
    sums = tf.math.unsorted_segment_sum(points, cell, cells).numpy()
    counts = np.bincount(cell, minlength=cells)
    return sums / np.maximum(counts, 1).astype(np.float32)[:, np.newaxis], counts
