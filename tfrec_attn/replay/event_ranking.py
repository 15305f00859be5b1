"""Ranks held-out events by the vectors of a model and by its lists, which a function predicts."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import tensorflow as tf

from tfrec_attn.errors import ConfigError
from tfrec_attn.replay.event_blocks import blocks, padded

_ROWS = 256
_BLOCK_ELEMENTS = 1 << 25
_CANDIDATES = 1000
# Largest difference of two roundings of a float32 inner product of some hundred terms, relative to
# |query| |item vector|.
_ROUNDING = 4e-6
# Score of a missing item.
_MISSING = np.finfo(np.float32).min

# Function from (name of a signature, inputs by name) to outputs by name. Texts are str or bytes.
Predict = Callable[..., dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Ranks of the targets of all U held-out events, in order; infinity is a miss.

    Attributes:
        columns: Length of the lists that `recommend` returns.
        rank: Rank by the vectors under the run's rule for repeats; ties count against the target,
            float64 [U].
        expected: Rank by the vectors under the servable's rule for repeats, float64 [U].
        best: `expected` if all items whose score equals the target's up to rounding came after it,
            float64 [U].
        worst: `expected` if all these items came before it, float64 [U].
        listed: Rank in the served list, float64 [U].
        recall: Share of the exact list that is in the served list, float64 [U]; NaN where not
            measured.
    """

    columns: int
    rank: np.ndarray
    expected: np.ndarray
    best: np.ndarray
    worst: np.ndarray
    listed: np.ndarray
    recall: np.ndarray

    def agrees(self, listed: np.ndarray, columns: int) -> np.ndarray:
        """Returns whether ranks in lists agree with those by the vectors up to rounding, bool [V].

        Args:
            listed: Ranks of the first V targets in lists, float64 [V].
            columns: Length of the lists.
        """
        best, worst = self.best[: len(listed)], self.worst[: len(listed)]
        within = (best <= listed) & (listed <= worst)
        return np.where(listed <= columns, within, worst > columns)


