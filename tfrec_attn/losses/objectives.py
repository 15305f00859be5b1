"""Training objectives: the loss of a batch, made from a model's query and item vectors.

An objective is called with (model, features, training, micro_batches) and returns (loss to
minimise, summed loss of the examples, number of examples). Features can come from one replica, and
from one of several micro-batches. The losses of all replicas and micro-batches add up to the loss
of the whole batch. Replicas exchange no counts: the weight of an example is a feature, or follows
from the number of examples of the replica.
"""

import itertools
import math
from typing import ClassVar

import tensorflow as tf

from tfrec_attn import losses
from tfrec_attn.layers.rows import gather_dot, without_padding
from tfrec_attn.layers.whole_tables import whole_tables
from tfrec_attn.losses.features import inputs_of, latest_events
from tfrec_attn.losses.packing import pack

# The sequences of a batch, sorted by length, are cut into groups at these shares. In most logs,
# half of the sequences are short and few are long.
_LENGTH_QUANTILES = (0.5, 0.75, 0.9)
# A smaller batch is one group, because another group costs more than the padding of a few rows.
_ROWS_TO_SPLIT = 100

# `trains_on` of a model -> class of its batches.
_STREAMS = {"windows": "Windows", "next_items": "NextItems", "masked_items": "MaskedItems"}


class Distillation:
    """Distillation of item transitions, which adds a loss to an objective.

    Args:
        layer: A `TransitionDistillation`, or a layer with the same arguments of `call`, such as
            `GraphRegularization`.
        weight: Weight of the loss of the layer.
    """

    def __init__(self, layer, weight):
        self.layer = layer
        self.weight = weight

    def terms(self, model, items, weights, training):
        """Returns the loss as softmax losses over the catalogue and a remainder.

        Args:
            model: A `SequenceModel`.
            items: Input items, int [P].
            weights: Weight of each item in the loss, [P].
            training: Whether to apply dropout.

        Returns:
            (list of (queries, targets from 0, weights), remainder).
        """
        vectors = model.item_vectors()
        if not hasattr(self.layer, "softmax_terms"):
            return [], self.weight * self.layer(items, vectors, weights)
        queries, targets, weights, remainder = self.layer.softmax_terms(
            items, vectors, weights, training
        )
        return [(queries, targets, self.weight * weights)], self.weight * remainder


class _Objective:
    """Base of the objectives, each for one kind of batches.

    Args:
        loss: A `Loss` that takes these batches.
        reduction: "sum" or "mean" over the examples.
        distillation: A `Distillation`, or None.
        keywords: Further keyword arguments of the function of the loss.
        softmax_precision: Type of the matrix products of softmax losses.

    Attributes:
        shared: Names of the features that each micro-batch gets as a whole.
        ndims: Number of dimensions of each feature.
        smoothing: An `EmbeddingSmoothing` of the item vectors in the loss, or None.
    """

    shared = ()
    smoothing = None
    ndims: ClassVar[dict[str, int]] = {"user": 1, "history": 2, "targets": 2}

    def __init__(self, loss, reduction, distillation, keywords, softmax_precision):
        self.loss = loss
        self.reduction = reduction
        self.distillation = distillation
        self.keywords = keywords
        self.softmax_precision = softmax_precision

    def check(self, model, features):
        """Checks that a batch has the features of the loss.

        Raises:
            ValueError: If a feature is missing or has another number of dimensions.
        """
        expected = dict(self.ndims)
        if self.loss.negatives != "none":
            expected["negatives"] = 2 if self.shared else 3
        features = features if isinstance(features, dict) else {}
        found = {name: len(value.shape) for name, value in features.items()}
        for name, ndim in expected.items():
            if found.get(name) != ndim:
                came = f"has {found[name]}" if name in found else "is missing"
                raise ValueError(
                    f"A batch of {_STREAMS[model.trains_on]}, on which {type(model).__name__} "
                    f"trains, must have the feature {name} of {ndim} dimensions for this loss, "
                    f"but it {came}."
                )


