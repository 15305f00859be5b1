"""What the clients answer with."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Recommendations:
    """The best items, the best first.

    Attributes:
        items: Ids, at most k.
        scores: One an item.
        source: "model", or "popular" where nothing of the history is known.
        k: How many items the model answered for: the k that was asked for, or the most that it
            gives.
    """

    items: list[str]
    scores: list[float]
    source: str
    k: int | None = None


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What each event of a history does to the score of an item.

    Attributes:
        item: Id.
        history: The events that were sent, oldest first.
        contribution: By how much the score falls when the event is left out, 0 for events that do
            not count.
        attention: Weight of each event, None for models that have none.
    """

    item: str
    history: list[str]
    contribution: list[float]
    attention: list[float] | None


class ClientError(Exception):
    """A request that was not answered, in one sentence.

    Args:
        status: Name of the gRPC status, such as "NOT_FOUND"; of REST the one that its HTTP status
            stands for.
        message: The sentence.

    Attributes:
        status: As given.
    """

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status = status


class SeparatorChanged(ClientError):
    """An answer to ids that were joined by another separator than the model's, and so are other ids
    to it.

    Args:
        separator: The model's.

    Attributes:
        separator: As given.
    """

    def __init__(self, separator: str):
        super().__init__(
            "ABORTED",
            f"The model joins ids by {separator!r}, and did not when it was last asked; ask again.",
        )
        self.separator = separator


def client_error(status: str, details: str, where: str, timeout: float) -> ClientError:
    """The error of a status that a server or the way to it has given.

    Args:
        status: Name.
        details: Text that came with it.
        where: Address of the server.
        timeout: Seconds that the request had.
    """
    details = (details.strip().splitlines() or ["no reason given"])[0].rstrip(".")
    if status == "UNAVAILABLE":
        return ClientError(
            status, f"No server answers at {where} ({details}); start one there, or name another."
        )
    if status == "DEADLINE_EXCEEDED":
        return ClientError(
            status,
            f"{where} did not answer within {timeout:g} s ({details}); give it more time, or ask for less.",
        )
    return ClientError(status, f"{where} answered {status}: {details}.")
