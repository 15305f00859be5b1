"""Compares the lists of a portable model with those of the SavedModel of the same run."""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tfrec_attn.errors import ConfigError, shown
from tfrec_attn.models.base.untrained import UNTRAINED
from tfrec_attn.runtime.process import capture_stderr

from ..servable import Servable
from ..signatures import concrete
from .recommender import Recommender

_K = 10
# The largest rounding error, relative to the greatest score of a list.
_ROUNDING = 1e-4

List = dict[str, float]


def check_lists(folder: Path, servable: Servable, histories: list[tuple[str, list[str]]]) -> str:
    """Compares the lists of 10 items of a portable model with those of a SavedModel.

    Args:
        folder: Folder that `write_portable` has written.
        servable: The functions of the SavedModel.
        histories: (user, history) pairs. An empty history and one of unknown ids are added.

    Returns:
        A line about the comparison.

    Raises:
        ConfigError: If a list differs. Items whose scores are equal up to rounding may have another
            order.
    """
    with capture_stderr():
        recommender = Recommender.from_folder(folder)
    requests = [*histories, ("", []), ("", ["no such item", ""])]
    serve = concrete(servable.serving_default, ("user_id", "history"))
    for user, history in requests:
        expected = _served(serve, user, history)
        found = recommender.recommend(history, _K, user)
        found = dict(zip(found.items, found.scores, strict=True)), found.source
        if difference := difference_of(expected, found):
            raise ConfigError(
                f"The lists must be those of the SavedModel, but for the history "
                f"{shown(history[-5:])} {difference}; the converter does not hold for this model: "
                "export a SavedModel."
            )
    return f"{len(requests):,} lists of {_K} are those of the SavedModel."


def difference_of(expected: tuple[List, str], found: tuple[List, str]) -> str | None:
    """Returns the first difference between two lists, or None.

    Args:
        expected: (score of each item, source) of the SavedModel.
        found: (score of each item, source) of the portable model.
    """
    (there, source), (here, other) = expected, found
    if source != other:
        return f"the source is {other} instead of {source}"
    if len(there) != len(here):
        return f"there are {len(here)} items instead of {len(there)}"
    slack = _ROUNDING * max((abs(one) for one in there.values() if one > UNTRAINED), default=0.0)
    least = min(there.values(), default=0.0)
    for item in (*there, *here):
        # An item that only one list has must be as good as the last item of the other.
        one, two = there.get(item, least), here.get(item, least)
        if not abs(one - two) <= slack:
            return f"{shown(item)} has the score {two:.6g} instead of {one:.6g}"
    return None


def _served(serve: Callable, user: str, history: list[str]) -> tuple[List, str]:
    row = tf.constant([["", *history]])
    response = {
        name: value[0].numpy()
        for name, value in serve(user_id=tf.constant([user]), history=row).items()
    }
    scores = zip(response["items"].tolist(), response["scores"].tolist(), strict=True)
    return {item.decode(): score for item, score in scores if item}, response["source"].decode()
