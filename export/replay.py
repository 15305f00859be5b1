"""Replays the held-out events of a run: reads them, and ranks them with a function that predicts.

The function takes the name of a signature and its inputs, and returns the outputs, as `Runner.run`
of a servable does.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import tensorflow as tf

from .checksums import RUN_SUMS, damage
from .runner import ServableError

COLUMNS = {"user_id": pl.String, "history": pl.List(pl.String), "target": pl.String}
_SLICE = 8192
_BLOCK_ELEMENTS = 1 << 25
_ITEMS_AT_ONCE = 4096
# Relative to |query| |item vector|: the most by which the rounding of two float32 products of some
# hundred terms can differ.
_ROUNDING = 4e-6

Predict = Callable[..., dict[str, np.ndarray]]


def run_file(run: str | Path, name: str) -> Path:
    """Returns the path of a file of a run, after checking its checksum.

    Raises:
        ServableError: If the file is not what the training wrote.
    """
    if what := damage(Path(run), RUN_SUMS, [name]):
        raise ServableError(f"{what}: bring the run back as the training wrote it, or train again.")
    return Path(run) / name


def read_metrics(run: str | Path, needed: dict | None = None) -> dict:
    """Reads the metrics.json of a run.

    Args:
        run: The run directory.
        needed: A tree of the keys that must be there, with a number where a number must be. The key
            "*" stands for all keys that are there.

    Raises:
        ServableError: If the folder is not a finished run, or is damaged.
    """
    path = run_file(run, "metrics.json")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ServableError(
            f"{run} is not a finished run: it has no {path.name}; "
            "give a folder that tfrec_attn.train has written."
        ) from None
    except (ValueError, RecursionError):
        raise ServableError(f"{path} is not JSON; train again.") from None
    if not _has(report, {"data": {}, **(needed or {})}):
        raise ServableError(f"{path} does not hold what a training writes; train again.")
    return report


def _has(tree: object, needed: object) -> bool:
    if not isinstance(needed, dict):
        return isinstance(tree, (int, float)) and not isinstance(tree, bool)
    if not isinstance(tree, dict):
        return False
    return all(
        all(_has(one, part) for one in tree.values()) if key == "*" else _has(tree.get(key), part)
        for key, part in needed.items()
    )


def read_events(run: str | Path, split: str = "test") -> pl.DataFrame:
    """Reads the held-out events of a split, one a row, with raw ids.

    Returns:
        Columns `user_id`, `history` (all earlier items, oldest first) and `target`.

    Raises:
        ServableError: If the run does not have them, or the file is something else.
    """
    path = run_file(run, f"{split}.parquet")
    if not path.is_file():
        raise ServableError(
            f"{run} has no {path.name}, which trainings of earlier versions did not write; "
            "train again."
        )
    try:
        events = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ServableError(f"{path} cannot be read as Parquet ({reason}); train again.") from None
    if dict(events.schema) != COLUMNS:
        raise ServableError(
            f"{path} must have the columns {', '.join(COLUMNS)} of texts, "
            f"but has {dict(events.schema)}; train again."
        )
    return events


def padded(rows: Sequence[Sequence[str]], columns: int) -> np.ndarray:
    """Returns the latest ids of each row, with "" on the left of shorter rows.

    Args:
        rows: B rows of ids.
        columns: W.

    Returns:
        Texts [B, W].
    """
    result = np.full((len(rows), columns), "", object)
    for number, row in enumerate(rows):
        latest = row[max(len(row) - columns, 0) :]
        result[number, columns - len(latest) :] = latest
    return result


@dataclasses.dataclass(frozen=True)
class Block:
    """Some held-out events with items as numbers 1..N, and 0 for padding.

    Attributes:
        events: Numbers of the events, int64 [B].
        users: Ids, [B].
        histories: All earlier items, oldest first, the first column always 0, int64 [B, W].
        targets: int64 [B].
    """

    events: np.ndarray
    users: np.ndarray
    histories: np.ndarray
    targets: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """The distinct items of each history, int64 [B, W]."""
        items = np.sort(self.histories, axis=1)
        items[:, 1:][items[:, 1:] == items[:, :-1]] = 0
        return items


def blocks(events: pl.DataFrame, items: Sequence[str], size: int) -> Iterator[Block]:
    """Yields held-out events in blocks, within some thousands those with short histories first.

    Args:
        events: As from `read_events`.
        items: Ids of the items 1..N.
        size: Most events of a block.

    Raises:
        ServableError: If an event has another item.
    """
    code = pl.Enum(list(items))
    for begin in range(0, len(events), _SLICE):
        part = events.slice(begin, _SLICE)
        users = part["user_id"].to_numpy()
        lengths = part["history"].list.len().to_numpy().astype(np.int64)
        # One more 0 is what padding points to.
        codes = np.append(_numbers(part["history"].explode().drop_nulls(), code), 0)
        ends, targets = np.cumsum(lengths), _numbers(part["target"], code)
        order = np.argsort(lengths, kind="stable")
        for rows in np.split(order, range(size, len(order), size)):
            columns = np.arange(-1 - lengths[rows].max(initial=0), 0)
            positions = ends[rows, np.newaxis] + columns
            histories = codes[np.where(-columns <= lengths[rows, np.newaxis], positions, -1)]
            yield Block(begin + rows, users[rows], histories, targets[rows])


def _numbers(ids: pl.Series, code: pl.Enum) -> np.ndarray:
    try:
        return ids.cast(code).to_physical().to_numpy().astype(np.int64) + 1
    except pl.exceptions.PolarsError:
        raise ServableError(
            "The held-out events have items that are not in the run's vocabulary; train again."
        ) from None


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Ranks of the targets of all U held-out events, in their order; infinity is a miss.

    Attributes:
        columns: Length of the lists that `recommend` returns.
        rank: By the vectors under the run's rule for repeats, ties against the target, float64 [U].
        expected: The same under the servable's rule, float64 [U].
        best: `expected`, if all items whose score is within rounding of the target's were after it.
        worst: `expected`, if all such items were before it.
        listed: Rank in the served list, float64 [U].
        recall: Share of the exact list that is in the served list, float64 [U]; NaN where it is not
            measured.
    """

    columns: int
    rank: np.ndarray
    expected: np.ndarray
    best: np.ndarray
    worst: np.ndarray
    listed: np.ndarray
    recall: np.ndarray


