"""Recommends items with a model in ONNX or LiteRT, without TensorFlow.

    python recommender.py --history i3,i17 --k 5

The same from Python:

>>> shop = Recommender.from_folder("servables/sasrec-onnx/1")
>>> items, scores, source = shop.recommend(["i3", "i17"], k=5)

An export puts this file beside the model. It needs NumPy and the package of the format: onnxruntime
for ONNX, ai-edge-litert for LiteRT.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Takes integer arrays by name, returns arrays by name.
Encode = Callable[..., dict[str, np.ndarray]]


class Recommendation(NamedTuple):
    """The best items for a history.

    Attributes:
        items: Ids of the items, best first.
        scores: Scores of the items.
        source: "model", or "popular" if nothing in the request is known.
    """

    items: list[str]
    scores: list[float]
    source: str


class Recommender:
    """Recommends as the SavedModel of the same run does.

    score(j) = query(history) . vector of j, plus the prior of j if the model has one

    Args:
        encode: Function of `history` int32 [1, L] and, if the model uses users, `user` int32 [1].
            It returns `query` [1, D'] and, with a prior, `prior_items` and `prior_scores` [1, P].
            Items and users are numbered from 1 in the order of `items` and `users`; 0 is none.
        items: Ids of the items, N.
        vectors: Vectors of the items, float32 [N, D'].
        popularity: Share of the training events of each item, float32 [N]; negative for an item
            without training events.
        about: The content of model.json.
        users: Ids of the users, "" for a user without training events. Empty (default) for a model
            that does not use users.
    """

    def __init__(
        self,
        encode: Encode,
        items: list[str],
        vectors: np.ndarray,
        popularity: np.ndarray,
        about: dict[str, Any],
        users: Iterable[str] = (),
    ):
        self._encode, self._about = encode, about
        self.items, self.vectors, self.popularity = items, vectors, popularity
        self._rows = {item: row for row, item in enumerate(items, 1)}
        self._users = {user: row for row, user in enumerate(users, 1) if user}

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Recommender":
        """Loads a model from the folder of a version.

        Raises:
            ValueError: If the folder holds no model in ONNX or LiteRT, or its files do not belong
                together.
            ImportError: If the package of the format is missing.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            encode = _ENCODERS[about["format"]](folder)
            items = _lines(folder / "items.txt")
            vectors = np.load(folder / "item_vectors.npy", mmap_mode="r")
            popularity = np.load(folder / "popularity.npy")
            users = _lines(folder / "users.txt") if about["uses_user"] else ()
            result = cls(encode, items, vectors, popularity, about, users)
            result._check()
        except ImportError:
            raise
        # The packages of the formats raise exceptions of their own.
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(". ")
            raise ValueError(
                f"{folder} must be a version that the export wrote with --format onnx or litert, "
                f"but cannot be read ({reason}); export it again."
            ) from None
        return result

    def recommend(
        self, history: Iterable[str], k: int = 10, user: str = "", exclude: Iterable[str] = ()
    ) -> Recommendation:
        """Returns the k best items for a history.

        Args:
            history: Ids of items, oldest first. Unknown ids are ignored.
            k: Most items to return (default: 10). Fewer are returned if fewer are left.
            user: Id of the user. "" (default) and an unknown id mean an unknown user.
            exclude: Ids of items to leave out.

        Raises:
            ValueError: If `k` is not an integer of at least 1, or a list of ids is a text.
        """
        if not isinstance(k, (int, np.integer)) or k < 1:
            raise ValueError(f"k must be an integer of at least 1, but is {k!r}.")
        seen, excluded = self._rows_of("history", history), self._rows_of("exclude", exclude)
        scores, source = self.scores(seen, self._users.get(user, 0))
        is_left = np.ones(len(scores), bool)
        is_left[excluded - 1] = False
        if not self._about["keep_seen"]:
            is_left[seen - 1] = False
        left = np.flatnonzero(is_left)
        # Keeps all items that can be among the best. Their order decides between equal scores.
        values = scores[left]
        if k < len(left):
            least = np.partition(values, -k)[-k]
            left, values = left[values >= least], values[values >= least]
        best = left[np.argsort(-values, kind="stable")[:k]]
        return Recommendation([self.items[one] for one in best], scores[best].tolist(), source)

    def scores(self, history: np.ndarray, user: int = 0) -> tuple[np.ndarray, str]:
        """Returns the scores of all items, [N], and their source, "model" or "popular".

        Args:
            history: Item numbers 1..N, oldest first, int [W].
            user: User number from 1. 0 (default) is an unknown user.
        """
        untrained = self.popularity < 0
        events = history[~untrained[history - 1]]
        if not (user or (len(events) and self._about["uses_history"])):
            return self.popularity, "popular"
        query, prior_items, prior_scores = self.query(events, user)
        scores = self.vectors @ query
        listed = prior_items > 0
        np.add.at(scores, prior_items[listed] - 1, prior_scores[listed])
        # Items without training events come last, in their order.
        return np.where(untrained, self.popularity, scores), "model"

    def query(self, events: np.ndarray, user: int = 0) -> tuple[np.ndarray, ...]:
        """Returns the query [D'], and the items and scores of the prior [P]; item 0 is padding.

        Args:
            events: Item numbers 1..N, oldest first, int [W].
            user: User number from 1. 0 (default) is an unknown user.
        """
        length = self._about["max_length"]
        latest = events[max(len(events) - length, 0) :]
        history = np.zeros((1, length), np.int32)
        history[0, length - len(latest) :] = latest
        inputs = {"history": history}
        if self._about["uses_user"]:
            inputs["user"] = np.array([user], np.int32)
        outputs = self._encode(**inputs)
        none = np.zeros((1, 0))
        items = outputs.get("prior_items", none.astype(np.int32))
        return outputs["query"][0], items[0], outputs.get("prior_scores", none)[0]

    def _check(self) -> None:
        """Raises an exception if the parts do not belong together."""
        count, query = len(self.items), self.query(np.zeros(0, np.int64))[0]
        expected = {"vectors": (count, *query.shape), "popularities": (count,)}
        shapes = {"vectors": self.vectors.shape, "popularities": self.popularity.shape}
        for name, shape in shapes.items():
            if shape != expected[name]:
                raise ValueError(f"the {name} have the shape {shape}, not {expected[name]}")
        for key in ("keep_seen", "uses_history"):
            if not isinstance(self._about[key], bool):
                raise ValueError(f"{key} is {self._about[key]!r}, not true or false")

    def _rows_of(self, name: str, ids: Iterable[str]) -> np.ndarray:
        if isinstance(ids, (str, bytes)):
            raise ValueError(f"{name} must be a list of ids, but is {ids!r}; write [{ids!r}].")
        rows = np.array([self._rows.get(one, 0) for one in ids], np.int64)
        return rows[rows > 0]


def _lines(path: Path) -> list[str]:
    return path.read_bytes().decode("utf-8").split("\n")[:-1]


def _onnx(folder: Path) -> Encode:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return lambda **inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _litert(folder: Path) -> Encode:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(folder / "model.tflite")).get_signature_runner("serving_default")


_ENCODERS = {"onnx": _onnx, "litert": _litert}


def main(arguments: list[str] | None = None) -> int:
    """Prints the best items for a history as JSON; returns 0, or 2 if an input cannot be used."""
    parser = argparse.ArgumentParser(description="Recommends items with an exported model.")
    here = Path(__file__).parent
    parser.add_argument("folder", nargs="?", default=here, help="of the model (default: this one)")
    parser.add_argument("--history", default="", metavar="ID,ID", help="oldest first")
    parser.add_argument("--user", default="", metavar="ID")
    parser.add_argument("--exclude", default="", metavar="ID,ID", help="items that are not wanted")
    parser.add_argument("--k", type=int, default=10, help="(default: %(default)s)")
    parsed = parser.parse_args(arguments)
    history, exclude = (text.split(",") for text in (parsed.history, parsed.exclude))
    try:
        recommender = Recommender.from_folder(parsed.folder)
        found = recommender.recommend(history, parsed.k, parsed.user, exclude)
    except (ImportError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(json.dumps(found._asdict(), ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
