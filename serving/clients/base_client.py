"""What every client can be asked, whatever way the request takes."""

import abc
from collections.abc import Iterable

from ..cli.arguments import shown
from . import requests
from .requests import SEPARATOR, Request
from .responses import Explanation, Recommendations

MAX_RETRIES = 4
_LONGEST = 86_400  # seconds of a call


class BaseClient(abc.ABC):
    """The methods that all clients have; of `AsyncGrpcClient` they return awaitables of what is
    said here.

    Args:
        where: Address of the server, for messages.
        model: Its name.
        version: Its number, None for the one that the server takes.
        label: One that the server has given to a version, instead of `version`.
        timeout: Seconds that a call may take, its retries among them.
        retries: At most so many (0 to 4), after longer and longer pauses of random length, where
            the server is UNAVAILABLE.
        max_history: Events of a history that are sent, the latest.

    Attributes:
        separator: The character that joins the ids of a list for this model. Every answer tells it;
            where it is another than the request was joined by, the client asks once more.

    Raises:
        ValueError: For such arguments, in one sentence.
        ClientError: With a `status` where a call is not answered.
    """

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
                f"Either version or label chooses, but version is {version} and label {label!r}; leave one out."
            )
        if not timeout > 0:
            raise ValueError(f"timeout must be a number of seconds above 0, but is {timeout}.")
        if timeout > _LONGEST:
            raise ValueError(f"timeout must be at most {_LONGEST} seconds, but is {timeout}.")
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
    ) -> Recommendations:
        """The k best items.

        Args:
            history: Ids, oldest first; unknown ones are passed over.
            user_id: "" for nobody.
            k: At least 1; the model gives at most as many as it was exported for, and the answer's
                `k` tells how many that is.
            exclude: Ids that are not wanted.
            allow: Ids that alone are wanted; all where it is empty.

        Returns:
            `Recommendations`, fewer than k where there are no more.
        """
        return self._ask(requests.recommend(history, user_id, k, exclude, allow, self.max_history))

    def score(
        self, history: Iterable[str], candidates: Iterable[str], user_id: str = ""
    ) -> list[float | None]:
        """The score of each candidate, None where it is unknown."""
        return self._ask(requests.score(history, candidates, user_id, self.max_history))

    def explain(self, history: Iterable[str], item: str, user_id: str = "") -> Explanation:
        """What each of the latest `max_history` events does to the score of an item."""
        return self._ask(requests.explain(history, item, user_id, self.max_history))

    def embed(self, history: Iterable[str], user_id: str = "") -> list[float]:
        """The query vector, whose product with an item's vector is the score."""
        return self._ask(requests.embed(history, user_id, self.max_history))

    @abc.abstractmethod
    def _ask(self, query: Request):
        """What `query.read` makes of the answer."""
