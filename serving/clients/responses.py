"""What the clients return and raise."""

import dataclasses
import re

from tfrec_attn.errors import TfrecError

# As TF Serving says it over gRPC and over REST.
_NO_SIGNATURE = re.compile("[Ss]ignature (key|name).* not found")


@dataclasses.dataclass(frozen=True)
class Recommendations:
    """The best items, best first.

    Attributes:
        items: Ids, at most k.
        scores: One score for each item.
        source: "model", or "popular" if the model knows nothing of the history.
        k: Number of items that the model was asked for, limited to the most that it returns.
        unknown_categories: Those of `allow_category` that no item has.
    """

    items: list[str]
    scores: list[float]
    source: str
    k: int | None = None
    unknown_categories: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class SimilarItems:
    """The items that are nearest to an item, nearest first.

    Attributes:
        item: Item id.
        items: Ids, at most k.
        scores: One similarity for each item.
        by: What decides: "cosine" of the item vectors, "score" of the model, or "counts" for a
            model without item vectors.
        known: Whether the item has training events.
        counted_items: Ids of the items that were counted most with the item, most first; None if
            the model counted none.
        counted_scores: Their counts, as the model weighs them.
        k: Number of items that the model was asked for, limited to the most that it returns.
    """

    item: str
    items: list[str]
    scores: list[float]
    by: str
    known: bool
    counted_items: list[str] | None = None
    counted_scores: list[float] | None = None
    k: int | None = None


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The contribution of each event of a history to the score of an item.

    Attributes:
        item: Item id.
        history: The events that were sent, oldest first.
        contribution: By how much the score falls without the event; 0 for ignored events.
        attention: Attention weight of each event, None for models without attention.
        known: Whether the item has training events.
    """

    item: str
    history: list[str]
    contribution: list[float]
    attention: list[float] | None
    known: bool


class ClientError(TfrecError):
    """A request that was not answered.

    Args:
        status: Name of the gRPC status, such as "NOT_FOUND". For REST it is the one that
            corresponds to the HTTP status.
        message: One sentence.

    Attributes:
        status: As given.
    """

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status = status


class SeparatorChanged(ClientError):
    """A response to ids that were joined by another separator than that of the model.

    Args:
        separator: Separator of the model.

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
    """Makes the error of a status of a server or of the connection to it.

    Args:
        status: Name of the status.
        details: Text that came with it.
        where: Address of the server.
        timeout: Seconds that the request had.
    """
    details = (details.strip().splitlines() or ["no reason given"])[0].rstrip(".")
    if status == "UNAVAILABLE":
        message = f"No server answers at {where} ({details}); start one there, or name another."
    elif status == "DEADLINE_EXCEEDED":
        message = (
            f"{where} did not answer within {timeout:g} s ({details}); "
            "give it more time, or ask for less."
        )
    elif _NO_SIGNATURE.search(details):
        message = (
            f"The model at {where} does not have what was asked for ({details}); export it again: "
            "describe needs data.items, and recommend_diverse data.items or --diverse."
        )
    else:
        message = f"{where} answered {status}: {details}."
    return ClientError(status, message)


def unreadable(where: str, signature: str) -> ClientError:
    """Makes the error of a response that does not answer its request."""
    return ClientError(
        "INTERNAL",
        f"{where} answered {signature} with something else; "
        "serve a model that python -m tfrec_attn.export has written.",
    )
