"""What a step of training minimises: how a batch and a model's vectors become a loss.

An objective is called with (model, features, training, parts) and returns (loss to minimise, summed
loss of the examples, their number). Features can come from one replica, and from one of several
micro-batches. Weights come with the batch or from its static size, so that replicas need not
exchange counts; the losses of all replicas and micro-batches add up to that of the whole batch.
Features named in `shared` belong to the whole batch and go with each of its micro-batches.
"""

import itertools
import math

import tensorflow as tf

from tfrec_attn import losses
from tfrec_attn.layers.rows import gather_dot, without_padding

# Half of the sequences of most logs are short and few are long: shares of a batch at which its
# sequences, by length, are cut into groups.
_LENGTH_QUANTILES = (0.5, 0.75, 0.9)

# What a batch holds beside the features that a query is made of.
_LABELS = ("targets", "negatives", "normalizer", "sample_weight", "target", "seen")


def inputs_of(features):
    """Returns the features that a query is made of, without targets, negatives and weights."""
    return {name: value for name, value in features.items() if name not in _LABELS}


def latest(inputs, length):
    """Returns features with the latest `length` columns of those that have a value for each event."""
    return {
        name: value[:, -length:] if len(value.shape) > 1 else value
        for name, value in inputs.items()
    }


def parts_of(features, count, whole):
    """A batch in `count` equal parts, one after the other; the features named in `whole` go with
    each.

    Errors: ValueError when the batch cannot be cut into equal parts.
    """
    if count == 1:
        return [features]
    rows = features["user"].shape[0]
    if rows is not None and rows % count:
        raise ValueError(
            f"accumulate must divide the examples of a batch on each replica, {rows}, but is {count}."
        )
    cut = {
        key: [value] * count if key in whole else tf.split(value, count)
        for key, value in features.items()
    }
    return [{key: values[part] for key, values in cut.items()} for part in range(count)]


class Distilled:
    """Distillation of transitions into item vectors, as an addition to any objective.

    Args:
      layer: a `TransitionDistillation`.
      weight: of its loss.
    """

    def __init__(self, layer, weight):
        self.layer = layer
        self.weight = weight

    def terms(self, model, items, weights, training):
        """Of input items [P] with weights [P], those that their positions have in the loss:
        ((queries, targets, weights), rest).
        """
        queries, targets, weights, rest = self.layer.softmax_terms(
            items, model.item_vectors(), weights, training
        )
        return (queries, targets, self.weight * weights), self.weight * rest


class WindowObjective:
    """Windows: {"user" [B], "history" [B, L], "targets" [B, T], "negatives" [B, T or 1, K]};
    targets that are 0 are padding.

    With "sample_weight" [B] each window counts so many times; "normalizer" [B] is then one over its
    sum over the whole batch.

    Args:
        loss: A `Loss` that takes windows.
        reduction: "sum" or "mean" over the windows.
        distilled: A `Distilled`, or None; each window weighs as in the loss, and each item of a
            window the same.
        keywords: Further keywords of the loss's function.
    """

    shared = ()

    def __init__(self, loss, reduction, distilled, keywords):
        self.loss = loss
        self.reduction = reduction
        self.distilled = distilled
        self.keywords = keywords

    def __call__(self, model, features, training, parts=1):
        queries = model.queries(features, training)
        count = tf.cast(tf.shape(queries)[0], tf.float32)
        sample_weight, weight = features.get("sample_weight"), 1.0
        if self.reduction == "mean":
            replicas = tf.distribute.get_replica_context().num_replicas_in_sync
            weight = (
                1.0 / (count * replicas * parts)
                if sample_weight is None
                else features["normalizer"][0]
            )
        by_window = self._by_window if self.loss.of == "scores" else self._by_target
        total = by_window(model, queries, features, sample_weight)
        loss = total * weight
        if self.distilled is not None:
            weights = weight if sample_weight is None else weight * sample_weight[:, tf.newaxis]
            loss += self._distilled(model, features["history"], weights, training)
        return loss, total, count if sample_weight is None else tf.reduce_sum(sample_weight)

    def _by_window(self, model, queries, features, sample_weight):
        """The summed loss of the windows by a function of scores."""
        targets, negatives = features["targets"], features["negatives"]
        candidates = tf.concat(
            [targets, tf.reshape(negatives, [tf.shape(negatives)[0], -1])], axis=1
        )
        distinct, local = tf.unique(tf.reshape(candidates, [-1]))
        scores = gather_dot(
            queries, model.item_vectors(distinct), tf.reshape(local, tf.shape(candidates))
        )
        positive, negative = tf.split(scores, [targets.shape[1], -1], axis=1)
        windows = self.loss.function(
            positive, tf.reshape(negative, tf.shape(negatives)), targets > 0, **self.keywords
        )
        return tf.reduce_sum(windows if sample_weight is None else windows * sample_weight)

    def _by_target(self, model, queries, features, sample_weight):
        """The summed loss of the windows by a function of positions: each real target is one."""
        targets = features["targets"]
        real = tf.where(targets > 0)
        window = tf.cast(real[:, 0], tf.int32)
        weights = (
            tf.ones_like(window, tf.float32)
            if sample_weight is None
            else tf.gather(sample_weight, window)
        )
        negatives = None
        if self.loss.negatives == "own":
            negatives = features["negatives"]
            shape = tf.concat([tf.shape(targets), tf.shape(negatives)[2:]], axis=0)
            negatives = tf.gather_nd(tf.broadcast_to(negatives, shape), real)
        return _position_loss(
            self.loss,
            self.keywords,
            model,
            tf.gather(queries, window),
            tf.gather_nd(targets, real),
            negatives,
            weights,
        )

    def _distilled(self, model, history, weight, training):
        real = history > 0
        weights = tf.broadcast_to(
            weight / tf.reduce_sum(tf.cast(real, tf.float32), axis=1, keepdims=True),
            tf.shape(history),
        )
        terms, rest = self.distilled.terms(
            model, tf.boolean_mask(history, real), tf.boolean_mask(weights, real), training
        )
        return _catalogue_loss(model, [terms]) + rest


