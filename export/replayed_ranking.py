"""The ranks that a SavedModel gives to held-out events, by its vectors and by its lists."""

import dataclasses

import numpy as np
import polars as pl
import tensorflow as tf

from export.replay import blocks
from export.session import Session

_BLOCK_ELEMENTS = 1 << 25
_ITEMS_AT_ONCE = 4096
# Of |query| |item vector|: what the roundings of two float32 products of some hundred terms can differ by.
_ROUNDING = 4e-6


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Where each held-out event's target stands, in the order of the events.

    Attributes:
      columns: length of the lists that `recommend` gives.
      rank: among all items that its user has not seen, ties against it, int64 [U].
      best: the same with every item behind it whose score is within rounding of its own, int64 [U].
      worst: the same with every such item before it, int64 [U].
      place: in the list, from 1, and 0 where it is not in it, int64 [U].
      comparable: whether the list is a ranking of the same items by the same scores, bool [U].
      recall: share of the exact list that the list has, float64 [U]; not a number where it is not wanted or not comparable.
    """

    columns: int
    rank: np.ndarray
    best: np.ndarray
    worst: np.ndarray
    place: np.ndarray
    comparable: np.ndarray
    recall: np.ndarray


def rank_events(session: Session, events: pl.DataFrame, items: list[str], k: int, *, keep_seen=False, with_recall=False) -> Ranking:
    """Ranks all held-out events in blocks: memory is that of the item vectors and of a block of users times items.

    Args:
      session: of the SavedModel.
      events: as `export.replay.read_events` gives them.
      items: ids of all items.
      k: wanted length of the lists.
      keep_seen: whether `recommend` leaves seen items in, so that the request has to exclude them.
      with_recall: whether to compare the lists with exact ones.
    """
    ids, vectors, found, columns = np.array(["", *items], object), _item_vectors(session, items), [], 0
    largest = tf.reduce_max(tf.norm(vectors, axis=1))
    for block in blocks(events, items, max(1, min(256, _BLOCK_ELEMENTS // len(items)))):
        request = {"user_id": block.users, "history": ids[block.histories]}
        query = tf.constant(session.run("embed", **request)["query"])
        scores = tf.matmul(query, vectors, transpose_b=True)
        ranks = _ranks(scores, _ROUNDING * largest * tf.norm(query, axis=1, keepdims=True), block.targets, block.seen)
        own = block.seen == block.targets[:, np.newaxis]
        exclude = np.where(own, 0, block.seen) if keep_seen else block.seen[:, :1]
        wanted = {"exclude": ids[exclude], "allow": np.full((len(query), 1), "", object), "k": np.full(len(query), k, np.int32)}
        answer = session.run("recommend", **request, **wanted)
        columns = answer["items"].shape[1]
        comparable = (answer["source"] == b"model") & (keep_seen | ~own.any(axis=1))
        recall = np.full(len(query), np.nan)
        if with_recall:
            exact = _exact_lists(scores, exclude if keep_seen else block.seen, columns)
            recall[comparable] = _recall(answer["items"], ids[exact])[comparable]
        found.append([block.events, *ranks, _places(answer["items"], ids[block.targets]), comparable, recall])
    order, *values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Ranking(columns, *(value[np.argsort(order)] for value in values))


def _item_vectors(session: Session, items: list[str]) -> tf.Tensor:
    """float32 [N, D'], the vectors of all items."""
    starts = range(0, len(items), _ITEMS_AT_ONCE)
    parts = [session.run("embed_items", item=items[start : start + _ITEMS_AT_ONCE])["vector"] for start in starts]
    return tf.constant(np.concatenate(parts))


def _ranks(scores: tf.Tensor, slack: tf.Tensor, targets: np.ndarray, seen: np.ndarray) -> list[np.ndarray]:
    """rank, best and worst of targets [B] with scores [B, N] that can be off by slack [B, 1] and items not to count [B, S]."""
    own = tf.gather(scores, targets[:, np.newaxis] - 1, batch_dims=1)
    hidden = tf.gather(scores, np.maximum(seen - 1, 0), batch_dims=1)
    counts = (seen > 0) & (seen != targets[:, np.newaxis])

    def rank(limit):
        behind = tf.reduce_sum(tf.cast(scores < limit, tf.int64), axis=1) - tf.cast(own < limit, tf.int64)[:, 0]
        return (scores.shape[1] - behind - tf.reduce_sum(tf.cast(counts & ~(hidden < limit), tf.int64), axis=1)).numpy()

    return [rank(own), rank(own + slack), rank(own - slack)]


def _places(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Column of each target in its list of bytes [B, K], from 1; 0 where it is not in it."""
    found = lists == np.array([target.encode() for target in targets], object)[:, np.newaxis]
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0) if lists.shape[1] else np.zeros(len(lists), np.int64)


def _exact_lists(scores: tf.Tensor, hidden: np.ndarray, k: int) -> np.ndarray:
    """Numbers of the k best items, [B, k], 0 where fewer are left."""
    kept = np.pad(scores.numpy(), [(0, 0), (1, 0)])
    np.put_along_axis(kept, np.pad(hidden, [(0, 0), (1, 0)]), -np.inf, axis=1)
    values, rows = tf.math.top_k(kept, k)
    return np.where(np.isfinite(values), rows, 0)


def _recall(lists: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Share of each exact list of texts that the list of bytes has, float64 [B]."""
    wanted = [{one.encode() for one in row if one} for row in exact]
    return np.array([len(one & set(row)) / max(len(one), 1) for one, row in zip(wanted, lists, strict=True)])
