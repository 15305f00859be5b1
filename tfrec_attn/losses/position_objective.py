"""The training objective of sequences with targets at many positions."""

import itertools
from typing import ClassVar

import tensorflow as tf

from tfrec_attn import losses
from tfrec_attn.losses.features import inputs_of, latest_events
from tfrec_attn.losses.objective import STREAMS, Objective, catalogue_loss, position_loss
from tfrec_attn.losses.packing import pack

# The sequences of a batch, sorted by length, are cut into groups at these shares. In most logs,
# half of the sequences are short and few are long.
_LENGTH_QUANTILES = (0.5, 0.75, 0.9)
# A smaller batch is one group, because another group costs more than the padding of a few rows.
_ROWS_TO_SPLIT = 100


class PositionObjective(Objective):
    """The loss of sequences at all positions with a target; a target 0 stands for none.

    Features: "user" [B], "history" [B, L], "targets" [B, L], "normalizer" [B]; "negatives"
    [B, L, K] for each target, or [B, K] for the whole batch; optionally "sample_weight" [B, L].
    Exact softmax and distillation share one pass over the catalogue.
    """

    ndims: ClassVar = {**Objective.ndims, "normalizer": 1}

    def __init__(self, loss, *arguments):
        super().__init__(loss, *arguments)
        self.shared = ("negatives",) if loss.negatives == "shared" else ()

    def check(self, model, features):
        """Checks that a batch has the features of the loss, and a target for each position."""
        super().check(model, features)
        history, targets = features["history"].shape, features["targets"].shape
        if not history.is_compatible_with(targets):
            raise ValueError(
                f"targets of {STREAMS[model.trains_on]}, on which {type(model).__name__} trains, "
                f"must have the shape of the history, {history}, but have {targets}."
            )

    def __call__(self, model, features, training, micro_batches=1):
        queries, items, targets, weights, *negatives = self._positions(model, features, training)
        # The distillation takes the target of a masked position as its item.
        items = tf.where(items > model.num_items, targets, items)
        terms, rest = [], 0.0
        if self.distillation is not None:
            terms, rest = self.distillation.terms(model, items, weights, training)
        if self.loss.function is losses.softmax:
            terms.append((queries, targets - 1, weights))
        else:
            if self.shared:
                negatives = [tf.reshape(features["negatives"], [-1])]
            rest += position_loss(
                self.loss, self.keywords, model, queries, targets, *(negatives or [None]), weights
            )
        loss = catalogue_loss(model, terms, self.softmax_precision) + rest
        return loss, loss, tf.reduce_sum(weights)

    def _positions(self, model, features, training):
        """Returns queries, input items, targets, weights and negatives of positions with a target.

        To compute little padding, sequences are packed into few rows. For a model without
        `packs_sequences`, they are grouped by length instead.
        """
        inputs, labels = inputs_of(features), [features["targets"], self._weights(features)]
        if self.loss.negatives == "per_target":
            labels.append(features["negatives"])
        if not model.packs_sequences:
            return _of_groups(model, inputs, labels, training)
        _require_length(inputs["history"], model.max_length)
        rows, places = pack(inputs)
        vectors = _flat(model.sequence_vectors(rows, training=training))
        real = tf.where(features["targets"] > 0)
        values = [inputs["history"], *labels]
        return [
            tf.gather(vectors, tf.gather_nd(places, real)),
            *(tf.gather_nd(value, real) for value in values),
        ]

    def _weights(self, features):
        """Returns the weight of each position in the loss, [B, L]."""
        weights = tf.broadcast_to(
            features["normalizer"][:, tf.newaxis], tf.shape(features["targets"])
        )
        weights = weights if self.reduction == "mean" else tf.ones_like(weights)
        return weights * features["sample_weight"] if "sample_weight" in features else weights


def _require_length(history, most):
    """Checks that no sequence to be packed has more events than a model has positions."""
    columns = history.shape[1]
    if columns is not None and columns <= most:
        return
    longest = tf.reduce_max(tf.reduce_sum(tf.cast(history > 0, tf.int32), axis=1))
    tf.debugging.assert_less_equal(
        longest, most, f"A history must have at most max_length = {most} events in training."
    )


def _of_groups(model, inputs, labels, training):
    """Returns queries, input items and labels of positions with a target.

    The model computes a few groups of sequences of similar length. Each group is cropped to its
    longest sequence.

    Args:
        model: A `SequenceModel`.
        inputs: Features of B sequences.
        labels: [B, L, ...], the targets first.
        training: Whether to apply dropout.
    """
    rows = labels[0].shape[0]
    lengths = tf.reduce_sum(tf.cast(inputs["history"] > 0, tf.int64), axis=1)
    order = tf.cast(tf.argsort(lengths), tf.int64)
    shares = _LENGTH_QUANTILES if (rows or 0) >= _ROWS_TO_SPLIT else ()
    cuts = [int(rows * share) for share in shares]
    parts = [order[begin:end] for begin, end in itertools.pairwise([0, *filter(None, cuts), None])]
    # A GPU waits for its host once for the lengths of all parts, and once for the targets below.
    widths = tf.stack([tf.reduce_max(tf.gather(lengths, chosen)) for chosen in parts])
    widths = tf.unstack(tf.cast(tf.maximum(widths, 1), tf.int32))
    groups = []
    for chosen, longest in zip(parts, widths, strict=True):
        group = latest_events(
            {name: tf.gather(value, chosen) for name, value in inputs.items()}, longest
        )
        vectors = model.sequence_vectors(group, training=training)
        values = [
            vectors,
            group["history"],
            *(tf.gather(label, chosen)[:, -longest:] for label in labels),
        ]
        groups.append([_flat(value) for value in values])
    vectors, items, targets, *others = (
        tf.concat(values, axis=0) for values in zip(*groups, strict=True)
    )
    real = tf.where(targets > 0)[:, 0]
    return [tf.gather(value, real) for value in (vectors, items, targets, *others)]


def _flat(value):
    """Returns [B, L, ...] as [B * L, ...]."""
    return tf.reshape(value, tf.concat([[-1], tf.shape(value)[2:]], axis=0))