class WindowObjective(_Objective):
    """The loss of windows; a target 0 is padding.

    Features: "user" [B], "history" [B, L], "targets" [B, T], "negatives" [B, T or 1, K], and
    optionally "sample_weight" [B] with "normalizer" [B], 1 / sum of the weights of the whole batch.
    In a distillation, a window has the same weight as in the loss, divided equally among its items.
    """

    def __call__(self, model, features, training, micro_batches=1):
        queries = model.queries(features, training)
        count = tf.cast(tf.shape(queries)[0], tf.float32)
        sample_weight, weight = features.get("sample_weight"), 1.0
        if self.reduction == "mean":
            replicas = tf.distribute.get_replica_context().num_replicas_in_sync
            weight = (
                tf.math.divide_no_nan(1.0, count * replicas * micro_batches)
                if sample_weight is None
                # The batch of a replica can be empty.
                else tf.reduce_sum(features["normalizer"][:1])
            )
        summed = self._sum_over_scores if self.loss.of == "scores" else self._sum_over_positions
        total = summed(model, queries, features, sample_weight)
        loss = total * weight
        if self.distillation is not None:
            weights = weight if sample_weight is None else weight * sample_weight[:, tf.newaxis]
            loss += self._distillation_loss(model, features["history"], weights, training)
        return loss, total, count if sample_weight is None else tf.reduce_sum(sample_weight)

    def _sum_over_scores(self, model, queries, features, sample_weight):
        """Returns the summed loss of a function of scores."""
        targets, negatives = features["targets"], features["negatives"]
        candidates = tf.concat(
            [targets, tf.reshape(negatives, [tf.shape(negatives)[0], -1])], axis=1
        )
        scores = gather_dot(queries, *_candidate_vectors(model, candidates))
        positive, negative = tf.split(scores, [targets.shape[1], -1], axis=1)
        windows = self.loss.function(
            positive, tf.reshape(negative, tf.shape(negatives)), targets > 0, **self.keywords
        )
        return tf.reduce_sum(windows if sample_weight is None else windows * sample_weight)

    def _sum_over_positions(self, model, queries, features, sample_weight):
        """Returns the summed loss of a function of positions, one for each real target."""
        targets = features["targets"]
        real = tf.where(targets > 0)
        window = real[:, 0]
        if sample_weight is None:
            weights = tf.ones_like(window, tf.float32)
        else:
            weights = tf.gather(sample_weight, window)
        negatives = None
        if self.loss.negatives == "per_target":
            negatives = features["negatives"]
            shape = tf.concat([tf.shape(targets), tf.shape(negatives)[2:]], axis=0)
            negatives = tf.gather_nd(tf.broadcast_to(negatives, shape), real)
        queries, targets = tf.gather(queries, window), tf.gather_nd(targets, real)
        return _position_loss(self.loss, self.keywords, model, queries, targets, negatives, weights)

    def _distillation_loss(self, model, history, weight, training):
        real = tf.cast(history > 0, tf.float32)
        weights = tf.broadcast_to(
            weight / tf.reduce_sum(real, axis=1, keepdims=True), tf.shape(history)
        )
        event = tf.where(history > 0)
        terms, remainder = self.distillation.terms(
            model, tf.gather_nd(history, event), tf.gather_nd(weights, event), training
        )
        return _catalogue_loss(model, terms, self.softmax_precision) + remainder


class PositionObjective(_Objective):
    """The loss of sequences at all positions with a target; a target 0 stands for none.

    Features: "user" [B], "history" [B, L], "targets" [B, L], "normalizer" [B]; "negatives"
    [B, L, K] for each target, or [B, K] for the whole batch; optionally "sample_weight" [B, L].
    Exact softmax and distillation share one pass over the catalogue.
    """

    ndims: ClassVar = {**_Objective.ndims, "normalizer": 1}

    def __init__(self, loss, *arguments):
        super().__init__(loss, *arguments)
        self.shared = ("negatives",) if loss.negatives == "shared" else ()

    def check(self, model, features):
        """Checks that a batch has the features of the loss, and a target for each position."""
        super().check(model, features)
        history, targets = features["history"].shape, features["targets"].shape
        if not history.is_compatible_with(targets):
            raise ValueError(
                f"targets of {_STREAMS[model.trains_on]}, on which {type(model).__name__} trains, "
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
            rest += _position_loss(
                self.loss, self.keywords, model, queries, targets, *(negatives or [None]), weights
            )
        loss = _catalogue_loss(model, terms, self.softmax_precision) + rest
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


OBJECTIVES = {
    "windows": WindowObjective,
    "next_items": PositionObjective,
    "masked_items": PositionObjective,
}


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


def _position_loss(loss, keywords, model, queries, targets, negatives, weights):
    """Returns the weighted sum of a loss over positions.

    Args:
        loss: A `Loss`.
        keywords: Further keyword arguments of its function.
        model: A `SequenceModel`.
        queries: [P, D].
        targets: Items 1..N, [P].
        negatives: Items [P, K] or [K], or None.
        weights: [P].
    """
    if loss.negatives == "none":
        return loss.function(
            queries, without_padding(model.item_vectors()), targets - 1, weights=weights, **keywords
        )
    unique, index = tf.unique(tf.concat([targets, tf.reshape(negatives, [-1])], axis=0), tf.int64)
    count = tf.size(targets)
    target, negative = index[:count], tf.reshape(index[count:], tf.shape(negatives))
    rows = model.item_vectors(unique)
    if loss.of == "scores":
        scores = gather_dot(queries, rows, tf.concat([target[:, tf.newaxis], negative], axis=1))
        positive, negative = scores[:, :1], scores[:, tf.newaxis, 1:]
        return tf.reduce_sum(
            weights * loss.function(positive, negative, tf.ones_like(positive, tf.bool), **keywords)
        )
    if "log_q" in keywords:
        log_q = keywords["log_q"]
        if log_q is None:
            log_q = tf.fill([tf.size(unique)], -math.log(model.num_items))
        else:
            log_q = tf.gather(log_q, unique - 1)
        keywords = {**keywords, "log_q": log_q}
    return loss.function(queries, rows, target, negative, weights=weights, **keywords)


def _candidate_vectors(model, items):
    """Returns (item vectors [R, D'], row of each item [B, C]) for some items [B, C]."""
    whole, tables = whole_tables(), model.item_columns()
    if tables and all(table in whole for table in tables):
        with whole.only(items):
            return model.item_vectors(), items
    unique, index = tf.unique(tf.reshape(items, [-1]), tf.int64)
    return model.item_vectors(unique), tf.reshape(index, tf.shape(items))


def _flat(value):
    """Returns [B, L, ...] as [B * L, ...]."""
    return tf.reshape(value, tf.concat([[-1], tf.shape(value)[2:]], axis=0))


def _catalogue_loss(model, terms, precision):
    """Returns the summed softmax loss of several (queries, targets from 0, weights) in one pass."""
    if not terms:
        return 0.0
    queries, targets, weights = (tf.concat(parts, axis=0) for parts in zip(*terms, strict=True))
    items = without_padding(model.item_vectors())
    return losses.softmax(queries, items, targets, weights, products=precision)
