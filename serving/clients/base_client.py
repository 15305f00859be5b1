"""The methods that all clients have."""

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
    """Base of the clients. The methods of `AsyncGrpcClient` return awaitables of the results.

    Args:
        where: Address of the server, for messages.
        model: Name of the model.
        version: Version number; None lets the server choose.
        label: Label of a version, instead of `version`.
        timeout: Most seconds of a call, including its retries.
        retries: Most retries, 0 to 4, while the server is UNAVAILABLE. The pauses between them
            are random, with exponential backoff.
        max_history: Number of events of a history that are sent, the latest ones.

    Attributes:
        separator: Character that joins the ids of a list for this model. Each response contains
            it. If it differs from that of the request, the client asks again.

    Raises:
        ValueError: If an argument is invalid.
        ClientError: In the methods, if a call is not answered. Its `status` names the reason.
    """

    # What reading a response can raise besides errors of Python.
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
            history: Ids, oldest first. Unknown ids are ignored.
            user_id: User id, "" if unknown.
            k: Number of items, at least 1. The model limits it; `k` of the result is the
                applied number.
            exclude: Ids of items that are not recommended.
            allow: Ids of the only items that are recommended; all items if it is empty.
            allow_category: Categories of the only items that are recommended; all if it is empty.
            per_category: Most items of a category, 0 for any number.
            popularity_penalty: How much the score of popular items falls, 0 or greater: this times
                ln(1 + the events of the item, relative to those of an average item).
            diversity: From 0 for the best items to 1 for items that are as different as possible.

        Returns:
            The items; fewer than k if there are no more.
        """
        reranking = allow_category, per_category, popularity_penalty, diversity
        return self._ask(
            requests.recommend(history, user_id, k, exclude, allow, self.max_history, *reranking)
        )

    def score(
        self, history: Iterable[str], candidates: Iterable[str], user_id: str = ""
    ) -> list[float | None]:
        """Returns the score of each candidate, None for an unknown one."""
        return self._ask(requests.score(history, candidates, user_id, self.max_history))

    def similar(self, item: str, k: int = 10, by: str = "cosine") -> SimilarItems:
        """Returns the k items that are nearest to an item.

        Args:
            item: Item id.
            k: Number of items, at least 1. The model limits it.
            by: "cosine" of the item vectors, without their biases, or "score" of the model for a
                query at the item.
        """
        return self._ask(requests.similar(item, k, by))

    def describe(self, items: Iterable[str]) -> list[dict[str, str]]:
        """Returns the row of each item in the items file of the model, by column."""
        return self._ask(requests.describe(items))

    def explain(self, history: Iterable[str], item: str, user_id: str = "") -> Explanation:
        """Returns the contribution of each of the latest events to the score of an item."""
        return self._ask(requests.explain(history, item, user_id, self.max_history))

    def embed(self, history: Iterable[str], user_id: str = "") -> list[float]:
        """Returns the query vector. Its product with the vector of an item is the score."""
        return self._ask(requests.embed(history, user_id, self.max_history))

    def _ask(self, request: Request):
        """Sends a request, and returns the result of `Request.response`."""
        with contextlib.suppress(SeparatorChanged):
            return self._ask_once(request, self.separator)
        return self._ask_once(request, self.separator)

    @abc.abstractmethod
    def _ask_once(self, request: Request, separator: str):
        """Sends a request whose ids are joined by a separator."""

    def _result(self, signature: str, read: Callable[[], object]):
        """Returns what `read` makes of a response, and remembers the separator that it names."""
        try:
            return read()
        except SeparatorChanged as error:
            self.separator = error.separator
            raise
        except (LookupError, ValueError, TypeError, *self._unreadable):
            raise unreadable(self.where, signature) from None

    def _error(self, status: str, details: str) -> ClientError:
        return client_error(status, details, self.where, self.timeout)
