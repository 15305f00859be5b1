"""Sends the same requests to two served models, and compares the responses."""

import dataclasses
import itertools
import time
from collections.abc import Iterable, Sequence

from ..clients.base_client import BaseClient
from ..clients.responses import ClientError


@dataclasses.dataclass(frozen=True)
class Replayed:
    """The responses of one version.

    Attributes:
        items: Items of each request; None if it failed.
        popular: Whether a response has popular items, because nothing of the request is known.
        seconds: Latency of each response in seconds.
        errors: Status of each request that failed.
    """

    items: list[list[str] | None]
    popular: list[bool]
    seconds: list[float]
    errors: list[str] = dataclasses.field(default_factory=list)


def replay(
    clients: Sequence[BaseClient], requests: Iterable[tuple[str, Sequence[str]]], k: int
) -> list[Replayed]:
    """Sends the same requests to two clients in turn, so that other load slows both alike.

    Args:
        clients: The two clients.
        requests: (user id, history) pairs.
        k: Number of items of a request.

    Raises:
        ClientError: If the first request to a server fails.
        ValueError: If `k` is not a positive integer.
    """
    replayed = [Replayed([], [], []) for _ in clients]
    for client in clients:
        # The first request also connects.
        client.recommend([], k=k)
    for number, (user, history) in enumerate(requests):
        for which in (0, 1) if number % 2 else (1, 0):
            _ask(clients[which], user, history, k, replayed[which])
    return replayed


def _ask(client, user, history, k, replayed):
    begin = time.perf_counter()
    try:
        answer = client.recommend(history, user, k=k)
    except (ClientError, ValueError) as error:
        # ValueError if an id contains the separator of the model.
        replayed.errors.append(getattr(error, "status", "INVALID_ARGUMENT"))
        replayed.items.append(None)
        return
    replayed.seconds.append(time.perf_counter() - begin)
    replayed.items.append(answer.items)
    replayed.popular.append(answer.source == "popular")


def overlap(first: Sequence[str], second: Sequence[str]) -> float:
    """Returns the number of common items, divided by the longer length; 1 for empty lists."""
    longest = max(len(first), len(second))
    return len({*first} & {*second}) / longest if longest else 1.0


def rank_correlation(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Returns Kendall's tau of the common items, or None for fewer than two.

        tau = (pairs in the same order - pairs in the reverse order) / pairs

    It is 1 for the same order and -1 for the reverse.
    """
    place = {item: rank for rank, item in enumerate(second)}
    ranks = [place[item] for item in first if item in place]
    pairs = list(itertools.combinations(ranks, 2))
    if not pairs:
        return None
    return sum(1 if one < other else -1 for one, other in pairs) / len(pairs)


def rank_changes(first: Sequence[str], second: Sequence[str]) -> dict[str, tuple]:
    """Returns the ranks of each item in both lists, from 1; None if a list does not have it."""
    ranks = [{item: rank for rank, item in enumerate(items, 1)} for items in (first, second)]
    return {item: (ranks[0].get(item), ranks[1].get(item)) for item in {**ranks[0], **ranks[1]}}


def mean_overlap(first: Replayed, second: Replayed) -> float:
    """Returns the mean overlap of the lists over the requests that both answered."""
    return mean([overlap(one, other) for one, other in answered_by_both(first, second)])


def mean_correlation(first: Replayed, second: Replayed) -> float:
    """Returns the mean rank correlation of the lists with two or more common items."""
    pairs = answered_by_both(first, second)
    found = [rank_correlation(one, other) for one, other in pairs]
    return mean([one for one in found if one is not None])


def answered_by_both(first: Replayed, second: Replayed) -> list[tuple[list[str], list[str]]]:
    """Returns the two lists of each request that both answered."""
    pairs = zip(first.items, second.items, strict=True)
    return [(one, other) for one, other in pairs if one is not None and other is not None]


def popular_share(replayed: Replayed) -> float:
    """Returns the share of responses with popular items."""
    return mean(replayed.popular)


def empty_share(replayed: Replayed) -> float:
    """Returns the share of responses without items."""
    return mean([not items for items in replayed.items if items is not None])


def error_share(replayed: Replayed) -> float:
    """Returns the share of requests that failed."""
    return mean([items is None for items in replayed.items])


def mean(values: Sequence[float]) -> float:
    """Returns the mean; NaN without values."""
    return sum(values) / len(values) if values else float("nan")


def quantile(values: Iterable[float], share: float) -> float:
    """Returns the least value that at least `share` of the values do not exceed; NaN for none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else float("nan")