class PositionObjective:
    """Sequences of which every position with a target trains.

    Features: {"user" [B], "history" [B, L], "targets" [B, L], "normalizer" [B]}, 0 is no target;
    and "negatives", [B, L, K] for a loss with negatives of its own, else [B, K], shared by the
    whole batch. With "sample_weight" [B, L] each position counts so many times.

    Args:
        loss: A `Loss` that takes positions.
        reduction: "sum" over the positions, or "mean", by the weights of the batch.
        distilled: A `Distilled`, or None; it goes through the same pass over the catalogue as the
            exact softmax.
        keywords: Further keywords of the loss's function.
    """

    def __init__(self, loss, reduction, distilled, keywords):
        self.loss = loss
        self.reduction = reduction
        self.distilled = distilled
        self.keywords = keywords
        self.shared = ("negatives",) if loss.negatives == "shared" else ()

    def __call__(self, model, features, training, parts=1):
        queries, items, targets, used, *negatives = self._positions(model, features, training)
        # A masked item is what its target says.
        items = tf.where(items > model.num_items, targets, items)
        terms, rest = [], 0.0
        if self.distilled is not None:
            distilled, rest = self.distilled.terms(model, items, used, training)
            terms.append(distilled)
        if self.loss.function is losses.softmax:
            terms.append((queries, targets - 1, used))
        else:
            negatives = (
                tf.reshape(features["negatives"], [-1])
                if self.shared
                else negatives[0]
                if negatives
                else None
            )
            rest += _position_loss(
                self.loss, self.keywords, model, queries, targets, negatives, used
            )
        loss = _catalogue_loss(model, terms) + rest if terms else rest
        return loss, loss, tf.reduce_sum(used)

    def _positions(self, model, features, training):
        """Queries [P, D], input items [P], targets [P], weights [P] in the loss and own negatives
        [P, K] of the positions with a target.

        Sequences are taken in a few groups of similar length, each cropped to its longest, so that
        little padding is computed. Which sequences a batch holds does not depend on their length.
        """
        history, targets = features["history"], features["targets"]
        lengths = tf.reduce_sum(tf.cast(history > 0, tf.int32), axis=1)
        order = tf.argsort(lengths)
        per_position = {"targets": targets, "used": self._counted(features)}
        if self.loss.negatives == "own":
            per_position["negatives"] = features["negatives"]
        rows = history.shape[0]
        cuts = [int(rows * share) for share in _LENGTH_QUANTILES] if rows else []
        groups = []
        for begin, end in itertools.pairwise([0, *(cut for cut in cuts if cut), None]):
            chosen = order[begin:end]
            longest = tf.maximum(tf.reduce_max(tf.gather(lengths, chosen)), 1)
            inputs = latest(
                {name: tf.gather(one, chosen) for name, one in inputs_of(features).items()}, longest
            )
            vectors = model.sequence_vectors(inputs, training=training)
            parts = [
                vectors,
                inputs["history"],
                *(tf.gather(one, chosen)[:, -longest:] for one in per_position.values()),
            ]
            groups.append([tf.boolean_mask(part, parts[2] > 0) for part in parts])
        return [tf.concat(parts, axis=0) for parts in zip(*groups, strict=True)]

    def _counted(self, features):
        """What each position counts in the loss [B, L]."""
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


def _position_loss(loss, keywords, model, queries, targets, negatives, weights):
    """The weighted sum of a loss over positions: queries [P, D], targets [P] and negatives [P, K]
    or [K], items 1..N.
    """
    if loss.negatives == "none":
        return loss.function(
            queries, without_padding(model.item_vectors()), targets - 1, weights=weights, **keywords
        )
    distinct, local = tf.unique(tf.concat([targets, tf.reshape(negatives, [-1])], axis=0))
    target, negative = tf.split(local, [tf.size(targets), -1])
    negative = tf.reshape(negative, tf.shape(negatives))
    rows = model.item_vectors(distinct)
    if loss.of == "scores":
        scores = gather_dot(queries, rows, tf.concat([target[:, tf.newaxis], negative], axis=1))
        positive, negative = scores[:, :1], scores[:, tf.newaxis, 1:]
        return tf.reduce_sum(
            weights * loss.function(positive, negative, tf.ones_like(positive, tf.bool), **keywords)
        )
    if "log_q" in keywords:
        uniform = tf.fill([tf.size(distinct)], -math.log(model.num_items))
        log_q = keywords["log_q"]
        keywords = {
            **keywords,
            "log_q": uniform if log_q is None else tf.gather(log_q, distinct - 1),
        }
    return loss.function(queries, rows, target, negative, weights=weights, **keywords)


def _catalogue_loss(model, terms):
    """Softmax loss over the catalogue of several (queries, targets from 0, weights) in one pass."""
    queries, targets, weights = (tf.concat(parts, axis=0) for parts in zip(*terms, strict=True))
    return losses.softmax(queries, without_padding(model.item_vectors()), targets, weights)
