"""Training diagnostics: figures that show whether a model has collapsed."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.held_out import HeldOut
from tfrec_attn.keras_versions.variables import variable_of

_MAX_USERS = 1000
_MAX_SCORES = 1 << 28
_K = 10


def count_not_finite(variables: list[tf.Variable]) -> dict[str, int]:
    """Returns the number of values that are not finite, by variable with such values."""
    floating = [one for one in map(variable_of, variables) if one.dtype.is_floating]
    # Tracing so few operations takes longer than a graph saves in a hundred epochs.
    found = ((one.name, tf.math.is_finite(tf.convert_to_tensor(one))) for one in floating)
    return {
        name: int(tf.math.count_nonzero(~finite))
        for name, finite in found
        if not tf.reduce_all(finite)
    }


def first_not_finite(model: Any) -> str | None:
    """Describes the first weight, or else slot, of a compiled model that is not finite, or None."""
    found = count_not_finite(model.trainable_variables)
    found = found or count_not_finite(model.optimizer.variables)
    if not found:
        return None
    (name, count), *others = found.items()
    rest = f", and {len(others)} more variables have such" if others else ""
    return f"{name} has {count:,} values that are not finite{rest}"


class Diagnostics:
    """Figures about the recommendations and the weights of a model.

    The recommendations are the best of all items, also of seen ones, for up to 1,000 held-out
    users. The figures are:

    - `top1_share`: share of users whose best item is the most common best item, in 0..1.
    - `distinct_top10`: number of different items in the ten best of all users.
    - `largest_item_norm`: largest norm of a row of the item tables.
    - `not_finite`: number of values in the trainable weights that are not finite.

    Args:
        model: A `SequenceModel`.
        held_out: The validation events.
    """

    def __init__(self, model: Any, held_out: HeldOut):
        self.model = model
        count = min(len(held_out), _MAX_USERS, max(1, _MAX_SCORES // model.num_items))
        self._blocks = [(block["user"], block["history"]) for block in held_out.sample(count)]
        self._users = count
        specs = [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None], tf.int32)]
        self._traced = tf.function(self._top_items, input_signature=specs, autograph=False)
        self.common_item = 0

    def __call__(self) -> dict[str, float]:
        """Returns the figures, and sets `common_item` to the most common best item."""
        top_items = self._top_items if self.model.run_eagerly else self._traced
        top = np.concatenate([top_items(*block).numpy() for block in self._blocks])
        items, counts = np.unique(top[:, 0], return_counts=True)
        self.common_item = int(items[np.argmax(counts)])
        tables = [tf.cast(table, tf.float32) for table in self.model.tables("items")]
        norm = max(tf.reduce_max(tf.norm(table, axis=1)) for table in tables)
        return {
            "top1_share": float(counts.max() / len(top)),
            "distinct_top10": len(np.unique(top)),
            "largest_item_norm": float(norm),
            "not_finite": sum(count_not_finite(self.model.trainable_variables).values()),
        }

    def describe(self, figures: dict[str, float]) -> str:
        """Returns the figures as a line, with a warning if all users get the same best item."""
        line = (
            f"diagnostics: the most common top item is that of {figures['top1_share']:.1%} of "
            f"users, {figures['distinct_top10']} items in the top {_K}, largest item norm "
            f"{figures['largest_item_norm']:.4g}, {figures['not_finite']} values not finite"
        )
        if figures["top1_share"] < 1.0 or self._users == 1:
            return line
        vocabulary = self.model.item_vocabulary
        name = self.common_item if vocabulary is None else vocabulary.ids([self.common_item])[0]
        return (
            f"{line}\nwarning: all users get the same top item, {name}; "
            "if this continues, lower train.learning_rate or change the loss."
        )

    def _top_items(self, user, history):
        scores = self.model.untrained_last(self.model.scores({"user": user, "history": history}))
        return tf.math.top_k(scores, min(_K, self.model.num_items)).indices + 1
