"""An exported SavedModel as a source of lists, without the code that exported it."""

import json
from pathlib import Path

import numpy as np

from tfrec_attn.lists.source import Queries, Source
from tfrec_attn.lists.user_histories import Histories
from tfrec_attn.replay.event_ranking import embedded_items, popularity_of
from tfrec_attn.replay.measured_run import read_lines
from tfrec_attn.runtime.runner import Runner

_CARD = "assets.extra/model_card.json"
_ROWS = 4096


class ServableSource(Source):
    """A SavedModel as a source, by its signatures.

    Args:
        runner: Runner of the SavedModel.

    Raises:
        ConfigError: If another program wrote the SavedModel, or it is damaged.
    """

    def __init__(self, runner: Runner):
        self._runner, self.path = runner, runner.path
        self.items = read_lines(self.path / "assets" / "items.txt")
        embedded = embedded_items(self._runner.run, self.items, _ROWS)
        self.vectors, self.trained = embedded["vector"], embedded["known"]
        self.popularity = popularity_of(self._runner.run, self.items)
        self.categories = _categories(self.path)
        self._ids = np.array(["", *self.items], object)
        self._rows = {item.encode(): row for row, item in enumerate(self.items, 1)}
        serving = _serving(self.path)
        self._max_length = serving.get("max_length")
        if "points" in serving:
            self.points = np.isin(np.arange(self.vectors.shape[1]), serving["points"])
        known = self.items[int(self.trained.argmax())]
        of_one, source = self._asked([""], np.array([[known]], object), known)
        self.keep_seen = of_one[0, 0] != b""
        # False for a model that does not use the history.
        self._history_counts = source[0] != b"popular"

    def queries(self, users: list[str], histories: Histories) -> Queries:
        """Returns the queries of users with histories."""
        longest = int(histories.lengths.max(initial=0))
        columns = max(1, min(longest, self._max_length or longest))
        request = {
            "user_id": np.array(users, object),
            "history": self._ids[histories.latest(columns)],
        }
        embedded = self._runner.run("embed", **request)
        prior = None
        if "prior_items" in embedded:
            prior = self._numbers(embedded["prior_items"]), embedded["prior_scores"]
        return Queries(embedded["query"], prior, self._nothing_known(request, histories.lengths))

    def _nothing_known(self, request: dict[str, np.ndarray], lengths: np.ndarray) -> np.ndarray:
        """Which requests get the popular items, bool [B]. Queries the servable where in doubt."""
        nothing = (lengths == 0) | (not self._history_counts)
        if nothing.any():
            rows = np.flatnonzero(nothing)
            some = {name: value[rows] for name, value in request.items()}
            _, source = self._asked(some["user_id"], some["history"], self.items[0])
            nothing[rows] = source == b"popular"
        return nothing

    def _asked(self, users, history: np.ndarray, item: str) -> tuple[np.ndarray, np.ndarray]:
        """(items, source) of lists with one allowed item, which need no ranking of all items."""
        count = len(users)
        response = self._runner.run(
            "recommend",
            user_id=users,
            history=history,
            exclude=np.full((count, 1), "", object),
            allow=np.full((count, 1), item, object),
            k=np.ones(count, np.int32),
        )
        return response["items"], response["source"]

    def _numbers(self, ids: np.ndarray) -> np.ndarray:
        flat = (self._rows.get(one, 0) for one in ids.ravel())
        return np.fromiter(flat, np.int32, ids.size).reshape(ids.shape)


def _categories(folder: Path) -> list[str] | None:
    """The category of each item, or None if the servable has no items file."""
    path = folder / "assets" / "descriptions.jsonl"
    if not path.is_file():
        return None
    return [json.loads(line).get("category", "") for line in read_lines(path)]


def _serving(folder: Path) -> dict:
    """The keys max_length and points of the model card, or {} without a readable card."""
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        serving = {"max_length": int(card["serving"]["max_length"])}
        if "points" in card["serving"]:
            serving["points"] = [int(one) for one in card["serving"]["points"]]
        return serving
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
