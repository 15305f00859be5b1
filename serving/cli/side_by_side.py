"""Compares two recommended lists, as text or for JSON."""

import dataclasses

from tfrec_attn.cli.terminal import align
from tfrec_attn.errors import counted

from ..checks.paired_replay import overlap, rank_changes, rank_correlation
from ..clients.responses import Recommendations


def as_dict(first: Recommendations, second: Recommendations, names: tuple[str, str]) -> dict:
    """Returns both lists, their overlap and their rank correlation, for JSON.

    Args:
        first: A response.
        second: The response of another model to the same request.
        names: Names of the two models.
    """
    changes = rank_changes(first.items, second.items)
    return {
        "models": list(names),
        "lists": [dataclasses.asdict(one) for one in (first, second)],
        "overlap": overlap(first.items, second.items),
        "rank_correlation": rank_correlation(first.items, second.items),
        "ranks": {item: list(ranks) for item, ranks in changes.items()},
    }


def as_text(first: Recommendations, second: Recommendations, names: tuple[str, str]) -> str:
    """Formats both lists as a table, with the arguments of `as_dict`.

    The last column shows by how many ranks an item rises from the first list to the second.
    """
    places = {item: rank for rank, item in enumerate(first.items, 1)}
    lines = [["", names[0], "score", names[1], "score", "change"]]
    for rank in range(max(len(first.items), len(second.items))):
        own, other = (
            [response.items[rank], score_text(response.scores[rank])]
            if rank < len(response.items)
            else ["", ""]
            for response in (first, second)
        )
        lines.append([str(rank + 1), *own, *other, _change(places.get(other[0]), rank + 1, other)])
    common = len({*first.items} & {*second.items})
    correlation = rank_correlation(first.items, second.items)
    text = (
        f"{counted(common, 'item')} in common, overlap@{len(lines) - 1} "
        f"{overlap(first.items, second.items):.4g}"
    )
    if correlation is not None:
        text += f", rank correlation {correlation:.4g}"
    popular = [
        name
        for name, response in zip(names, (first, second), strict=True)
        if response.source == "popular"
    ]
    notes = [
        f"{name} knows nothing of the history: its items are the most popular." for name in popular
    ]
    return "\n".join([align(lines, left=(1, 3)), "", text, *notes])


def score_text(score: float) -> str:
    """Formats a score. The score of an item without training events is half the lowest float."""
    return f"{score:.4f}" if abs(score) < 1e30 else f"{score:.3g}"


def _change(before: int | None, now: int, cells: list[str]) -> str:
    if not cells[0]:
        return ""
    if before is None:
        return "new"
    return "=" if before == now else f"{before - now:+d}"
