"""What the signatures of a servable are asked: plain texts to one row of inputs, and one row of outputs to an answer."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from serving.answers import Explanation, Recommendations

STEP = 10


@dataclasses.dataclass(frozen=True)
class Query:
    """One row for a signature.

    Attributes:
      signature: name.
      inputs: name -> text, number or list of texts.
      outputs: names that the answer must have.
      read: (name -> value or list of values of the row) -> what the caller gets.
    """

    signature: str
    inputs: Mapping[str, str | int | list[str]]
    outputs: tuple[str, ...]
    read: Callable[[Mapping[str, object]], object]


def recommend(history: Iterable[str], user_id: str, k: int, exclude: Iterable[str], allow: Iterable[str], most: int) -> Query:
    """The k best items, without those in `exclude` and, unless it is empty, among those in `allow`.

    Args:
      history: ids, oldest first.
      user_id: "" for nobody.
      k: at least 1; the model limits it.
      exclude, allow: ids.
      most: events of the history that are sent, the latest.

    Errors: ValueError, in one sentence that names the argument; also of the other functions here.
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k < 2**31:
        raise ValueError(f"k must be a number of items from 1 to 2147483647, but is {_shown(k)}.")
    inputs = {
        **_who(user_id, _events(history, most)),
        "exclude": padded(_ids("exclude", exclude)),
        "allow": padded(_ids("allow", allow)),
        "k": k,
    }
    return Query("recommend", inputs, ("items", "scores", "source"), _recommendations)


def score(history: Iterable[str], candidates: Iterable[str], user_id: str, most: int) -> Query:
    """The score of each candidate, None where it is unknown."""
    candidates = _ids("candidates", candidates)
    inputs = {**_who(user_id, _events(history, most)), "candidates": padded(candidates)}
    places = _places(candidates)

    def read(outputs):
        pairs = zip(outputs["scores"][places], outputs["known"][places], strict=True)
        return [score if known else None for score, known in pairs]

    return Query("score", inputs, ("scores", "known"), read)


def explain(history: Iterable[str], item: str, user_id: str, most: int) -> Query:
    """What each event does to the score of an item."""
    events = _events(history, most)
    inputs = {**_who(user_id, events), "item": _id("item", item)}
    places = _places(events)

    def read(outputs):
        attention = outputs["attention"][places] if "attention" in outputs else None
        return Explanation(item, events, outputs["contribution"][places], attention)

    return Query("explain", inputs, ("contribution",), read)


def embed(history: Iterable[str], user_id: str, most: int) -> Query:
    """The query vector."""
    return Query("embed", _who(user_id, _events(history, most)), ("query",), lambda outputs: list(outputs["query"]))


def padded(ids: list[str]) -> list[str]:
    """The ids behind one to ten "", a multiple of ten in all.

    With "" in front a server that makes rows of a batch equal repeats no id, and few different lengths share more batches.
    """
    return [""] * (STEP - len(ids) % STEP) + ids


def _places(ids):
    """Where the ids stand among those padded; a server may have lengthened the row behind them."""
    start = STEP - len(ids) % STEP
    return slice(start, start + len(ids))


def _who(user_id, events):
    return {"user_id": _id("user_id", user_id), "history": padded(events)}


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
        raise ValueError(f"{name} must be Unicode text, but {_shown(value)} has half of a surrogate pair.") from None
    return value


def _shown(value):
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _recommendations(outputs):
    items = outputs["items"]
    # "" only comes after the last item there is.
    count = items.index("") if "" in items else len(items)
    return Recommendations(items[:count], list(outputs["scores"][:count]), outputs["source"])
