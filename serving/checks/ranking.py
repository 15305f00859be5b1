"""The ranks of held-out items by a served model, by its vectors and in its lists."""

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..clients.base_client import BaseClient
from ..clients.batches import Predict, padded, texts
from .run_directory import Event, RunError

ROWS = 32
_ELEMENTS = 1 << 15
_CANDIDATES = 1000
_AT_ONCE = 8
# Share of |query| |item vector| by which two float32 products of some hundred terms can differ
# through rounding.
_ROUNDING = 4e-6
# The score of an unknown item.
_UNKNOWN = np.finfo(np.float32).min
# (items, scores, source) of an event.
Answer = tuple[Sequence[str], Sequence[float], str]


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Ranks of the targets among all items that can be recommended in their place.

    Ties count against the target.

    Attributes:
        rank: Ranks by the products of the vectors, or by popularity if nothing is known, float64
            [U]. Infinity is a miss.
        close: Whether the score of another item is within rounding of that of the target, bool [U].
    """

    rank: np.ndarray
    close: np.ndarray


def rank_by_vectors(
    predict: Predict,
    events: Sequence[Event],
    items: Sequence[str],
    repeats: str = "exclude",
    rows: int = ROWS,
) -> Ranks:
    """Ranks all targets with the signatures `embed` and `embed_items`.

    Args:
        predict: Runs a signature on the server.
        events: Held-out events.
        items: Ids of all items.
        repeats: Rule of the run: "exclude" (a target in the history is a miss) or "include" (all
            items compete).
        rows: Most rows of a request.

    Raises:
        RunError: If the server does not know the items.
        ClientError: If it does not answer.
    """
    numbers = {item: number for number, item in enumerate(items)}
    unknown = next(
        (
            item
            for event in events
            for item in (event.target, *event.history)
            if item not in numbers
        ),
        None,
    )
    if unknown is not None:
        raise RunError(
            f"The run has no item {unknown!r} in its vocabulary, but in a held-out event; "
            "train again."
        )
    popularity = _popularity(predict, items)
    vectors, untrained = _item_vectors(predict, items, rows), popularity < 0
    largest, rank, close = np.linalg.norm(vectors, axis=1).max(), [], []
    for block in _blocks(events, rows):
        embedded = predict("embed", _who(block))
        query = embedded["query"]
        scores, slack = query @ vectors.T, _ROUNDING * largest * np.linalg.norm(query, axis=1)
        if "prior_items" in embedded:
            _add_prior(scores, embedded, numbers)
            slack += _ROUNDING * np.abs(embedded["prior_scores"]).max(axis=1, initial=0)
        for row, (event, answer) in enumerate(
            zip(block, _recommended(predict, block, 1), strict=True)
        ):
            by_popularity = answer[2] == "popular"
            # Untrained items are behind all others, whatever their vectors are.
            row_scores = (
                popularity if by_popularity else np.where(untrained, popularity, scores[row])
            )
            own, seen = numbers[event.target], set(event.history) if repeats == "exclude" else set()
            others = np.delete(row_scores, [numbers[item] for item in {*seen, event.target}])
            rank.append(
                np.inf
                if event.target in seen
                else 1.0 + np.count_nonzero(others >= row_scores[own])
            )
            distance = np.abs(others - row_scores[own])
            close.append(bool((distance <= (0.0 if by_popularity else slack[row])).any()))
    return Ranks(np.array(rank), np.array(close))


def _add_prior(scores: np.ndarray, embedded: dict, numbers: dict[str, int]) -> None:
    """Adds the prior of a response of `embed` to scores [B, N]."""
    for row, items in enumerate(embedded["prior_items"].tolist()):
        listed = [place for place, item in enumerate(items) if item]
        columns = [numbers[items[place]] for place in listed]
        scores[row, columns] += embedded["prior_scores"][row, listed]


def rank_in_lists(
    answers: Sequence[Answer], events: Sequence[Event], ranks: np.ndarray
) -> tuple[np.ndarray, int]:
    """Ranks the targets by the served lists.

    If a list ends among items with the score of the target, the rank by the vectors is used.

    Args:
        answers: Served lists of the events.
        events: Held-out events.
        ranks: Ranks by the vectors, [U].

    Returns:
        The ranks, float64 [U], infinity if a target is not in its list; and the length of the
        longest list.
    """
    result = np.full(len(events), np.inf)
    for place, ((items, scores, _), event) in enumerate(zip(answers, events, strict=True)):
        if event.target in items:
            own = scores[items.index(event.target)]
            result[place] = (
                ranks[place] if scores[-1] == own else sum(score >= own for score in scores)
            )
    return result, max((len(items) for items, _, _ in answers), default=0)


def cutoff(metric: str) -> int:
    """Returns k of HR@k and NDCG@k, 0 of MRR."""
    return int(metric.partition("@")[2] or 0)


def mean(metric: str, ranks: Sequence[float] | np.ndarray) -> float:
    """Computes a metric from ranks. Infinity is a rank beyond the list."""
    ranks, k = np.asarray(ranks, np.float64), cutoff(metric)
    if metric.startswith("HR"):
        return float(np.mean(ranks <= k))
    if metric.startswith("NDCG"):
        return float(np.mean(np.where(ranks <= k, 1 / np.log2(ranks + 1), 0)))
    return float(np.mean(1 / ranks))


def ask_in_batches(
    predict: Predict, events: Sequence[Event], k: int, rows: int = ROWS
) -> list[Answer]:
    """Returns the k best items of each event, with up to `rows` events in a request."""
    return [answer for block in _blocks(events, rows) for answer in _recommended(predict, block, k)]


def ask_one_by_one(client: BaseClient, events: Sequence[Event], k: int) -> list[Answer]:
    """Returns the k best items of each event, with one event in a request and eight threads."""

    def ask(event):
        answer = client.recommend(event.history, event.user, k=k)
        return answer.items, answer.scores, answer.source

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, events))


def _recommended(predict: Predict, block: Sequence[Event], k: int) -> Iterator[Answer]:
    nothing = padded([[]] * len(block))
    outputs = predict(
        "recommend",
        {
            **_who(block),
            "exclude": nothing,
            "allow": nothing,
            "k": np.full(len(block), k, np.int32),
        },
    )
    for items, scores, source in zip(
        *(outputs[name].tolist() for name in ("items", "scores", "source")), strict=True
    ):
        count = items.index("") if "" in items else len(items)
        yield items[:count], scores[:count], source


def _who(block: Sequence[Event]) -> dict[str, np.ndarray]:
    return {
        "user_id": texts([event.user for event in block]),
        "history": padded([event.history for event in block]),
    }


def _popularity(predict: Predict, items: Sequence[str]) -> np.ndarray:
    """Scores of all items for an unknown history, float32 [N]; negative for untrained items."""
    unknown_user, parts = {"user_id": texts([""]), "history": padded([[]])}, []
    for start in range(0, len(items), _CANDIDATES):
        candidates = texts(items[start : start + _CANDIDATES])[np.newaxis]
        parts.append(predict("score", {**unknown_user, "candidates": candidates})["scores"][0])
    scores = np.concatenate(parts)
    if (scores <= _UNKNOWN).any():
        unknown = items[int(np.argmin(scores))]
        raise RunError(
            f"The served model does not know the item {unknown!r} of the run; "
            "give the run that it was exported from."
        )
    return scores


def _blocks(events: Sequence[Event], rows: int) -> Iterator[Sequence[Event]]:
    rows = max(1, min(rows, _ELEMENTS // (max(len(event.history) for event in events) + 10)))
    return (events[start : start + rows] for start in range(0, len(events), rows))


def _item_vectors(predict: Predict, items: Sequence[str], rows: int) -> np.ndarray:
    """float32 [N, D']."""
    parts = []
    for start in range(0, len(items), rows):
        some = items[start : start + rows]
        parts.append(predict("embed_items", {"item": texts(some)})["vector"])
    return np.concatenate(parts)
