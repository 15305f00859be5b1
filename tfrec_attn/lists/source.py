"""The interface of models that make lists, from a run or from a servable."""

import abc
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrec_attn.lists.user_histories import Histories


class Queries(NamedTuple):
    """The queries of B users.

    Attributes:
        vectors: Query vectors, float32 [B, D'].
        prior: (items int32 [B, P], values float32 [B, P]), or None. The values are added to the
            scores of the items; item 0 is padding.
        nothing_known: Whether nothing is known, so that the list is the popular items, bool [B].
    """

    vectors: np.ndarray
    prior: tuple[np.ndarray, np.ndarray] | None
    nothing_known: np.ndarray


class Source(abc.ABC):
    """A model that scores item j by `query . vector of j`, plus a prior if it has one.

    Attributes:
        path: Folder of the run, or of the version of a servable.
        items: Ids of the items 1..N.
        vectors: Vectors of the items, float32 [N, D'].
        trained: Whether an item has training events, bool [N]. Items without training events are
            ignored in histories and recommended last.
        popularity: Score of each item where nothing is known, float32 [N].
        keep_seen: Whether to recommend items of the history.
        categories: Category of each item, "" for none; None without an items file.
        points: Which columns of the vectors are the point of an item, as in `ItemSpace`, bool [D'];
            None if unknown.
    """

    path: Path
    items: list[str]
    vectors: np.ndarray
    trained: np.ndarray
    popularity: np.ndarray
    keep_seen: bool
    categories: list[str] | None = None
    points: np.ndarray | None = None

    @abc.abstractmethod
    def queries(self, users: list[str], histories: Histories) -> Queries:
        """Returns the queries of users with histories.

        Args:
            users: Ids of B users. "" and ids that the model does not know are unknown users.
            histories: Histories of the B users, which have only items with training events.
        """
