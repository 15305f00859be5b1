"""Lists of items in an Apache Beam pipeline. This module needs the extra `beam`."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import apache_beam as beam
from apache_beam.utils.shared import Shared

from tfrec_attn.lists.list_table import list_table
from tfrec_attn.lists.model_folder import open_source
from tfrec_attn.lists.recommender import Recommender
from tfrec_attn.lists.user_histories import UserBatch

_BATCH = 1 << 12


class RecommendToUsers(beam.PTransform):
    """Transforms (user_id, history) pairs to the lists of the users.

    >>> histories | RecommendToUsers("servables/sasrec/1", k=50)

    A list is `{"user_id", "items", "scores", "source"}`, as a line of `tfrec_attn.recommend`. Each
    process of a worker loads the model once.

    Args:
        model: Path of a servable or a run that the workers can read.
        k: Number of items of a list. None (default): 50, or all if there are fewer.
        allow: Ids of the items that can be recommended. None (default): all items.
        exclude: Ids of items that are never recommended. None (default): no items.
    """

    def __init__(
        self,
        model: str | Path,
        k: int | None = None,
        allow: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
    ):
        super().__init__()
        lists = (None if ids is None else list(ids) for ids in (allow, exclude))
        self._arguments = str(model), k, *lists

    def expand(self, histories: beam.PCollection) -> beam.PCollection:
        """Adds the steps of the transform to a pipeline."""
        batches = histories | beam.BatchElements(min_batch_size=256, max_batch_size=_BATCH)
        return batches | beam.ParDo(_RecommendToBatch(*self._arguments))


class _RecommendToBatch(beam.DoFn):
    """Makes the lists of a batch of (user_id, history) pairs."""

    def __init__(self, model: str, k: int | None, allow: list | None, exclude: list | None):
        self._arguments = model, k, allow, exclude
        self._shared, self._recommender = Shared(), None

    def setup(self) -> None:
        """Loads the model, unless another thread of the process has loaded it."""
        model, *options = self._arguments
        self._recommender = self._shared.acquire(lambda: Recommender(open_source(model), *options))

    def process(self, batch: list[tuple[str, list[str]]]) -> Iterator[dict[str, object]]:
        """Yields the list of each user."""
        users, histories = zip(*batch, strict=True)
        users = UserBatch.of(list(users), [list(one) for one in histories])
        lists, items = self._recommender.recommend(users), self._recommender.source.items
        yield from list_table(users.users, items, lists, nested=True).iter_rows(named=True)
