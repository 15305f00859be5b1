"""Results and errors of the clients."""

import dataclasses
import re

from tfrec_attn.errors import TfrecError

# The messages of TF Serving for a missing signature, over gRPC and over REST.
_NO_SIGNATURE = re.compile("[Ss]ignature (key|name).* not found")


@dataclasses.dataclass(frozen=True)
class Recommendations:
    """The best items, best first.

    Attributes:
        items: Item ids, at most k.
        scores: Score of each item.
        source: "model", or "popular" if nothing in the request is known.
        k: The k that the model applied: the requested one, limited to the most that it returns.
        unknown_categories: Categories of `allow_category` that no item has.
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
        items: Ids of the nearest items, at most k.
        scores: Similarity of each of `items`.
        by: The similarity: "cosine" of the item vectors, "score" of the model, or "counts" for a
            model without item vectors.
        known: Whether the item has training events.
        counted_items: Ids of the items with the greatest counts beside the item, greatest first;
            None if the model has no counts.
        counted_scores: Counts of `counted_items`, as the model weighs them; None without counts.
        k: The k that the model applied: the requested one, limited to the most that it returns.
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
        contribution: For each event, by how much the score falls without it; 0 for ignored events.
        attention: Attention weight of each event; None for models without attention.
        known: Whether the item has training events.
    """

    item: str
    history: list[str]
    contribution: list[float]
    attention: list[float] | None
    known: bool


class ClientError(TfrecError):
    """A failed request.

    Args:
        status: Name of the gRPC status, such as "NOT_FOUND". Over REST it is the gRPC status that
            corresponds to the HTTP status.
        message: One sentence.

    Attributes:
        status: As given.
    """

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status = status


class SeparatorChanged(ClientError):
    """A request that joined ids by another separator than the model does.

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
    """Makes the error of a failed request.

    Args:
        status: Name of the gRPC status.
        details: Message of the server or the connection.
        where: Address of the server.
        timeout: Timeout of the request in seconds.
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
    """Makes the error of a response that does not fit its request."""
    return ClientError(
        "INTERNAL",
        f"{where} answered {signature} with something else; "
        "serve a model that python -m tfrec_attn.export has written.",
    )
