"""What tells a model that learns from one that has collapsed, at the price of a few hundred
answers.
"""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.held_out import HeldOut

_USERS = 1000
_SCORES = 1 << 28
_K = 10


def count_not_finite(variables) -> dict[str, int]:
    """Name -> how many values are infinite or not a number, of the variables that have such."""
    floating = [variable for variable in variables if variable.dtype.is_floating]
    counts = (
        _not_finite([tf.convert_to_tensor(variable) for variable in floating]).numpy()
        if floating
        else []
    )
    return {
        variable.name: int(count) for variable, count in zip(floating, counts, strict=True) if count
    }


def first_not_finite(model) -> str | None:
    """In words, the first weight of a compiled model that is not finite in its entirety, else such
    a slot of its optimizer, or None.
    """
    found = count_not_finite(model.trainable_variables) or count_not_finite(
        model.optimizer.variables
    )
    if not found:
        return None
    (name, count), *others = found.items()
    rest = f", and {len(others)} more variables have such" if others else ""
    return f"{name} has {count:,} values that are not finite{rest}"


class Health:
    """A few figures about what a model answers: {"top1_share", "distinct_top10",
    "largest_item_norm", "not_finite"}.

    The answers are the best items of up to 1,000 held-out users, evenly spread over the blocks,
    among all items, seen or not: how many of the users have the most common first item as theirs,
    in 0..1; how many different items stand in the first ten of all; the largest norm of a row in
    the tables of items; and how many values in the trainable weights are not finite.

    Args:
      model: a `SequenceModel`.
      held_out: the validation events.
    """

    def __init__(self, model, held_out: HeldOut):
        self.model = model
        count = min(len(held_out), _USERS, max(1, _SCORES // model.num_items))
        self._blocks = [(block["user"], block["history"]) for block in held_out.sample(count)]
        self._users = count
        specs = [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None], tf.int32)]
        self._top_items = tf.function(self._top_items, input_signature=specs)
        self._largest_norm = tf.function(self._largest_norm)
        self.common_item = 0

    def __call__(self) -> dict[str, float]:
        """The figures for the model as it is; `common_item` is then the most common first item."""
        top = np.concatenate([self._top_items(*block).numpy() for block in self._blocks])
        items, counts = np.unique(top[:, 0], return_counts=True)
        self.common_item = int(items[np.argmax(counts)])
        return {
            "top1_share": float(counts.max() / len(top)),
            "distinct_top10": len(np.unique(top)),
            "largest_item_norm": float(self._largest_norm()),
            "not_finite": sum(count_not_finite(self.model.trainable_variables).values()),
        }

    def describe(self, figures: dict[str, float]) -> str:
        """The figures in a line, with a warning below it when everyone gets the same first item."""
        line = (
            f"health: the most common top item is that of {figures['top1_share']:.1%} of users, {figures['distinct_top10']} items in "
            f"the top {_K}, largest item norm {figures['largest_item_norm']:.4g}, {figures['not_finite']} values not finite"
        )
        if figures["top1_share"] < 1.0 or self._users == 1:
            return line
        vocabulary = self.model.item_vocabulary
        name = self.common_item if vocabulary is None else vocabulary.ids([self.common_item])[0]
        return f"{line}\nwarning: every user gets the same top item, {name}; if it stays so, lower train.learning_rate or change the loss."

    def _top_items(self, user, history):
        scores = self.model.untrained_last(self.model.scores({"user": user, "history": history}))
        return tf.math.top_k(scores, min(_K, self.model.num_items)).indices + 1

    def _largest_norm(self):
        squares = [
            tf.reduce_max(tf.reduce_sum(tf.square(tf.cast(table, tf.float32)), axis=1))
            for table in self.model.tables("items")
        ]
        return tf.sqrt(tf.reduce_max(squares))


@tf.function(reduce_retracing=True)
def _not_finite(values):
    return tf.stack(
        [tf.reduce_sum(tf.cast(~tf.math.is_finite(value), tf.int64)) for value in values]
    )
