"""The responses of a served model as tables."""

import argparse
from collections.abc import Mapping, Sequence

from tfrec_attn.cli.terminal import align
from tfrec_attn.errors import shorten

from ..clients.responses import Explanation, Recommendations, SimilarItems
from .side_by_side import score_text

_MOST = 200  # characters of a cell
_LEFT = ("item", "event", "title")
_POPULAR = "\n\nNothing of the history is known: these are the most popular items."

Titles = Mapping[str, str]


def items_of(response, parsed: argparse.Namespace) -> list[str]:
    """Returns the items of a response whose titles its table shows."""
    if isinstance(response, SimilarItems):
        return [*response.items, *(response.counted_items or ())]
    if isinstance(response, Recommendations):
        return response.items
    if isinstance(response, Explanation):
        return response.history
    return parsed.candidates if parsed.signature == "score" else []


def table(response, parsed: argparse.Namespace, titles: Titles) -> str:
    """Formats a response as a table.

    Args:
        response: Result of a method of a client.
        parsed: Options of the command.
        titles: Title of each item that has one.
    """
    if isinstance(response, Recommendations):
        rows = _ranked(response.items, response.scores, titles)
        text = _columns(["", "item", *_head(titles), "score"], rows)
        return text + (_POPULAR if response.source == "popular" else "")
    if isinstance(response, SimilarItems):
        return _similar(response, titles)
    if isinstance(response, Explanation):
        return _explanation(response, titles)
    if parsed.signature == "describe":
        return _descriptions(response, parsed.items)
    if parsed.signature == "embed":
        return "  ".join(f"{one:.4f}" for one in response)
    rows = [
        [*_named(item, titles), "unknown" if score is None else f"{score:.4f}"]
        for item, score in zip(parsed.candidates, response, strict=True)
    ]
    return _columns(["item", *_head(titles), "score"], rows)


def _similar(response: SimilarItems, titles: Titles) -> str:
    rows = _ranked(response.items, response.scores, titles)
    text = _columns(["", "item", *_head(titles), response.by], rows)
    if response.counted_items is None or response.by == "counts":
        return text
    counted = _ranked(response.counted_items, response.counted_scores, titles)
    return f"{text}\n\n{_columns(['', 'item', *_head(titles), 'counts'], counted)}"


def _explanation(response: Explanation, titles: Titles) -> str:
    head = ["event", *_head(titles), "contribution"]
    columns = [[f"{one:+.4f}" for one in response.contribution]]
    if response.attention is not None:
        head.append("attention")
        columns.append([f"{one:.4f}" for one in response.attention])
    named = [_named(one, titles) for one in response.history]
    rows = [[*one, *values] for one, *values in zip(named, *columns, strict=True)]
    return _columns(head, rows)


def _descriptions(response: Sequence[Mapping[str, str]], items: Sequence[str]) -> str:
    names = list(dict.fromkeys(name for one in response for name in one))
    rows = [
        [item, *(shorten(str(one.get(name, "")), _MOST) for name in names)]
        for item, one in zip(items, response, strict=True)
    ]
    head = ["item", *map(shorten, names)]
    return align([head, *rows], range(len(head)))


def _ranked(items: Sequence[str], scores: Sequence[float], titles: Titles) -> list[list[str]]:
    return [
        [str(place), *_named(item, titles), score_text(one)]
        for place, (item, one) in enumerate(zip(items, scores, strict=True), 1)
    ]


def _head(titles: Titles) -> list[str]:
    return ["title"] if titles else []


def _named(item: str, titles: Titles) -> list[str]:
    return [item, titles.get(item, "")] if titles else [item]


def _columns(head: list[str], rows: list[list[str]]) -> str:
    return align([head, *rows], [place for place, name in enumerate(head) if name in _LEFT])
