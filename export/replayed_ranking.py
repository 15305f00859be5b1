"""The ranks that a SavedModel gives to held-out events, by its vectors and by its lists."""

import dataclasses

import numpy as np
import polars as pl
import tensorflow as tf

from .replay import Block, blocks
from .session import Session

_BLOCK_ELEMENTS = 1 << 25
_ITEMS_AT_ONCE = 4096
# Of |query| |item vector|: what the roundings of two float32 products of some hundred terms can
# differ by.
_ROUNDING = 4e-6


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Where each held-out event's target stands, in the order of the events; infinity is a miss.

    Attributes:
        columns: Length of the lists that `recommend` gives.
        rank: By the vectors under the run's rule for repeats, ties against the target, float64 [U].
        expected: The same under the servable's rule, float64 [U].
        best: `expected` with all items behind it whose score is within rounding of its own.
        worst: `expected` with all such items before it.
        place: In the served list, from 1, float64 [U].
        recall: Share of the exact list that the list has, float64 [U]; NaN where it is not
            measured.
    """

    columns: int
    rank: np.ndarray
    expected: np.ndarray
    best: np.ndarray
    worst: np.ndarray
    place: np.ndarray
    recall: np.ndarray


def rank_events(
    session: Session,
    events: pl.DataFrame,
    items: list[str],
    k: int,
    *,
    repeats: str = "exclude",
    keep_seen: bool = False,
    with_recall: bool = False,
) -> Ranking:
    """Ranks all held-out events in blocks of users: memory is item vectors plus users x items of
    one block.

    Args:
        session: Of the SavedModel.
        events: As `export.replay.read_events` gives them.
        items: Ids of all items.
        k: Wanted length of the lists.
        repeats: The run's rule: "exclude" (a target in the history is a miss) or "include".
        keep_seen: Whether the servable recommends items of the history.
        with_recall: Whether to compare the lists with exact ones.
    """
    ids, vectors = np.array(["", *items], object), _item_vectors(session, items)
    shares, gap = _popularity(session, items)
    # What training never touched is behind all others, whatever its vector.
    untrained = shares < 0
    largest, found, columns = tf.reduce_max(tf.norm(vectors, axis=1)), [], 0
    for block in blocks(events, items, max(1, min(256, _BLOCK_ELEMENTS // len(items)))):
        answer, query = _ask(session, block, ids, k)
        columns = answer["items"].shape[1]
        scores = tf.matmul(query, vectors, transpose_b=True)
        slack = _ROUNDING * largest * tf.norm(query, axis=1, keepdims=True)
        by_popularity = (answer["source"] == b"popular")[:, np.newaxis]
        scores, slack = (
            tf.where(by_popularity, shares, scores),
            tf.where(by_popularity, gap / 2, slack),
        )
        if untrained.any():
            scores = tf.where(
                untrained,
                tf.reduce_min(tf.where(untrained, np.inf, scores), axis=1, keepdims=True)
                - 4 * slack
                - 1,
                scores,
            )
        nothing = block.seen[:, :0]
        rank = _ranks(scores, 0.0, block.targets, block.seen if repeats == "exclude" else nothing)
        hidden = nothing if keep_seen else block.seen
        expected = [_ranks(scores, sign * slack, block.targets, hidden) for sign in (0, 1, -1)]
        recall = np.full(len(query), np.nan)
        if with_recall:
            recall = _recall(answer["items"], ids[_exact_lists(scores, hidden, columns)])
        found.append(
            [block.events, rank, *expected, _places(answer["items"], ids[block.targets]), recall]
        )
    order, *values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Ranking(columns, *(value[np.argsort(order)] for value in values))


def _ask(
    session: Session, block: Block, ids: np.ndarray, k: int
) -> tuple[dict[str, np.ndarray], tf.Tensor]:
    """The lists that are served to the users of a block, and their query vectors [B, D']."""
    request = {"user_id": block.users, "history": ids[block.histories]}
    nothing = np.full((len(block.users), 1), "", object)
    wanted = {"exclude": nothing, "allow": nothing, "k": np.full(len(block.users), k, np.int32)}
    return session.run("recommend", **request, **wanted), tf.constant(
        session.run("embed", **request)["query"]
    )


def _popularity(session: Session, items: list[str]) -> tuple[np.ndarray, np.float32]:
    """The scores of all items where nothing is known, float32 [N], and the smallest gap between two
    different ones.

    An item that training never touched has a negative one.
    """
    nobody, parts = {"user_id": np.array([""], object), "history": np.array([[""]], object)}, []
    for start in range(0, len(items), _ITEMS_AT_ONCE):
        some = np.array([items[start : start + _ITEMS_AT_ONCE]], object)
        parts.append(session.run("score", **nobody, candidates=some)["scores"][0])
    scores = np.concatenate(parts)
    return scores, np.diff(np.unique(scores)).min(initial=np.float32(1))


def _item_vectors(session: Session, items: list[str]) -> tf.Tensor:
    """float32 [N, D'], the vectors of all items."""
    starts = range(0, len(items), _ITEMS_AT_ONCE)
    parts = [
        session.run("embed_items", item=items[start : start + _ITEMS_AT_ONCE])["vector"]
        for start in starts
    ]
    return tf.constant(np.concatenate(parts))


def _ranks(
    scores: tf.Tensor, slack: tf.Tensor | float, targets: np.ndarray, hidden: np.ndarray
) -> np.ndarray:
    """Ranks of targets [B] by scores [B, N], float64 [B].

    An item counts as better unless its score is below the target's plus `slack` [B, 1]. Items that
    are hidden [B, S] do not count; a target that is hidden itself has the rank infinity.
    """
    own = tf.gather(scores, targets[:, np.newaxis] - 1, batch_dims=1)
    limit = own + slack
    behind = (
        tf.reduce_sum(tf.cast(scores < limit, tf.int64), axis=1)
        - tf.cast(own < limit, tf.int64)[:, 0]
    )
    left_out = tf.gather(scores, np.maximum(hidden - 1, 0), batch_dims=1)
    counts = tf.reduce_sum(tf.cast((hidden > 0) & ~(left_out < limit), tf.int64), axis=1)
    rank = (scores.shape[1] - behind - counts).numpy().astype(np.float64)
    return np.where((hidden == targets[:, np.newaxis]).any(axis=1), np.inf, rank)


def _places(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Column of each target in its list of bytes [B, K], from 1, float64; infinity where it is not
    in it.
    """
    found = lists == np.array([target.encode() for target in targets], object)[:, np.newaxis]
    return (
        np.where(found.any(axis=1), found.argmax(axis=1) + 1.0, np.inf)
        if lists.shape[1]
        else np.full(len(lists), np.inf)
    )


def _exact_lists(scores: tf.Tensor, hidden: np.ndarray, k: int) -> np.ndarray:
    """Numbers of the k best items, [B, k], 0 where fewer are left."""
    kept = np.pad(scores.numpy(), [(0, 0), (1, 0)])
    np.put_along_axis(kept, np.pad(hidden, [(0, 0), (1, 0)]), -np.inf, axis=1)
    values, rows = tf.math.top_k(kept, k)
    return np.where(np.isfinite(values), rows, 0)


def _recall(lists: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Share of each exact list of texts that the list of bytes has, float64 [B]; NaN for an empty
    one.
    """
    wanted = [{one.encode() for one in row if one} for row in exact]
    return np.array(
        [
            len(one & set(row)) / len(one) if one else np.nan
            for one, row in zip(wanted, lists, strict=True)
        ]
    )
