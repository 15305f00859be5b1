"""Where a served model puts the items that came next: among all items by its vectors, and in the lists that it recommends."""

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from serving.base_client import BaseClient
from serving.batches import Predict, padded, texts
from serving.held_out import Event, RunError

ROWS = 32
_ELEMENTS = 1 << 15
_LONGEST_LIST = 1000
_AT_ONCE = 8
# Of |query| |item vector|: what the roundings of two float32 products of some hundred terms can differ by.
_ROUNDING = 4e-6
# (items, scores, source) of one event
Answer = tuple[Sequence[str], Sequence[float], str]


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Ranks of the targets of events among all items that their user has not had, ties against them, int64 [U].

    Attributes:
      rank: by the products of the vectors.
      close: whether another item's score is within rounding of the target's, so that it could be another.
    """

    rank: np.ndarray
    close: np.ndarray


def rank_by_vectors(predict: Predict, events: Sequence[Event], items: Sequence[str], rows: int = ROWS) -> Ranks:
    """Ranks all targets by `embed` and `embed_items`.

    Args:
      predict: asks the server for many rows.
      events: held out.
      items: ids of all items.
      rows: most of a request.

    Errors: RunError when the server does not know the items; ClientError.
    """
    numbers = {item: number for number, item in enumerate(items)}
    unknown = next((item for event in events for item in (event.target, *event.history) if item not in numbers), None)
    if unknown is not None:
        raise RunError(f"The run has no item {unknown!r} in its vocabulary, but in a held-out event; train again.")
    vectors = _item_vectors(predict, items, rows)
    largest, rank, close = np.linalg.norm(vectors, axis=1).max(), [], []
    for block in _blocks(events, rows):
        query = predict(
            "embed", {"user_id": texts([event.user for event in block]), "history": padded([event.history for event in block])}
        )["query"]
        scores = query @ vectors.T
        slack = _ROUNDING * largest * np.linalg.norm(query, axis=1)
        for row, event in enumerate(block):
            own = numbers[event.target]
            others = np.delete(scores[row], [numbers[item] for item in {*event.history, event.target}])
            rank.append(1 + np.count_nonzero(others >= scores[row, own]))
            close.append(bool((np.abs(others - scores[row, own]) <= slack[row]).any()))
    return Ranks(np.array(rank), np.array(close))


def rank_in_lists(answers: Sequence[Answer], events: Sequence[Event], ranks: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Ranks of the targets by the lists that were recommended, float64 [U], infinity where a target is not in its list.

    A list that ranks by other scores (popularity) or cannot have the target (which the user has had) says nothing, nor does one that ends
    among items of the target's score: there the rank by the vectors stands.

    Args:
      answers: of the events.
      events: held out.
      ranks: by the vectors, [U].

    Returns: the ranks, the length of the longest list, and how many lists say nothing about their event.
    """
    result, silent = np.full(len(events), np.inf), 0
    for place, ((items, scores, source), event) in enumerate(zip(answers, events, strict=True)):
        if source != "model" or event.target in event.history:
            result[place], silent = ranks[place], silent + 1
        elif event.target in items:
            own = scores[items.index(event.target)]
            result[place] = ranks[place] if scores[-1] == own else sum(score >= own for score in scores)
    return result, max((len(items) for items, _, _ in answers), default=0), silent


def ask_in_batches(predict: Predict, events: Sequence[Event], rows: int = ROWS) -> list[Answer]:
    """The longest lists that the server recommends, for up to `rows` events at a time, short and long histories as they come."""
    answers = []
    for block in _blocks(events, rows):
        inputs = {
            **_who(block),
            "exclude": padded([_seen(event) for event in block]),
            "allow": padded([[]] * len(block)),
            "k": np.full(len(block), _LONGEST_LIST, np.int32),
        }
        outputs = predict("recommend", inputs)
        for items, scores, source in zip(outputs["items"].tolist(), outputs["scores"].tolist(), outputs["source"].tolist(), strict=True):
            count = items.index("") if "" in items else len(items)
            answers.append((items[:count], scores[:count], source))
    return answers


def ask_one_by_one(client: BaseClient, events: Sequence[Event]) -> list[Answer]:
    """The same through a client, one event a request and eight requests at a time, which a server that batches joins."""

    def ask(event):
        answer = client.recommend(event.history, event.user, k=_LONGEST_LIST, exclude=_seen(event))
        return answer.items, answer.scores, answer.source

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, events))


def _who(block: Sequence[Event]) -> dict[str, np.ndarray]:
    return {"user_id": texts([event.user for event in block]), "history": padded([event.history for event in block])}


def _seen(event: Event) -> list[str]:
    """What must not be recommended, also by a servable that leaves seen items in."""
    return [item for item in dict.fromkeys(event.history) if item != event.target]


def _blocks(events: Sequence[Event], rows: int) -> Iterator[Sequence[Event]]:
    rows = max(1, min(rows, _ELEMENTS // (max(len(event.history) for event in events) + 10)))
    return (events[start : start + rows] for start in range(0, len(events), rows))


def _item_vectors(predict: Predict, items: Sequence[str], rows: int) -> np.ndarray:
    """float32 [N, D']."""
    parts = []
    for start in range(0, len(items), rows):
        some = items[start : start + rows]
        outputs = predict("embed_items", {"item": texts(some)})
        if not outputs["known"].all():
            unknown = some[int(np.argmin(outputs["known"]))]
            raise RunError(f"The served model does not know the item {unknown!r} of the run; give the run that it was exported from.")
        parts.append(outputs["vector"])
    return np.concatenate(parts)