def rank_events(
    predict: Predict,
    events: pl.DataFrame,
    items: list[str],
    k: int,
    *,
    repeats: str = "exclude",
    keep_seen: bool = False,
    with_recall: bool = False,
) -> Ranking:
    """Ranks all held-out events, by the vectors of a servable and by its lists.

    Memory is the item vectors and the scores of all items for one block of users.

    Args:
        predict: Function that calls a signature, such as `Runner.run`.
        events: As from `read_events`.
        items: Ids of all items.
        k: Length of the lists to request.
        repeats: The run's rule: "exclude" (a target in the history is a miss) or "include".
        keep_seen: Whether the servable recommends items of the history.
        with_recall: Whether to compare the lists with exact ones.
    """
    ids, vectors = np.array(["", *items], object), _item_vectors(predict, items)
    popularity = _popularity(predict, items)
    gap = np.diff(np.unique(popularity)).min(initial=np.float32(1))
    untrained = popularity < 0
    norm, found, columns = tf.reduce_max(tf.norm(vectors, axis=1)), [], 0
    columns_of = {item.encode(): column for column, item in enumerate(items)}
    for block in blocks(events, items, max(1, min(256, _BLOCK_ELEMENTS // len(items)))):
        response, embedded = _request(predict, block, ids, k)
        query = tf.constant(embedded["query"])
        lists, is_popular = response["items"], (response["source"] == b"popular")[:, np.newaxis]
        columns = lists.shape[1]
        slack = _ROUNDING * norm * tf.norm(query, axis=1, keepdims=True)
        scores = tf.matmul(query, vectors, transpose_b=True)
        if "prior_items" in embedded:
            scores = _with_prior(scores.numpy(), embedded, columns_of)
            prior = np.abs(embedded["prior_scores"]).max(axis=1, initial=0)[:, np.newaxis]
            slack += _ROUNDING * prior
        scores = tf.where(is_popular, popularity, scores)
        slack = tf.where(is_popular, gap / 2, slack)
        if untrained.any():
            # Items that training never touched come after all others, whatever their vectors.
            lowest = tf.reduce_min(tf.where(untrained, np.inf, scores), axis=1, keepdims=True)
            scores = tf.where(untrained, lowest - 4 * slack - 1, scores)
        seen = block.seen
        none = seen[:, :0]
        rank = _ranks(scores, 0.0, block.targets, seen if repeats == "exclude" else none)
        hidden = none if keep_seen else seen
        expected = [_ranks(scores, sign * slack, block.targets, hidden) for sign in (0, 1, -1)]
        listed = _listed_ranks(lists, ids[block.targets])
        recall = np.full(len(query), np.nan)
        if with_recall:
            recall = _recall(lists, ids[_exact_lists(scores, hidden, columns)])
        found.append([block.events, rank, *expected, listed, recall])
    order, *parts = (np.concatenate(part) for part in zip(*found, strict=True))
    return Ranking(columns, *(part[np.argsort(order)] for part in parts))


def _request(predict: Predict, block: Block, ids: np.ndarray, k: int):
    """(response of `recommend`, response of `embed`) for the events of a block."""
    request = {"user_id": block.users, "history": ids[block.histories]}
    empty = np.full((len(block.users), 1), "", object)
    options = {"exclude": empty, "allow": empty, "k": np.full(len(block.users), k, np.int32)}
    response = predict("recommend", **request, **options)
    return response, predict("embed", **request)


def _with_prior(
    scores: np.ndarray, embedded: dict[str, np.ndarray], columns_of: dict[bytes, int]
) -> np.ndarray:
    """Scores [B, N] and the prior of a response of `embed`, added."""
    rows, places = np.nonzero(embedded["prior_items"] != b"")
    columns = [columns_of[item] for item in embedded["prior_items"][rows, places]]
    scores[rows, columns] += embedded["prior_scores"][rows, places]
    return scores


def _popularity(predict: Predict, items: list[str]) -> np.ndarray:
    """Scores of all items where nothing is known, float32 [N]; negative for untrained items."""
    request, parts = padded([[]], 1), []
    for start in range(0, len(items), _ITEMS_AT_ONCE):
        some = np.array([items[start : start + _ITEMS_AT_ONCE]], object)
        response = predict("score", user_id=request[0], history=request, candidates=some)
        parts.append(response["scores"][0])
    return np.concatenate(parts)


def _item_vectors(predict: Predict, items: list[str]) -> tf.Tensor:
    """Vectors of all items, float32 [N, D']."""
    starts = range(0, len(items), _ITEMS_AT_ONCE)
    parts = [
        predict("embed_items", item=items[start : start + _ITEMS_AT_ONCE])["vector"]
        for start in starts
    ]
    return tf.constant(np.concatenate(parts))


def _ranks(
    scores: tf.Tensor, slack: tf.Tensor | float, targets: np.ndarray, hidden: np.ndarray
) -> np.ndarray:
    """Ranks of targets [B] by scores [B, N], float64 [B].

    An item counts as better unless its score is below the target's plus `slack` [B, 1]. Hidden
    items [B, S] do not count; a target that is hidden itself has the rank infinity.
    """
    own = tf.gather(scores, targets[:, np.newaxis] - 1, batch_dims=1)
    limit = own + slack
    worse = tf.reduce_sum(tf.cast(scores < limit, tf.int64), axis=1)
    worse -= tf.cast(own < limit, tf.int64)[:, 0]
    left_out = tf.gather(scores, np.maximum(hidden - 1, 0), batch_dims=1)
    counts = tf.reduce_sum(tf.cast((hidden > 0) & ~(left_out < limit), tf.int64), axis=1)
    rank = (scores.shape[1] - worse - counts).numpy().astype(np.float64)
    return np.where((hidden == targets[:, np.newaxis]).any(axis=1), np.inf, rank)


def _listed_ranks(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Rank of each target in its list of bytes [B, K], float64; infinity if it is not in it."""
    # One more column, so that an empty list has a maximum too.
    found = lists == np.array([target.encode() for target in targets], object)[:, np.newaxis]
    found = np.pad(found, [(0, 0), (0, 1)])
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1.0, np.inf)


def _exact_lists(scores: tf.Tensor, hidden: np.ndarray, k: int) -> np.ndarray:
    """Numbers of the k best items, [B, k], 0 where fewer are left."""
    scores = np.pad(scores.numpy(), [(0, 0), (1, 0)])
    np.put_along_axis(scores, np.pad(hidden, [(0, 0), (1, 0)]), -np.inf, axis=1)
    best, rows = tf.math.top_k(scores, k)
    return np.where(np.isfinite(best), rows, 0)


def _recall(lists: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Share of each exact list that is in the list of bytes, float64 [B]; NaN for an empty one."""
    wanted = [{one.encode() for one in row if one} for row in exact]
    return np.array(
        [
            len(one & set(row)) / len(one) if one else np.nan
            for one, row in zip(wanted, lists, strict=True)
        ]
    )