def rank_events(
    predict: Predict,
    events: pl.DataFrame,
    items: list[str],
    k: int,
    *,
    repeats: str = "exclude",
    keep_seen: bool = False,
    with_recall: bool = False,
    rows: int = _ROWS,
) -> Ranking:
    """Ranks all held-out events by the vectors of a servable and by its lists.

    It needs memory for the item vectors and for the scores of all items for a block of events.

    Args:
        predict: Function that calls a signature, such as `Runner.run`.
        events: Held-out events as from `read_events`.
        items: Ids of all items.
        k: Length of the lists to request.
        repeats: The run's rule for repeats: "exclude" (default), where a target in the history is a
            miss, or "include".
        keep_seen: Whether the servable recommends items of the history (default: False).
        with_recall: Whether to compare the lists with exact lists (default: False).
        rows: Most events or items of a request (default: 256).

    Raises:
        ConfigError: If the function does not know an item, or an event has another item.
    """
    ids = np.array(["", *items], object)
    vectors = tf.constant(embedded_items(predict, items, rows)["vector"])
    popularity = popularity_of(predict, items)
    gap = np.diff(np.unique(popularity)).min(initial=np.float32(1))
    untrained = popularity < 0
    norm, found, columns = tf.reduce_max(tf.norm(vectors, axis=1)), [], 0
    columns_of = {item: column for column, item in enumerate(items)}
    for block in blocks(events, items, max(1, min(rows, _BLOCK_ELEMENTS // len(items)))):
        request = {"user_id": block.users, "history": ids[block.histories]}
        lists, columns, is_popular = recommend(predict, request, k)
        embedded = predict("embed", **request)
        query = tf.constant(embedded["query"])
        is_popular = is_popular[:, np.newaxis]
        slack = _ROUNDING * norm * tf.norm(query, axis=1, keepdims=True)
        scores = tf.matmul(query, vectors, transpose_b=True)
        if "prior_items" in embedded:
            scores = _with_prior(scores.numpy(), embedded, columns_of)
            slack += _ROUNDING * np.abs(embedded["prior_scores"]).max(axis=1, keepdims=True)
        scores = tf.where(is_popular, popularity, scores)
        slack = tf.where(is_popular, gap / 2, slack)
        if untrained.any():
            # Items without training events come last, whatever their vectors.
            lowest = tf.reduce_min(tf.where(untrained, np.inf, scores), axis=1, keepdims=True)
            scores = tf.where(untrained, lowest - 4 * slack - 1, scores)
        seen = block.seen
        none = seen[:, :0]
        rank = _ranks(scores, 0.0, block.targets, seen if repeats == "exclude" else none)
        hidden = none if keep_seen else seen
        expected = [_ranks(scores, sign * slack, block.targets, hidden) for sign in (0, 1, -1)]
        listed = ranks_in_lists(lists, ids[block.targets])
        recall = np.full(len(query), np.nan)
        if with_recall:
            recall = _recall(lists, ids[_exact_lists(scores, hidden, columns)])
        found.append([block.events, rank, *expected, listed, recall])
    order, *parts = (np.concatenate(part) for part in zip(*found, strict=True))
    return Ranking(columns, *(part[np.argsort(order)] for part in parts))


def recommend(
    predict: Predict, request: dict[str, np.ndarray], k: int
) -> tuple[list[list[str]], int, np.ndarray]:
    """Requests lists without excluded items or an allow list.

    Args:
        predict: As in `rank_events`.
        request: Inputs "user_id" [B] and "history" [B, W].
        k: Length of the lists to request.

    Returns:
        (lists, columns, is_popular): the items of each list, the number of columns of the response,
        and whether a list has the popular items because nothing is known, bool [B].
    """
    count = len(request["user_id"])
    empty = np.full((count, 1), "", object)
    options = {"exclude": empty, "allow": empty, "k": np.full(count, k, np.int32)}
    response = predict("recommend", **request, **options)
    items, source = response["items"].tolist(), response["source"].tolist()
    lists = [[text for one in row if (text := _text(one))] for row in items]
    return lists, response["items"].shape[1], np.array([_text(one) == "popular" for one in source])


def ranks_in_lists(lists: Sequence[list[str]], targets: Sequence[str]) -> np.ndarray:
    """Returns the rank of each target in its list, float64 [B]; infinity if it is missing."""
    return np.array(
        [
            row.index(target) + 1.0 if target in row else np.inf
            for row, target in zip(lists, targets, strict=True)
        ]
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _with_prior(
    scores: np.ndarray, embedded: dict[str, np.ndarray], columns_of: dict[str, int]
) -> np.ndarray:
    """Adds the prior of a response of `embed` to scores [B, N], in place."""
    for row, listed in enumerate(embedded["prior_items"].tolist()):
        places = [place for place, item in enumerate(listed) if item]
        columns = [columns_of[_text(listed[place])] for place in places]
        scores[row, columns] += embedded["prior_scores"][row, places]
    return scores


def popularity_of(predict: Predict, items: list[str]) -> np.ndarray:
    """Returns the scores of all items where nothing is known; negative for untrained items.

    Args:
        predict: As in `rank_events`.
        items: Ids of all items.

    Returns:
        float32 [N].

    Raises:
        ConfigError: If the function does not know an item.
    """
    request, parts = padded([[]], 1), []
    for start in range(0, len(items), _CANDIDATES):
        some = np.array([items[start : start + _CANDIDATES]], object)
        response = predict("score", user_id=request[0], history=request, candidates=some)
        parts.append(response["scores"][0])
    scores = np.concatenate(parts)
    if (scores <= _MISSING).any():
        raise ConfigError(
            f"The served model does not know the item {items[int(np.argmin(scores))]!r} of the "
            "run; give the run that it was exported from."
        )
    return scores


def embedded_items(predict: Predict, items: list[str], rows: int) -> dict[str, np.ndarray]:
    """Returns the outputs of `embed_items` for all items, `rows` items at a time."""
    parts = [
        predict("embed_items", item=np.array(items[start : start + rows], object))
        for start in range(0, len(items), rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ranks(
    scores: tf.Tensor, slack: tf.Tensor | float, targets: np.ndarray, hidden: np.ndarray
) -> np.ndarray:
    """Ranks of targets [B] by scores [B, N], float64 [B].

    An item counts as better unless its score is below the target's score plus `slack` [B, 1].
    Hidden items [B, S] do not count. A hidden target has the rank infinity.
    """
    own = tf.gather(scores, targets[:, np.newaxis] - 1, batch_dims=1)
    limit = own + slack
    worse = tf.reduce_sum(tf.cast(scores < limit, tf.int64), axis=1)
    worse -= tf.cast(own < limit, tf.int64)[:, 0]
    left_out = tf.gather(scores, np.maximum(hidden - 1, 0), batch_dims=1)
    counts = tf.reduce_sum(tf.cast((hidden > 0) & ~(left_out < limit), tf.int64), axis=1)
    rank = (scores.shape[1] - worse - counts).numpy().astype(np.float64)
    return np.where((hidden == targets[:, np.newaxis]).any(axis=1), np.inf, rank)


def _exact_lists(scores: tf.Tensor, hidden: np.ndarray, k: int) -> np.ndarray:
    """Numbers of the k best items, [B, k]; 0 where fewer items are left."""
    scores = np.pad(scores.numpy(), [(0, 0), (1, 0)])
    np.put_along_axis(scores, np.pad(hidden, [(0, 0), (1, 0)]), -np.inf, axis=1)
    best, rows = tf.math.top_k(scores, k)
    return np.where(np.isfinite(best), rows, 0)


def _recall(lists: Sequence[list[str]], exact: np.ndarray) -> np.ndarray:
    """Share of each exact list that is in the served list, float64 [B]; NaN for an empty list."""
    wanted = [{one for one in row if one} for row in exact]
    return np.array(
        [
            len(one & set(row)) / len(one) if one else np.nan
            for one, row in zip(wanted, lists, strict=True)
        ]
    )


def cutoff(metric: str) -> int:
    """Returns k of HR@k or NDCG@k, and 0 of MRR."""
    return int(metric.partition("@")[2] or 0)


def mean(metric: str, ranks: np.ndarray) -> float:
    """Computes the mean of a metric over ranks, float64 [U]; infinity is a miss."""
    k = cutoff(metric)
    if metric.startswith("HR"):
        return float(np.mean(ranks <= k))
    if metric.startswith("NDCG"):
        return float(np.mean(np.where(ranks <= k, 1 / np.log2(ranks + 1.0), 0.0)))
    return float(np.mean(1.0 / ranks))
