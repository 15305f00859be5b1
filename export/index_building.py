"""An inverted file for a trained model: its items in cells, and no more cells a query than the
recall needs.
"""

import numpy as np
import polars as pl
import tensorflow as tf

from tfrec_attn.models.base.untrained import UNTRAINED

from .inverted_file import InvertedFile, cluster, quantise
from .permute import permuted
from .search import search_all, search_index

K = 10
RECALL = 0.96
_BATCH = 32


def build_index(
    model, events: pl.DataFrame, *, cells: int, nprobe: int | None = None, int8: bool = False
):
    """Puts the items of a model in cells, all but those that training never touched.

    Args:
      model: a `SequenceModel` with vocabularies.
      events: held-out events as `export.replay.read_events` gives them, to choose `nprobe` by.
      cells: C, in 1..N; those that stay empty are left out.
      nprobe: cells scanned for a query; None takes the fewest of 1, 2, 3, 4, 6, 8, 12, ... that
          find 0.96 of the best ten.
      int8: whether candidates are found with vectors of int8.

    Returns: (model with the items in the order of the cells, the place before of each item int [N],
    InvertedFile, facts about it).
    """
    trained = np.ones(model.num_items, bool) if model.trained_items is None else model.trained_items
    touched = np.flatnonzero(trained)
    order, offsets, centroids = cluster(model.item_vectors().numpy()[1:][touched], cells)
    # Behind the last cell no query finds them.
    order = np.concatenate([touched[order], np.flatnonzero(~trained)])
    model = permuted(model, order)
    matrix = model.item_vectors().numpy()
    matrix[0] = 0.0
    quantised, count = quantise(matrix) if int8 else None, len(centroids)

    def index_of(nprobe):
        return InvertedFile(offsets, centroids, nprobe, quantised)

    index = (
        index_of(min(nprobe, count))
        if nprobe
        else _cheapest(map(index_of, _steps(count)), model, events, tf.constant(matrix))
    )
    facts = {"kind": "ivf", "cells": count, "nprobe": index.nprobe, "int8": int8}
    return model, order, index, facts


def _cheapest(indices, model, events, matrix):
    """The first index that reaches the recall, or the last."""
    queries, k = list(_queries(model, events)), min(K, model.num_items)
    best = [
        row
        for query, hidden in queries
        for row in _found(search_all(_scores(model, query, matrix), hidden, k))
    ]
    for index in indices:
        if _recall(index, queries, matrix, best, k) >= RECALL:
            break
    return index


def _scores(model, query, matrix):
    """Scores of padding and all items, by which they are recommended: float32 [B, N + 1]."""
    scores = tf.matmul(query, matrix, transpose_b=True)
    return tf.concat([scores[:, :1], model.untrained_last(scores[:, 1:])], axis=1)


def _recall(index, queries, matrix, best, k):
    """Share of the best items that an index finds, mean over the queries that have any."""

    @tf.function(autograph=False, reduce_retracing=True)
    def search(query, hidden):
        return search_index(index, query, matrix, hidden, k)

    # One query at a time: a batch takes memory for each one's cells.
    singly = (
        (query[row : row + 1], hidden[row : row + 1])
        for query, hidden in queries
        for row in range(len(query))
    )
    found = (_found(search(*single))[0] for single in singly)
    shares = [len(one & other) / len(one) for one, other in zip(best, found, strict=True) if one]
    return float(np.mean(shares or [1.0]))


def _found(result):
    """Rows of the trained items that a search has found, a set a query."""
    return [
        set(rows[scores > UNTRAINED].tolist())
        for scores, rows in zip(*(part.numpy() for part in result), strict=True)
    ]


def _steps(count):
    """1, 2, 3, 4, 6, 8, 12, ... and at last all."""
    steps = {step for power in range(count.bit_length()) for step in (1 << power, 3 << power)}
    return [*(step for step in sorted(steps) if step < count), count]


def _queries(model, events):
    """(queries float32 [B, D'], rows of their histories int32 [B, X]) of the events, some at a
    time.
    """
    for begin in range(0, len(events), _BATCH):
        part = events.slice(begin, _BATCH)
        rows = [model.item_vocabulary.lookup(history) for history in part["history"].to_list()]
        columns = max(model.max_length, *map(len, rows))
        history = tf.constant(
            np.array([np.pad(one, (columns - len(one), 0)) for one in rows], np.int32)
        )
        user = tf.constant(model.user_vocabulary.lookup(part["user_id"].to_list()))
        yield model.queries({"user": user, "history": history}), history
