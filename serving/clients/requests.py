"""What the joined signatures of a servable are asked: ids to one row of inputs, and one row of
outputs to an answer.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from .responses import Explanation, Recommendations, SeparatorChanged

# What joins the ids of a list where a model does not say otherwise.
SEPARATOR = "\t"


@dataclasses.dataclass(frozen=True)
class Request:
    """One row for a signature.

    Attributes:
        signature: Name.
        inputs: Name -> text, number or list of ids.
        outputs: Names that the answer must have.
        read: (name -> value or list of values of the row) -> what the caller gets.
    """

    signature: str
    inputs: Mapping[str, str | int | list[str]]
    outputs: tuple[str, ...]
    read: Callable[[Mapping[str, object]], object]

    def row(self, separator: str = SEPARATOR) -> dict[str, str | int]:
        """The inputs, lists of ids as one text each.

        Raises:
            ValueError: An id has the separator.
        """
        return {
            name: _joined(name, value, separator) if isinstance(value, list) else value
            for name, value in self.inputs.items()
        }

    def answer(self, outputs: Mapping[str, object], separator: str = SEPARATOR):
        """What the caller gets of the outputs of a row.

        Raises:
            SeparatorChanged: The model joins ids by another separator than the row was joined by.
            KeyError: An output is missing; that and IndexError, ValueError, TypeError for an answer
                to something else.
        """
        missing = [name for name in (*self.outputs, "separator") if name not in outputs]
        if missing:
            raise KeyError(missing[0])
        told = outputs["separator"]
        if told != separator:
            # No character is no separator, and TypeError where it is no text.
            raise SeparatorChanged(told) if len(told) == 1 else ValueError(told)
        return self.read(outputs)


def recommend(
    history: Iterable[str],
    user_id: str,
    k: int,
    exclude: Iterable[str],
    allow: Iterable[str],
    most: int,
) -> Request:
    """The k best items, without those in `exclude` and, unless it is empty, among those in `allow`.

    Args:
        history: Ids, oldest first.
        user_id: "" for nobody.
        k: At least 1; the model limits it, and says so.
        exclude, allow: Ids.
        most: Events of the history that are sent, the latest.

    Raises:
        ValueError: That names the argument; also of the other functions here.
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k < 2**31:
        raise ValueError(f"k must be a number of items from 1 to 2147483647, but is {_shown(k)}.")
    inputs = {
        **_who(user_id, _events(history, most)),
        "exclude": _ids("exclude", exclude),
        "allow": _ids("allow", allow),
        "k": k,
    }
    return Request("recommend_joined", inputs, ("items", "scores", "source", "k"), _recommendations)


def score(history: Iterable[str], candidates: Iterable[str], user_id: str, most: int) -> Request:
    """The score of each candidate, None where it is unknown."""
    candidates = _ids("candidates", candidates)
    inputs = {**_who(user_id, _events(history, most)), "candidates": candidates}

    def read(outputs):
        pairs = zip(
            _own(outputs["scores"], candidates), _own(outputs["known"], candidates), strict=True
        )
        return [score if known else None for score, known in pairs]

    return Request("score_joined", inputs, ("scores", "known"), read)


def explain(history: Iterable[str], item: str, user_id: str, most: int) -> Request:
    """What each event does to the score of an item."""
    events = _events(history, most)
    inputs = {**_who(user_id, events), "item": _id("item", item)}

    def read(outputs):
        attention = _own(outputs["attention"], events) if "attention" in outputs else None
        return Explanation(item, events, _own(outputs["contribution"], events), attention)

    return Request("explain_joined", inputs, ("contribution",), read)


def embed(history: Iterable[str], user_id: str, most: int) -> Request:
    """The query vector."""
    return Request(
        "embed_joined",
        _who(user_id, _events(history, most)),
        ("query",),
        lambda outputs: list(outputs["query"]),
    )


def _joined(name, ids, separator):
    broken = next((one for one in ids if separator in one), None)
    if broken is not None:
        raise ValueError(
            f"{name} must have no id with {separator!r}, which joins the ids for this model, but has {_shown(broken)}; leave it out."
        )
    return separator.join(ids)


def _own(values, ids):
    """The values of a row's own ids: a server that put it into a batch made it as wide as the
    longest row there.
    """
    if len(values) < len(ids):
        raise IndexError(len(ids))
    return values[: len(ids)]


def _who(user_id, events):
    return {"user_id": _id("user_id", user_id), "history": events}


def _events(history, most):
    ids = _ids("history", history)
    return ids[max(len(ids) - most, 0) :]


def _ids(name, values):
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ValueError(f"{name} must be a list of ids, but is {_shown(values)}.")
    return [_id(f"every id in {name}", value) for value in values]


def _id(name, value):
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, but is {_shown(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{name} must be Unicode text, but {_shown(value)} has half of a surrogate pair."
        ) from None
    return value


def _shown(value):
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _recommendations(outputs):
    items = outputs["items"]
    # "" only comes after the last item there is.
    count = items.index("") if "" in items else len(items)
    return Recommendations(
        items[:count], list(outputs["scores"][:count]), outputs["source"], outputs["k"]
    )
