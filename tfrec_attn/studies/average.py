"""An average of the scores of finished runs, as one model."""

import json
from pathlib import Path

import tensorflow as tf

from tfrec_attn import models
from tfrec_attn.data.sequences.splits import split_checksum
from tfrec_attn.errors import ConfigError
from tfrec_attn.losses.features import latest_events
from tfrec_attn.models import SequenceModel
from tfrec_attn.runs import run, run_files
from tfrec_attn.training.transfer import copy_weights


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class Average(SequenceModel):
    """Scores items by a weighted sum of the scores of several trained models.

        score(j) = sum over the models m of w_m (q_m . v_mj)

    A model that uses histories is left out for a user of whom it knows nothing, because its query
    has no meaning there. The vectors of the models are concatenated, so the sum is an inner product
    and is exported and served as that of any model. `count` copies the weights of the runs.

    Args:
        num_users: M.
        num_items: N.
        max_length: L, the longest history of a member. Default 50.
        members: For each model a dictionary of "run" (folder), "name", "max_length", "weight" (w_m)
            and "parameters" (keywords of its constructor).

    Shapes:
        "user" int [B], "history" int [B, L] -> queries [B, sum of D_m]; items [N + 1, sum of D_m].

    Raises:
        ValueError: If there are no members.
    """

    trains_on = "counts"
    joins_runs = True

    def __init__(self, num_users, num_items, max_length=50, *, members=None, **kwargs):
        super().__init__(num_users, num_items, max_length, **kwargs)
        if not members:
            raise ValueError(
                "model.members must be the averaged models; write them with "
                "python -m tfrec_attn.average."
            )
        # Keras wraps lists and dictionaries in types that it cannot write to a file.
        self._members = json.dumps(members)
        self.models = [
            models.get(one["name"])(num_users, num_items, one["max_length"], **one["parameters"])
            for one in members
        ]
        self.uses_user = any(one.uses_user for one in self.models)
        self.uses_history = any(one.uses_history for one in self.models)

    @property
    def members(self):
        """The argument of the constructor."""
        return json.loads(self._members)

    def query_vectors(self, features, training=False):
        parts = []
        for one, member in zip(self.members, self.models, strict=True):
            inputs = latest_events(features, member.max_length)
            query = member.query_vectors(inputs, training=training)
            if member.uses_history:
                nothing = member.knows_nothing(inputs)[:, tf.newaxis]
                query = tf.where(nothing, tf.zeros_like(query), query)
            parts.append(one["weight"] * query)
        return tf.concat(parts, axis=1)

    def item_vectors(self, items=None):
        return tf.concat([member.item_vectors(items) for member in self.models], axis=1)

    def item_columns(self):
        columns, first = {}, 0
        for member in self.models:
            columns |= {table: first + column for table, column in member.item_columns().items()}
            first += member.item_vectors(tf.zeros([1], tf.int32)).shape[1]
        return columns

    def summands(self):
        factors = [one["weight"] for one in self.members]
        return list(zip(factors, self.models, strict=True))

    def for_serving(self):
        served = [model.for_serving() for model in self.models]
        if all(one is model for one, model in zip(served, self.models, strict=True)):
            return self
        members = [
            {**one, "parameters": _parameters(model)}
            for one, model in zip(self.members, served, strict=True)
        ]
        result = type(self).from_config({**self.get_config(), "members": members})
        for target, source in zip(result.models, served, strict=True):
            copy_weights(source, target)
        return result

    def count(self, split):
        """Copies the weights of the runs; a user is known only if all runs know the user.

        Raises:
            ConfigError: If a run is damaged, or was trained on other events.
        """
        for one, member in zip(self.members, self.models, strict=True):
            folder = Path(one["run"])
            if run_files.load_metrics(folder)["data"]["sha256"] != split_checksum(split):
                raise ConfigError(
                    f"{folder} was trained on other events than the log has now; "
                    "average runs of the same log."
                )
            trained = run.load_model(folder)
            copy_weights(trained, member)
            if trained.uses_user and trained.trained_users is not None:
                known = self.trained_users
                both = trained.trained_users if known is None else known & trained.trained_users
                self.trained_users = both


def _parameters(model):
    """Returns the arguments of a model, except those that the data decide."""
    decided = ("num_users", "num_items", "max_length")
    return {key: value for key, value in model.get_config().items() if key not in decided}
