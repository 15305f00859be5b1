"""Requests of one row to the signatures of a servable, and the results of their responses."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping

from tfrec_attn.errors import shown

from .responses import Explanation, Recommendations, SeparatorChanged, SimilarItems

# Joins the ids of a list until a response names another separator.
SEPARATOR = "\t"
_K = " from 1 to 2147483647"
SIMILARITIES = ("cosine", "score")


@dataclasses.dataclass(frozen=True)
class Request:
    """A request of one row to a signature.

    Attributes:
        signature: Name of the signature.
        inputs: Inputs by name: texts, numbers and lists of ids.
        outputs: Names of the outputs that the response must have.
        read: Function from the outputs of the row by name to the result of the call.
    """

    signature: str
    inputs: Mapping[str, str | int | float | list[str]]
    outputs: tuple[str, ...]
    read: Callable[[Mapping[str, object]], object]

    def row(self, separator: str = SEPARATOR) -> dict[str, str | int | float]:
        """Returns the inputs by name, with each list of ids joined to one text.

        Raises:
            ValueError: If an id contains the separator.
        """
        return {
            name: _joined(name, value, separator) if isinstance(value, list) else value
            for name, value in self.inputs.items()
        }

    def response(self, outputs: Mapping[str, object], separator: str = SEPARATOR):
        """Makes the result of the call from the outputs of the row.

        Args:
            outputs: Outputs by name: a value or a list of values for each.
            separator: Separator that the request was joined with (default: the tab).

        Raises:
            SeparatorChanged: If the model joins ids by another separator.
            KeyError: If an output is missing.
            IndexError, ValueError, TypeError: If the outputs do not fit the request otherwise.
        """
        is_joined = self.signature.endswith("_joined")
        needed = (*self.outputs, "separator") if is_joined else self.outputs
        missing = [name for name in needed if name not in outputs]
        if missing:
            raise KeyError(missing[0])
        expected = outputs["separator"] if is_joined else separator
        if expected != separator:
            # `len` raises TypeError if the separator is not a text.
            raise SeparatorChanged(expected) if len(expected) == 1 else ValueError(expected)
        return self.read(outputs)


def recommend(
    history: Iterable[str],
    user_id: str,
    k: int,
    exclude: Iterable[str],
    allow: Iterable[str],
    max_history: int,
    allow_category: Iterable[str] = (),
    per_category: int = 0,
    popularity_penalty: float = 0.0,
    diversity: float = 0.0,
) -> Request:
    """Makes a request for the k best items, with the arguments of `BaseClient.recommend`.

    Unless the last four arguments have their defaults, the request calls `recommend_diverse`. It
    sends only the latest `max_history` events of the history.

    Raises:
        ValueError: If an argument is invalid, also in the other functions of this module.
    """
    inputs = {
        **_features(history, user_id, max_history),
        "exclude": _ids("exclude", exclude),
        "allow": _ids("allow", allow),
        "k": _count("k", k, 1, _K),
    }
    outputs = ("items", "scores", "source", "k")
    reranking = {
        "allow_category": _ids("allow_category", allow_category),
        "per_category": _count("per_category", per_category, 0, ", or 0 for any"),
        "popularity_penalty": _number("popularity_penalty", popularity_penalty, 1e30),
        "diversity": _number("diversity", diversity, 1.0),
    }
    if not any(reranking.values()):
        return Request("recommend_joined", inputs, outputs, _recommendations)

    def read(outputs):
        known = _own(outputs["known_category"], reranking["allow_category"])
        pairs = zip(reranking["allow_category"], known, strict=True)
        unknown = [one for one, is_known in pairs if one and not is_known]
        return dataclasses.replace(_recommendations(outputs), unknown_categories=unknown)

    outputs = (*outputs, "known_category")
    return Request("recommend_diverse_joined", {**inputs, **reranking}, outputs, read)


def score(
    history: Iterable[str], candidates: Iterable[str], user_id: str, max_history: int
) -> Request:
    """Makes a request for the score of each candidate; None for unknown and untrained items."""
    candidates = _ids("candidates", candidates)
    inputs = {**_features(history, user_id, max_history), "candidates": candidates}

    def read(outputs):
        scores, known = (_own(outputs[name], candidates) for name in ("scores", "known"))
        return [one if is_known else None for one, is_known in zip(scores, known, strict=True)]

    return Request("score_joined", inputs, ("scores", "known"), read)


def similar(item: str, k: int, by: str) -> Request:
    """Makes a request for the k items that are nearest to an item."""
    if by not in SIMILARITIES:
        raise ValueError(f"by must be one of {', '.join(SIMILARITIES)}, but is {shown(by)}.")

    def read(outputs):
        items, scores = _listed(outputs["items"], outputs["scores"])
        counted = (None, None)
        if "counted_items" in outputs:
            counted = _listed(outputs["counted_items"], outputs["counted_scores"])
        by, known = outputs["by"], outputs["known"]
        return SimilarItems(item, items, scores, by, known, *counted, outputs["k"])

    inputs = {"item": _id("item", item), "by": by, "k": _count("k", k, 1, _K)}
    return Request("similar", inputs, ("items", "scores", "by", "known", "k"), read)


def explain(history: Iterable[str], item: str, user_id: str, max_history: int) -> Request:
    """Makes a request for the contribution of each event to the score of an item."""
    features = _features(history, user_id, max_history)
    events = features["history"]

    def read(outputs):
        attention = _own(outputs["attention"], events) if "attention" in outputs else None
        contribution = _own(outputs["contribution"], events)
        return Explanation(item, events, contribution, attention, outputs["known"])

    inputs = {**features, "item": _id("item", item)}
    return Request("explain_joined", inputs, ("contribution", "known"), read)


def embed(history: Iterable[str], user_id: str, max_history: int) -> Request:
    """Makes a request for the query vector."""
    features = _features(history, user_id, max_history)
    return Request("embed_joined", features, ("query",), lambda outputs: list(outputs["query"]))


def describe(items: Iterable[str]) -> Request:
    """Makes a request for the row of each item in the items file, as a dictionary."""
    items = _ids("items", items)

    def read(outputs):
        return [json.loads(one) if one else {} for one in _own(outputs["description"], items)]

    return Request("describe_joined", {"candidates": items}, ("description",), read)


def _joined(name, ids, separator):
    wrong = next((one for one in ids if separator in one), None)
    if wrong is not None:
        raise ValueError(
            f"{name} must have no id with {separator!r}, which joins the ids for this model, "
            f"but has {shown(wrong)}; leave it out."
        )
    return separator.join(ids)


def _own(values, ids):
    """The values of this row's ids, without the padding to the longest row of the batch."""
    if len(values) < len(ids):
        raise IndexError(len(ids))
    return values[: len(ids)]


def _features(history, user_id, max_history):
    events = _ids("history", history)
    return {"user_id": _id("user_id", user_id), "history": events[-max_history:]}


def _ids(name, values):
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ValueError(f"{name} must be a list of ids, but is {shown(values)}.")
    return [_id(f"every id in {name}", value) for value in values]


def _id(name, value):
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, but is {shown(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{name} must be Unicode text, but {shown(value)} has half of a surrogate pair."
        ) from None
    return value


def _count(name, value, least, which):
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
        raise ValueError(f"{name} must be a number of items{which}, but is {shown(value)}.")
    return value


def _number(name, value, most):
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= most:
        raise ValueError(f"{name} must be a number from 0 to {most:g}, but is {shown(value)}.")
    return float(value)


def _recommendations(outputs):
    listed = _listed(outputs["items"], outputs["scores"])
    return Recommendations(*listed, outputs["source"], outputs["k"])


def _listed(items, scores):
    """The items of a row and their scores, without the padding "" at the end."""
    count = items.index("") if "" in items else len(items)
    return items[:count], list(scores[:count])
