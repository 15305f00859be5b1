"""The base class of the clients."""

import abc
import contextlib
from collections.abc import Callable, Iterable

from tfrec_attn.errors import shown

from . import requests
from .requests import SEPARATOR, Request
from .responses import (
    ClientError,
    Explanation,
    Recommendations,
    SeparatorChanged,
    SimilarItems,
    client_error,
    unreadable,
)

MAX_RETRIES = 4
_MAX_TIMEOUT = 86_400


class BaseClient(abc.ABC):
    """Base class of the clients. The methods of `AsyncGrpcClient` return awaitables of the results.

    Args:
        where: Address of the server, for messages.
        model: Name of the model.
        version: Version number. None lets the server choose.
        label: Label of a version, instead of `version`.
        timeout: Most seconds of a call, including its retries.
        retries: Most retries, 0 to 4, while the server is UNAVAILABLE. The pauses between retries
            are random and grow exponentially.
        max_history: Number of latest events of a history that the client sends.

    Attributes:
        separator: Character that joins the ids of a list for this model. Each response names it. If
            it is not the character that the request used, the client sends the request again.

    Raises:
        ValueError: If an argument is invalid.
        ClientError: In the methods, if a call fails. Its `status` names the reason.
    """

    # Exceptions of an unreadable response, besides those of Python.
    _unreadable: tuple[type[Exception], ...] = ()

    def __init__(
        self,
        where: str,
        model: str,
        version: int | None,
        label: str | None,
        timeout: float,
        retries: int,
        max_history: int,
    ):
        if not model or not isinstance(model, str):
            raise ValueError(f"model must be the name of a model, but is {shown(model)}.")
        if version is not None and label is not None:
            raise ValueError(
                f"Either version or label chooses, but version is {version} "
                f"and label {label!r}; leave one out."
            )
        if not timeout > 0:
            raise ValueError(f"timeout must be a number of seconds above 0, but is {timeout}.")
        if timeout > _MAX_TIMEOUT:
            raise ValueError(f"timeout must be at most {_MAX_TIMEOUT} seconds, but is {timeout}.")
        if not 0 <= retries <= MAX_RETRIES:
            raise ValueError(f"retries must be 0 to {MAX_RETRIES}, but is {retries}.")
        if max_history < 1:
            raise ValueError(f"max_history must be at least 1, but is {max_history}.")
        self.where, self.model, self.version, self.label = where, model, version, label
        self.timeout, self.retries, self.max_history = timeout, retries, max_history
        self.separator = SEPARATOR

    def recommend(
        self,
        history: Iterable[str],
        user_id: str = "",
        k: int = 10,
        exclude: Iterable[str] = (),
        allow: Iterable[str] = (),
        allow_category: Iterable[str] = (),
        per_category: int = 0,
        popularity_penalty: float = 0.0,
        diversity: float = 0.0,
    ) -> Recommendations:
        """Returns the k best items.

        The last four arguments need a model with the signature `recommend_diverse`.

        Args:
            history: Item ids, oldest first. Unknown ids are ignored.
            user_id: User id; "" (default) if unknown.
            k: Number of items, at least 1 (default: 10). The model limits it; `k` of the result is
                the applied number.
            exclude: Ids of items that are not recommended.
            allow: Ids of the items that may be recommended. Empty (default) allows all items.
            allow_category: Categories that may be recommended. Empty (default) allows all.
            per_category: Most items of a category; 0 (default) for any number.
            popularity_penalty: Weight of the popularity, 0 (default) or greater. The score of an
                item falls by this number times ln(1 + r), where r is the number of its training
                events, relative to that of an average item.
            diversity: From 0 (default) for the best items to 1 for the most different items.

        Returns:
            The best items; fewer than k if fewer are left.
        """
        reranking = allow_category, per_category, popularity_penalty, diversity
        return self._ask(
            requests.recommend(history, user_id, k, exclude, allow, self.max_history, *reranking)
        )

    def score(
        self, history: Iterable[str], candidates: Iterable[str], user_id: str = ""
    ) -> list[float | None]:
        """Returns the score of each candidate; None for unknown items and untrained items.

        Args:
            history: Item ids, oldest first. Unknown ids are ignored.
            candidates: Ids of the items to score.
            user_id: User id; "" (default) if unknown.
        """
        return self._ask(requests.score(history, candidates, user_id, self.max_history))

    def similar(self, item: str, k: int = 10, by: str = "cosine") -> SimilarItems:
        """Returns the k items that are nearest to an item.

        Args:
            item: Item id.
            k: Number of items, at least 1 (default: 10). The model limits it.
            by: "cosine" (default) of the item vectors, without biases, or "score" of the model for
                a query at the item.
        """
        return self._ask(requests.similar(item, k, by))

    def describe(self, items: Iterable[str]) -> list[dict[str, str]]:
        """Returns the row of each item in the items file of the model, as a value for each column.

        Args:
            items: Item ids. The row of an unknown item is empty.
        """
        return self._ask(requests.describe(items))

    def explain(self, history: Iterable[str], item: str, user_id: str = "") -> Explanation:
        """Returns the contribution of each event to the score of an item.

        Args:
            history: Item ids, oldest first. Unknown ids have the contribution 0.
            item: Item id.
            user_id: User id; "" (default) if unknown.
        """
        return self._ask(requests.explain(history, item, user_id, self.max_history))

    def embed(self, history: Iterable[str], user_id: str = "") -> list[float]:
        """Returns the query vector.

        Its inner product with an item vector is the score of the item, without the prior if the
        model has one.

        Args:
            history: Item ids, oldest first. Unknown ids are ignored.
            user_id: User id; "" (default) if unknown.
        """
        return self._ask(requests.embed(history, user_id, self.max_history))

    def _ask(self, request: Request):
        """Sends a request, and once more if the separator has changed; returns the result."""
        with contextlib.suppress(SeparatorChanged):
            return self._ask_once(request, self.separator)
        return self._ask_once(request, self.separator)

    @abc.abstractmethod
    def _ask_once(self, request: Request, separator: str):
        """Sends a request with ids joined by `separator`, and returns the result."""

    def _result(self, signature: str, read: Callable[[], object]):
        """Returns the result of `read`, and keeps the separator of a response that has another."""
        try:
            return read()
        except SeparatorChanged as error:
            self.separator = error.separator
            raise
        except (LookupError, ValueError, TypeError, *self._unreadable):
            raise unreadable(self.where, signature) from None

    def _error(self, status: str, details: str) -> ClientError:
        return client_error(status, details, self.where, self.timeout)
