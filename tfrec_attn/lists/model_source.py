"""A `SequenceModel`, such as the model of a run, as a source of lists."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_attn.errors import ConfigError
from tfrec_attn.lists.source import Queries, Source
from tfrec_attn.lists.user_histories import Histories
from tfrec_attn.models.base import SequenceModel
from tfrec_attn.models.base.similarity import item_space
from tfrec_attn.runs import run
from tfrec_attn.runs.items import described, load_items
from tfrec_attn.runtime.process import set_precision


class ModelSource(Source):
    """A `SequenceModel` as a source.

    Args:
        model: A model with `popularity`, an `item_vocabulary` and, if it `uses_user`, a
            `user_vocabulary`.
        path: Folder of the model.

    Raises:
        ConfigError: If the model needs the time since the latest event.
    """

    def __init__(self, model: SequenceModel, path: Path):
        if model.gap_parameter and getattr(model, model.gap_parameter) is not None:
            name = model.gap_parameter
            raise ConfigError(
                f"model.{name}={getattr(model, name)} needs the time since the latest event, which "
                f"lists for later do not have; train with model.{name}=null."
            )
        self._model, self.path = model, path
        self.items = model.item_vocabulary.ids()
        self.vectors = model.item_vectors().numpy()[1:]
        self.points = item_space(model, self.vectors.shape[1]).points
        trained = model.trained_items
        self.trained = np.ones(model.num_items, bool) if trained is None else trained
        self.popularity, self.keep_seen = model.popularity, model.repeats == "include"
        self._traced = tf.function(
            self._trace,
            input_signature=[
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None, model.max_length], tf.int32),
            ],
            autograph=False,
        )

    @classmethod
    def of_run(cls, folder: Path) -> "ModelSource":
        """Returns the model of a run with its best weights, in float32 as in an export.

        Raises:
            ConfigError: If the folder is not a finished run, or is damaged.
        """
        set_precision("float32")
        source, table = cls(run.load_model(folder), folder), load_items(folder)
        if table is not None:
            source.categories = [category for _, category in described(table)]
        return source

    def queries(self, users: list[str], histories: Histories) -> Queries:
        """Returns the queries of users with histories."""
        rows = np.zeros(len(users), np.int32)
        if self._model.uses_user:
            rows = self._model.user_vocabulary.lookup(users)
        latest = histories.latest(self._model.max_length)
        vectors, prior, nothing = self._traced(tf.constant(rows), tf.constant(latest))
        prior = tuple(part.numpy() for part in prior) or None
        return Queries(vectors.numpy(), prior, nothing.numpy())

    def _trace(self, user, history):
        features = {"user": user, "history": history}
        query = self._model.query(features)
        return query.vectors, query.prior or (), self._model.knows_nothing(features)
